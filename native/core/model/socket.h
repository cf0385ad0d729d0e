// What a WebSocket is governed by: settings of one handler, shared by all its sockets, immutable
// while serving.
#pragma once

#include <cstdint>

#include "core/base/clock.h"

namespace millrace {

// permessage-deflate (RFC 7692), seen from this end.
struct DeflateSettings {
  bool enabled = false;
  int8_t level = 6;                    // 1 fast … 9 small
  bool context_takeover = false;       // this end compresses with the memory of earlier messages
  bool peer_context_takeover = false;  // the peer may do so, which costs this end a window for each
  uint8_t window_bits = 15;            // of this end's compressor, 9 … 15
  uint8_t peer_window_bits = 15;       // asked of the peer where the handshake lets us
  uint32_t threshold = 1024;           // bytes; smaller messages go uncompressed
};

// What happens to a message for a peer that has more than `backlog_bytes_max` waiting.
enum class Overflow : uint8_t { Close, Drop, Buffer };

struct SocketSettings {
  uint32_t payload_bytes_max = 1 << 20;       // of a received message, decompressed
  uint32_t text_bytes_max = (1u << 29) - 24;  // likewise of a text: V8 has no longer string
  uint32_t backlog_bytes_max = 1 << 24;       // waiting for the peer
  Overflow overflow = Overflow::Close;
  bool pings = true;                    // ask before the idle timeout
  bool automatic_pong = true;           // answer pings (RFC 6455 5.5.2)
  Milliseconds idle_timeout = 120'000;  // without a byte from the peer; 0: off
  Milliseconds close_timeout = 10'000;  // from our close frame to the end of the connection
  // From the first byte of a message to its last, or as long as it comes at receive_rate_min; 0:
  // off.
  Milliseconds message_timeout = 120'000;
  DeflateSettings deflate;
};

}  // namespace millrace
