// macOS: sendfile() takes the count and gives back how much went through one argument.
#include <sys/types.h>

#include <cerrno>

#include "core/poll/socket.h"

namespace millrace {

// No SIGPIPE: the socket has SO_NOSIGPIPE.
ssize_t send_file_bytes(int fd, int file, uint64_t offset, size_t count) {
  while (true) {
    auto length = static_cast<off_t>(count);  // 0 would mean all of the file
    int result = ::sendfile(file, fd, static_cast<off_t>(offset), &length, nullptr, 0);
    // Cut short by a full buffer or a signal: what went before counts.
    if (result == 0 || ((errno == EAGAIN || errno == EINTR) && length > 0)) {
      return static_cast<ssize_t>(length);
    }
    if (errno != EINTR) return -1;
  }
}

int64_t unacknowledged_bytes(int fd) {
  int bytes = 0;
  socklen_t length = sizeof(bytes);
  return ::getsockopt(fd, SOL_SOCKET, SO_NWRITE, &bytes, &length) == 0 ? bytes : -1;
}

}  // namespace millrace
