// Negotiation of permessage-deflate (RFC 7692 section 7), both ends. Pure and strict: an offer with
// an unknown, repeated or ill-valued parameter is declined, a response with one fails the
// connection.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/bytes.h"
#include "core/model/socket.h"

namespace millrace::ws {

// What was agreed, seen from this end.
struct DeflateParameters {
  bool enabled = false;
  bool own_takeover = false;  // this end keeps its window between messages
  bool peer_takeover = false;
  uint8_t own_window_bits =
      15;  // 9 … 15 (zlib cannot make raw streams of 8; one of 9 would not do)
  uint8_t peer_window_bits = 15;  // 8 … 15
};

// Server: the first offer that the settings can serve. `answer` gets the value of
// Sec-WebSocket-Extensions ("" when nothing was agreed). False: the list itself is malformed
// (RFC 6455 9.1: the handshake fails with 400).
[[nodiscard]] bool accept_offer(Bytes offers, const DeflateSettings& settings,
                                DeflateParameters& agreed, std::string& answer);

// Client: what it offers, "" when it does not want compression.
[[nodiscard]] std::string make_offer(const DeflateSettings& settings);
// False when the answer is not one that the offer allows. An empty answer agrees on nothing.
[[nodiscard]] bool read_answer(Bytes answer, const DeflateSettings& settings,
                               DeflateParameters& agreed);

// Whether a value is a well-formed extension list (RFC 6455 9.1).
[[nodiscard]] bool is_extension_list(Bytes value);

}  // namespace millrace::ws
