// Command: one record from JavaScript to a loop: 40 fixed bytes, then header lines, then body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/model/exchange.h"

namespace millrace {

enum class CommandKind : uint16_t {
#define MR_COMMAND(name, number, sentence) name = number,
#include "core/model/commands.def"
#undef MR_COMMAND
};

// Flags of Respond.
constexpr uint16_t kCommandBodyIsBlob = 1;  // the body is in `blob`, not behind the header lines
constexpr uint16_t kCommandClose = 2;       // the handler wants Connection: close
constexpr uint16_t kCommandHasLength = 4;   // the header lines hold Content-Length (HEAD answers)
constexpr uint16_t kCommandHasDate = 8;     // the header lines hold Date
constexpr uint16_t kCommandHasConnection = 16;  // the header lines hold Connection (101 only)
// Flags of Save and Part.
constexpr uint16_t kCommandDigest = 32;  // Save: with a SHA-256
constexpr uint16_t kCommandSkip = 64;    // Part: its content is dropped
// Flags of Send and Publish.
constexpr uint16_t kCommandCompress = 128;  // where agreed on, if the message is large enough
constexpr uint16_t kCommandShared = 256;    // `blob` is a reference to a SharedMessage, the body

struct Command {
  uint32_t size = 0;  // of the whole record in the ring, a multiple of 8
  uint16_t kind = 0;
  uint16_t flags = 0;
  ExchangeId exchange;
  uint16_t status = 0;
  uint16_t reserved = 0;
  uint32_t header_length = 0;  // bytes of "Name: value\r\n" lines behind the fixed part, latin1
  uint32_t body_length = 0;    // bytes
  // Close: ms until what is left is forced; `blob`: until idle connections are ended. Read, Parts:
  // bytes of credit. Begin: bytes of the body where the header lines say so. Save: a descriptor,
  // owned by the command. Part: its number. Cut: an ErrorCode.
  uint32_t amount = 0;
  uint64_t blob = 0;  // char* of an owned blob (kCommandBodyIsBlob)
};
// A blob of body bytes leaves room for the framing that a protocol puts around them, so that they
// need not be copied for it: the bytes lie behind kBlobFront bytes and before kBlobBack ones.
constexpr size_t kBlobFront = 16;
constexpr size_t kBlobBack = 16;
static_assert(sizeof(Command) == 40 && std::is_trivially_copyable_v<Command>);

}  // namespace millrace
