// Event: one record from a loop to JavaScript: 64 fixed bytes, then text, then body.
// Copied into the lane's ring, so nothing of it points into a read buffer; a large body travels as
// an owned blob.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/model/exchange.h"

namespace millrace {

enum class EventKind : uint16_t {
#define MR_EVENT(name, number, sentence) name = number,
#include "core/model/events.def"
#undef MR_EVENT
};

// Flags of a Request.
constexpr uint16_t kEventHttp10 = 1;       // HTTP/1.0, else 1.1
constexpr uint16_t kEventBodyIsBlob = 2;   // the body is in `blob`, not behind the text
constexpr uint16_t kEventHead = 4;         // HEAD: the response has no body on the wire
constexpr uint16_t kEventBodyFollows = 8;  // the body comes by Body events, when it is asked for
// Flags of a Part.
constexpr uint16_t kEventHasFilename = 16;  // it is a file: it waits for a Part or Save command
// Flags of a Message.
constexpr uint16_t kEventText = 32;   // a text message, valid UTF-8; else binary
constexpr uint16_t kEventAscii = 64;  // of which no byte is above 0x7f
// Flag of a Request.
constexpr uint16_t kEventUpgrade = 128;  // a valid WebSocket handshake: Upgrade may answer it

// Flags of a Request and of an Access.
constexpr uint16_t kEventScgi = 256;  // by SCGI: the trailer text of a Request holds the variables
constexpr uint16_t kEventAborted = 512;  // Access: the answer did not leave whole

// Layout, in 32-bit words, is what src/native/lane.ts reads (scripts/gen.mjs exports the offsets).
// Text of a Request, all latin1: method, target, peer address, then "name\0value\n" per header
// field preceded by one "\n"; names in lower case. So "\nhost\0" finds a field and no value can
// fake one. A buffered body's trailer fields follow in the same form, head_b bytes; of a request by
// SCGI its variables, "name\0value\0" each, as they were sent.
struct Event {
  uint32_t size = 0;  // 0: of the whole record in the ring, a multiple of 8
  uint16_t kind = 0;  // 1
  uint16_t flags = 0;
  ExchangeId exchange;         // 2, 3
  uint16_t route = 0;          // 4
  uint8_t method = 0;          // Method
  uint8_t method_length = 0;   // 0 when the method is longer than 255: refused before
  uint32_t target_length = 0;  // 5: bytes
  uint32_t path_length = 0;    // 6: bytes of the target before '?'
  uint32_t header_length = 0;  // 7: bytes of the header text
  uint32_t body_length = 0;    // 8: bytes (bodies of 4 GiB and more are streamed, never buffered)
  uint16_t peer_port = 0;      // 9
  uint8_t peer_length = 0;     //    bytes of the peer address text; 0 for a unix socket
  uint8_t param_count = 0;
  uint32_t queued_at = 0;  // 10: low 32 bits of the loop's clock, ms
  uint16_t listener = 0;   // 11
  uint16_t status = 0;  //     Problem: ErrorCode or errno · Request: generation of the connection
  uint64_t blob = 0;    // 12, 13: char* of an owned blob (kEventBodyIsBlob), body_length bytes
  uint32_t head_a = 0;  // 14: Drained: completed · Request: index of the connection in its loop
  uint32_t head_b = 0;  // 15: Drained: forced · Request: bytes of the trailer text
};
static_assert(sizeof(Event) == 64 && std::is_trivially_copyable_v<Event>);
static_assert(offsetof(Event, exchange) == 8 && offsetof(Event, target_length) == 20);
static_assert(offsetof(Event, body_length) == 32 && offsetof(Event, blob) == 48);

// Behind the fixed part come, in this order: param_count ParamSpans (4 bytes each), the text, the
// inline body.
[[nodiscard]] inline uint32_t event_text_length(const Event& event) {
  bool is_request = event.kind == static_cast<uint16_t>(EventKind::Request);
  uint32_t trailers = is_request ? event.head_b : 0;
  return event.method_length + event.target_length + event.peer_length + event.header_length +
         trailers;
}

// An event that carries no more than its fixed part. Never lost: kept until the lane has room.
struct Notice {
  ExchangeId id;
  EventKind kind;
  uint16_t status = 0;
  uint32_t head_a = 0;
  uint32_t head_b = 0;
};

}  // namespace millrace
