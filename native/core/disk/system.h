// What the systems do differently with files. Internal to core/disk.
#pragma once

#include <sys/stat.h>

#include <cstdint>

namespace millrace {

// Opens a folder only to open files in it: asks for the right to search it where the system can.
extern const int kFolderFlags;

// open(2) relative to the folder `root` that ends in nothing outside of it, whatever the names and
// links on the way are. A descriptor, or -1 with errno; ENOSYS or EPERM where there is no such
// call.
[[nodiscard]] int open_beneath(int root, const char* path, int flags, bool follow_links);

[[nodiscard]] int64_t modified_ns(const struct stat& file);

// What was written has reached the disk. 0 or errno.
[[nodiscard]] int sync_file(int fd);

}  // namespace millrace
