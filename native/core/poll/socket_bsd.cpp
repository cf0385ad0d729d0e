// macOS and FreeBSD: macOS has neither accept4 nor SOCK_NONBLOCK nor MSG_NOSIGNAL, so flags are set
// after the fact and SIGPIPE is switched off per socket. Both kernels take this path.
#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "core/poll/socket.h"

namespace millrace {

Fd open_stream_socket(int family) {
  Fd socket(::socket(family, SOCK_STREAM, 0));
  if (socket.is_open() && !prepare_socket(socket.get())) {
    int error = errno;
    socket.reset();
    errno = error;
  }
  return socket;
}

int accept_connection(int listener, sockaddr_storage& peer) {
  socklen_t length = sizeof(peer);
  peer.ss_family = AF_UNSPEC;
  Fd socket(::accept(listener, reinterpret_cast<sockaddr*>(&peer), &length));
  if (!socket.is_open()) return -1;
  if (!prepare_socket(socket.get())) {
    // macOS answers EINVAL for a connection that was reset while it stood in the backlog.
    socket.reset();
    errno = ECONNABORTED;
    return -1;
  }
  if (peer.ss_family != AF_UNIX) set_no_delay(socket.get());
  return socket.release();
}

bool prepare_socket(int fd) {
  int on = 1;
  int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
         ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
         ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) == 0;
}

ssize_t send_vectors(int fd, const iovec* vectors, size_t count) {
  ssize_t sent = 0;
  if (count == 1) {  // the usual answer; without a message header the kernel copies less
    do {
      sent = ::send(fd, vectors->iov_base, vectors->iov_len, MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent;
  }
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(vectors);
  message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);
  do {
    sent = ::sendmsg(fd, &message, MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

ssize_t send_message(int fd, const msghdr& message) {
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(fd, &message, MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

ssize_t receive_message(int fd, msghdr& message) {
  ssize_t got = 0;
  do {
    got = ::recvmsg(fd, &message, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  for (cmsghdr* part = got < 0 ? nullptr : CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int received = -1;
      std::memcpy(&received, CMSG_DATA(part) + i * sizeof(int), sizeof(received));
      static_cast<void>(::fcntl(received, F_SETFD, FD_CLOEXEC));
    }
  }
  return got;
}

}  // namespace millrace
