#include "core/poll/dial.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "core/poll/socket.h"

namespace millrace {

namespace {

Result<Dialed> take_over(Fd socket);

}  // namespace

Result<Dialed> dial(const DialTarget& target) {
  if (target.fd >= 0) return take_over(Fd(target.fd));
  SocketAddress address;
  if (target.family == Family::Unix) {
    if (!make_unix_address(target.address, address)) return Status::failed(errno, "connect");
  } else if (!make_ip_address(target.address, target.port, address)) {
    return Status::failed(EINVAL, "inet_pton");
  }
  Fd socket = open_stream_socket(address.storage.ss_family);
  if (!socket.is_open()) return Status::failed(errno, "socket");
  if (target.family != Family::Unix) set_no_delay(socket.get());
  bool is_connected = ::connect(socket.get(), address.raw(), address.length) == 0;
  // An interrupted call goes on as a non-blocking one does. EAGAIN doesn't: a unix listener's
  // backlog is full (Linux), or no local port is free.
  if (!is_connected && errno != EINPROGRESS && errno != EINTR) {
    return Status::failed(errno, "connect");
  }
  return Dialed{.socket = std::move(socket), .is_connected = is_connected};
}

Status prepare_connected(const Fd& socket, sockaddr_storage& peer) {
  socklen_t length = sizeof(peer);
  if (::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
    return Status::failed(errno, "getpeername");
  }
  if (!prepare_socket(socket.get())) return Status::failed(errno, "fcntl");
  if (peer.ss_family != AF_UNIX) set_no_delay(socket.get());
  return Status::ok();
}

namespace {

Result<Dialed> take_over(Fd socket) {
  sockaddr_storage peer = {};
  Status prepared = prepare_connected(socket, peer);
  if (!prepared.is_ok()) return prepared;
  return Dialed{.socket = std::move(socket), .is_connected = true};
}

}  // namespace

}  // namespace millrace
