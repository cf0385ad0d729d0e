// Listening sockets on their way from one process to another, over a connected unix socket, and the
// datagrams that tell a supervisor how a server is. Knows nothing of what the texts say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/fd.h"
#include "core/base/result.h"

namespace millrace {

constexpr size_t kHandOverSocketsMax = 64;
constexpr size_t kHandOverTextMax = 64 * 1024;

struct HandedOver {
  std::vector<Fd> sockets;  // close-on-exec
  std::string text;         // without its line feed
  Fd connection;            // goes on; non-blocking
};

// Duplicates of the descriptors arrive with the text, which gets a line feed at its end and has
// none before. Waits for the peer to take it for a second at most.
[[nodiscard]] Status send_descriptors(int connection, std::span<const int> descriptors, Bytes text);
// Connects, sends the greeting and waits for what send_descriptors() sends there, `timeout_ms` at
// most (ETIMEDOUT). Whatever came is closed again on failure; ECONNRESET: the peer left before it
// had sent all. Blocks.
[[nodiscard]] Result<HandedOver> receive_descriptors(Bytes path, Bytes greeting,
                                                     int64_t timeout_ms);
// One datagram to a unix socket, without waiting; a path that begins with @ is an abstract name.
[[nodiscard]] Status send_datagram(Bytes path, Bytes text);

}  // namespace millrace
