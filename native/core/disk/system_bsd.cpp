// macOS and FreeBSD: no call resolves a path within a folder, and the page cache cannot be asked.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "core/disk/system.h"
#include "core/disk/warm_file.h"

namespace millrace {

const int kFolderFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

int open_beneath(int /*root*/, const char* /*path*/, int /*flags*/, bool /*follow_links*/) {
  errno = ENOSYS;
  return -1;
}

int64_t modified_ns(const struct stat& file) {
  return static_cast<int64_t>(file.st_mtimespec.tv_sec) * 1'000'000'000 + file.st_mtimespec.tv_nsec;
}

int sync_file(int fd) {
#if defined(F_FULLFSYNC)
  // macOS: fsync() leaves the bytes in the drive's own cache. Not every file system has better.
  if (::fcntl(fd, F_FULLFSYNC) == 0) return 0;
#endif
  int result = 0;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

bool is_warm(int /*fd*/, uint64_t /*offset*/, size_t /*count*/) { return true; }

}  // namespace millrace
