// Linux: one system call resolves a path within a folder, another asks the page cache.
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#include "core/disk/system.h"
#include "core/disk/warm_file.h"

namespace millrace {

const int kFolderFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;

int open_beneath(int root, const char* path, int flags, bool follow_links) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  if (!follow_links) how.resolve |= RESOLVE_NO_SYMLINKS;
  // EAGAIN: something was renamed while ".." in a link was resolved. Not without an end: a folder
  // where that goes on all the time is nobody's to serve.
  int fd = -1;
  for (int tries = 0; tries < 32; tries++) {
    fd = static_cast<int>(::syscall(SYS_openat2, root, path, &how, sizeof(how)));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  return fd;
}

int64_t modified_ns(const struct stat& file) {
  return static_cast<int64_t>(file.st_mtim.tv_sec) * 1'000'000'000 + file.st_mtim.tv_nsec;
}

int sync_file(int fd) {
  int result = 0;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

// --- warm_file.h ---

namespace {

// By number: not every C library has preadv2.
bool is_byte_warm(int fd, uint64_t offset) {
  char byte = 0;
  iovec vector = {&byte, 1};
  // Two words for the offset, of which 64-bit systems use the first only.
  constexpr int kHalfWord = sizeof(unsigned long) * 4;
  auto low = static_cast<unsigned long>(offset);
  auto high = static_cast<unsigned long>(offset >> kHalfWord >> kHalfWord);
  return ::syscall(SYS_preadv2, fd, &vector, 1UL, low, high, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

}  // namespace

bool is_warm(int fd, uint64_t offset, size_t count) {
  return count == 0 || (is_byte_warm(fd, offset) && is_byte_warm(fd, offset + count - 1));
}

}  // namespace millrace
