// The opening handshake of RFC 6455 section 4, both ends, on parsed heads. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/base/bytes.h"
#include "core/model/error.h"
#include "core/model/head.h"

namespace millrace::ws {

// Sec-WebSocket-Accept for a valid key (RFC 6455 4.2.2 item 5.4).
[[nodiscard]] std::array<char, 28> accept_of(Bytes key);
// 24 characters of base64 that stand for 16 bytes. The four bits left over may be anything: the
// grammar of RFC 6455 4.3 says no more, and a server need not decode.
[[nodiscard]] bool is_valid_key(Bytes key);

// True when the head asks for an upgrade to websocket at all: Connection has upgrade, Upgrade has
// websocket. HTTP/1.0 never does.
[[nodiscard]] bool asks_for_websocket(const RequestHead& head);

// What a server needs of a client's handshake; views into the head.
struct ClientHandshake {
  Bytes key;
  std::string extensions;  // all Sec-WebSocket-Extensions, comma-joined
};
// None, WsHandshake (400) or WsVersion (426, for any other version, whatever else is wrong). GET
// only, without a body; exactly one key and one version; protocols must be different tokens and
// extensions a well-formed list (RFC 6455 4.2.1, 9.1). Host and Origin are judged elsewhere.
[[nodiscard]] ErrorCode read_client_handshake(const RequestHead& head, ClientHandshake& handshake);

// A response head, as views into the bytes it was given.
struct ResponseHead {
  uint16_t status = 0;
  uint8_t minor_version = 1;
  Bytes reason = {};
  uint32_t header_count = 0;
};
// The contract of http1's parse_request_head: bytes consumed, -1 broken, -2 need more; no
// allocation; `last_length` is what was there the last time. `fields` has `count_max` entries;
// more fields, or a head above `bytes_max`, are broken.
[[nodiscard]] int parse_response_head(Bytes input, size_t last_length, size_t bytes_max,
                                      HeaderField* fields, uint32_t count_max, ResponseHead& head);

// What a client needs of a server's answer.
struct ServerHandshake {
  Bytes protocol;    // "" when the server chose none; whether it was asked for is the caller's
  Bytes extensions;  // "" when none
};
// None, or WsRejected: not a 101, Upgrade or Connection missing, accept wrong or repeated, protocol
// or extensions repeated or malformed (RFC 6455 4.1).
[[nodiscard]] ErrorCode read_server_handshake(const ResponseHead& head, const HeaderField* fields,
                                              Bytes key, ServerHandshake& handshake);

}  // namespace millrace::ws
