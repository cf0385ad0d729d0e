// Linux: one system call where others need several.
#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

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

ssize_t send_message(int fd, const msghdr& message) {
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

ssize_t receive_message(int fd, msghdr& message) {
  ssize_t got = 0;
  do {
    got = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  return got;
}

// sendfile() knows no MSG_NOSIGNAL, and the thread may be one whose signals are not ours to set for
// good (Node's own). The kernel sends SIGPIPE to the calling thread, also when part of the bytes
// had gone before: it is kept back for the call, and taken out again.
ssize_t send_file_bytes(int fd, int file, uint64_t offset, size_t count) {
  sigset_t pipe_signal;
  sigset_t before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  static_cast<void>(::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before));
  ssize_t sent = 0;
  auto at = static_cast<off_t>(offset);
  do {
    sent = ::sendfile(fd, file, &at, count);
  } while (sent < 0 && errno == EINTR);
  int error = errno;
  if (sigismember(&before, SIGPIPE) == 0) {
    const timespec at_once = {};
    if (sent < static_cast<ssize_t>(count)) {
      while (::sigtimedwait(&pipe_signal, nullptr, &at_once) < 0 && errno == EINTR) continue;
    }
    static_cast<void>(::pthread_sigmask(SIG_SETMASK, &before, nullptr));
  }
  errno = error;
  return sent;
}

int64_t unacknowledged_bytes(int fd) {
  int bytes = 0;
  return ::ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : -1;
}

}  // namespace millrace
