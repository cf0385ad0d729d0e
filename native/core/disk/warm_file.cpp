#include "core/disk/warm_file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/base/blob.h"

namespace millrace {

void WarmFileWork::run() {
  // Reading is what waits until the pages are there; readahead() and its like only ask for them.
  constexpr size_t kScratch = 128 * 1024;
  Blob scratch = Blob::uninitialized(std::min(count_, kScratch));
  uint64_t at = offset_;
  const uint64_t end = offset_ + count_;
  while (at < end) {
    size_t size = static_cast<size_t>(std::min<uint64_t>(scratch.size(), end - at));
    ssize_t got = ::pread(file.get(), scratch.data(), size, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    at += static_cast<uint64_t>(got);
  }
}

}  // namespace millrace
