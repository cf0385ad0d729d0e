// Linux: one system call where others need several.
#include <fcntl.h>

#include <cerrno>

#include "core/poll/socket.h"

namespace millrace {

Fd open_stream_socket(int family) {
  return Fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

int accept_connection(int listener, sockaddr_storage& peer) {
  // TCP_NODELAY is inherited from the listener, where Readiness::listen sets it.
  socklen_t length = sizeof(peer);
  peer.ss_family = AF_UNSPEC;
  return ::accept4(listener, reinterpret_cast<sockaddr*>(&peer), &length,
                   SOCK_NONBLOCK | SOCK_CLOEXEC);
}

bool prepare_socket(int fd) {
  int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
         ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

ssize_t send_vectors(int fd, const iovec* vectors, size_t count) {
  ssize_t sent = 0;
  if (count == 1) {  // the usual answer; without a message header the kernel copies less
    do {
      sent = ::send(fd, vectors->iov_base, vectors->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent;
  }
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(vectors);
  message.msg_iovlen = count;
  do {
    sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

}  // namespace millrace
