// FreeBSD: sendfile() says through an argument of its own how much went.
#include <sys/filio.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include <cerrno>

#include "core/poll/socket.h"

namespace millrace {

// No SIGPIPE: the socket has SO_NOSIGPIPE.
ssize_t send_file_bytes(int fd, int file, uint64_t offset, size_t count) {
  while (true) {
    off_t sent = 0;
    // A count of 0 would mean all of the file.
    int result = ::sendfile(file, fd, static_cast<off_t>(offset), count, nullptr, &sent, 0);
    // Cut short by a full buffer or a signal: what went before counts.
    if (result == 0 || ((errno == EAGAIN || errno == EINTR) && sent > 0)) {
      return static_cast<ssize_t>(sent);
    }
    if (errno != EINTR) return -1;
  }
}

int64_t unacknowledged_bytes(int fd) {
  int bytes = 0;
  return ::ioctl(fd, FIONWRITE, &bytes) == 0 ? bytes : -1;
}

}  // namespace millrace
