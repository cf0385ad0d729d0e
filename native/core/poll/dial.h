// Begins connections of our own: TCP over IPv4 and IPv6, unix sockets, sockets that are connected
// already. Never waits.
#pragma once

#include <sys/socket.h>

#include "core/base/fd.h"
#include "core/base/result.h"
#include "core/poll/poller.h"

namespace millrace {

// Non-blocking, close-on-exec, without Nagle's delay.
struct Dialed {
  Fd socket = {};
  bool is_connected = false;  // else writable as soon as the kernel knows, see take_socket_error()
};

[[nodiscard]] Result<Dialed> dial(const DialTarget& target);
// Makes a foreign socket like a dialed one and says who is at the other end; ENOTCONN when nobody.
[[nodiscard]] Status prepare_connected(const Fd& socket, sockaddr_storage& peer);

}  // namespace millrace
