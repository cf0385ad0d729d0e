// Frames of RFC 6455 section 5: heads, masks, close codes. Stateless; never reads past the span,
// never allocates.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"
#include "core/model/error.h"

namespace millrace::ws {

enum class Opcode : uint8_t {
  Continuation = 0,
  Text = 1,
  Binary = 2,
  Close = 8,
  Ping = 9,
  Pong = 10
};

constexpr size_t kFrameHeadMax = 14;
constexpr size_t kControlPayloadMax = 125;

struct FrameHead {
  Opcode opcode = Opcode::Continuation;
  bool fin = false;
  bool rsv1 = false;  // compressed, where permessage-deflate is in use
  bool masked = false;
  uint32_t mask = 0;    // as its four bytes lie in memory
  uint64_t length = 0;  // of the payload
};

constexpr int kFrameNeedMore = -2;
constexpr int kFrameBroken = -1;

// Bytes of the head (2 to 14), kFrameNeedMore, or kFrameBroken: reserved bits or opcodes, a control
// frame that is fragmented or longer than 125 bytes, a length that is not minimal or above 2^63-1.
// Broken is said as soon as the bytes that are there show it. RSV1 is the session's to judge.
[[nodiscard]] int parse_frame_head(Bytes input, FrameHead& head);

[[nodiscard]] constexpr bool is_control(Opcode opcode) { return static_cast<uint8_t>(opcode) >= 8; }

// Bytes that write_frame_head() writes.
[[nodiscard]] size_t frame_head_size(uint64_t length, bool masked);
// Returns where the payload goes. `out` has kFrameHeadMax bytes.
char* write_frame_head(const FrameHead& head, char* out);

// XORs with the mask in place; `phase` is how many bytes of the payload came before these.
void apply_mask(MutableBytes bytes, uint32_t mask, size_t phase);
// The same while copying; `out` may not overlap.
void copy_masked(Bytes bytes, char* out, uint32_t mask, size_t phase);

// What may stand in a close frame that travels (RFC 6455 7.4; 3000-4999 are free).
[[nodiscard]] bool is_valid_close_code(uint16_t code);
// The close code that says what went wrong: 1002, 1007, 1009, 1013; 1006 for what cannot be said.
[[nodiscard]] uint16_t close_code_of(ErrorCode code);

}  // namespace millrace::ws
