// Chunk decoder: chunked coding of RFC 9112 7.1, strict, in place. Keeps state over spans.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"
#include "core/model/error.h"

namespace millrace::http1 {

// Owned by: its session. A plain value.
class ChunkDecoder final {
 public:
  enum class State : uint8_t { NeedMore, Trailers, Broken };

  struct Step {
    State state = State::NeedMore;
    size_t consumed = 0;                // bytes of the input that are finished with
    size_t produced = 0;                // body bytes, moved to the front of the input
    ErrorCode error = ErrorCode::None;  // Broken: BadChunk, or BodyTooLarge
  };

  // Decodes as much as there is. Body bytes are moved to input[0..produced). On Trailers the last
  // chunk's line is consumed and what follows in the input is the trailer section
  // (http1::parse_fields reads it, empty line included). On Broken `consumed` ends before the
  // offending byte; Trailers and Broken stay so.
  // Sizes: 1 to 16 hex digits, no sign, no 0x; BodyTooLarge as soon as a size line announces more
  // than is left of `body_bytes_max`. Extensions are skipped under `extension_bytes_max` for the
  // whole body, from the semicolon to before the CR. Both limits mean what they say: 0 allows none.
  [[nodiscard]] Step decode(MutableBytes input, uint64_t body_bytes_max,
                            uint64_t extension_bytes_max);

  [[nodiscard]] uint64_t total() const { return total_; }  // body bytes so far

 private:
  enum class Phase : uint8_t {
    SizeFirst,
    Size,
    Extension,
    ExtensionQuoted,
    ExtensionEscape,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Done,
    Broken
  };

  ErrorCode take_framing_byte(char c, uint64_t body_bytes_max, uint64_t extension_bytes_max);
  ErrorCode take_size_byte(char c, uint64_t body_bytes_max, uint64_t extension_bytes_max);
  ErrorCode take_extension_byte(char c, uint64_t extension_bytes_max);

  Phase phase_ = Phase::SizeFirst;
  ErrorCode error_ = ErrorCode::None;
  uint8_t digits_ = 0;
  uint64_t left_ = 0;  // of the current chunk
  uint64_t total_ = 0;
  uint64_t extension_bytes_ = 0;
};

}  // namespace millrace::http1
