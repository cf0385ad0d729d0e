#include "core/disk/open_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/disk/system.h"

namespace millrace {
namespace {

// O_NONBLOCK: a FIFO without a writer and a device would block; for files it means nothing.
constexpr int kFileFlags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

int retry_openat(int folder, const char* name, int flags) {
  int fd = -1;
  do {
    fd = ::openat(folder, name, flags);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

// Takes the first name off `path`, with the slashes behind it.
Bytes next_name(Bytes& path) {
  size_t length = path.find('/');
  Bytes name = path.substr(0, length);
  path.remove_prefix(name.size());
  while (path.starts_with('/')) path.remove_prefix(1);
  return name;
}

// A name ends at its first NUL for the system, and after it for whoever checked its suffix.
bool has_nul(Bytes path) { return path.find('\0') != Bytes::npos; }

// 0, or why no such path is looked for below a root. Links may hold "..", paths may not: what
// "a/.." is depends on what a is.
int refuse_path(Bytes path) {
  if (has_nul(path)) return ENOENT;
  if (path.starts_with('/')) return EXDEV;
  while (!path.empty()) {
    if (next_name(path) == "..") return EXDEV;
  }
  return 0;
}

// Systems disagree on what opening a link with O_NOFOLLOW answers.
int name_error(int folder, const char* name, int error) {
  struct stat found = {};
  bool is_link =
      ::fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(found.st_mode);
  return is_link ? ELOOP : error;
}

Result<Fd> open_within(const OpenRequest& request, const std::string& path) {
  if (int error = refuse_path(path); error != 0) return Status::failed(error, "open");
  const char* name = path.empty() ? "." : path.c_str();
  Fd file(open_beneath(request.root, name, kFileFlags, request.follow_links));
  if (file.is_open()) return file;
  // EPERM: a filter of system calls that does not know this one.
  if (errno == ENOSYS || errno == EPERM) return open_by_walk(request.root, path);
  return Status::failed(errno, "openat2");
}

Result<Fd> open_path(const OpenRequest& request, const std::string& path) {
  if (request.within_root) return open_within(request, path);
  if (has_nul(path)) return Status::failed(ENOENT, "openat");
  int flags = kFileFlags | (request.follow_links ? 0 : O_NOFOLLOW);
  Fd file(retry_openat(request.root, path.empty() ? "." : path.c_str(), flags));
  if (file.is_open()) return file;
  return Status::failed(errno, "openat");
}

// Opens a file or a folder and says what it is.
OpenedFile open_one(const OpenRequest& request, const std::string& path) {
  OpenedFile opened;
  Result<Fd> file = open_path(request, path);
  if (!file.is_ok()) {
    // ENXIO: a socket, or a device that is not there.
    opened.error = file.status().error() == ENXIO ? EACCES : file.status().error();
    return opened;
  }
  struct stat found = {};
  if (::fstat(file.value().get(), &found) != 0) {
    opened.error = errno;
  } else if (S_ISREG(found.st_mode)) {
    opened.file = file.take();
  } else if (S_ISDIR(found.st_mode)) {
    opened.is_directory = true;
  } else {
    opened.error = EACCES;
  }
  opened.size = static_cast<uint64_t>(found.st_size);
  opened.mtime_ns = modified_ns(found);
  opened.inode = static_cast<uint64_t>(found.st_ino);
  opened.device = static_cast<uint64_t>(found.st_dev);
  opened.mode = found.st_mode;
  return opened;
}

// Replaces the plain file by the best sibling; one that is older holds what the file was once.
void choose_sibling(const OpenRequest& request, OpenedFile& opened) {
  for (size_t i = 0; i < request.extensions.size() && !request.extensions[i].empty(); i++) {
    OpenedFile sibling = open_one(request, request.path + std::string(request.extensions[i]));
    if (!sibling.file.is_open() || sibling.mtime_ns < opened.mtime_ns) continue;
    opened = std::move(sibling);
    opened.sibling = static_cast<int>(i);
    return;
  }
}

void read_content(OpenedFile& opened) {
  opened.content = Blob::uninitialized(static_cast<size_t>(opened.size));
  size_t filled = 0;
  while (filled < opened.content.size()) {
    ssize_t got = ::pread(opened.file.get(), opened.content.data() + filled,
                          opened.content.size() - filled, static_cast<off_t>(filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) opened.error = errno;
    if (got <= 0) break;  // 0: it has been made shorter since
    filled += static_cast<size_t>(got);
  }
  opened.content.shrink(filled);
  opened.size = filled;
  opened.has_content = opened.error == 0;
  opened.file.reset();
}

}  // namespace

OpenedFile open_file(const OpenRequest& request) {
  OpenedFile opened = open_one(request, request.path);
  if (!opened.file.is_open()) return opened;
  choose_sibling(request, opened);
  if (opened.size <= request.content_max && request.content_max > 0) read_content(opened);
  return opened;
}

Result<Fd> open_by_walk(int root, Bytes path) {
  if (int error = refuse_path(path); error != 0) return Status::failed(error, "openat");
  const int last_flags = path.ends_with('/') ? kFileFlags | O_DIRECTORY : kFileFlags;
  Fd holder;  // keeps `folder` open
  int folder = root;
  std::string name = ".";
  while (!path.empty()) {
    name = next_name(path);
    if (path.empty()) break;
    Fd next(retry_openat(folder, name.c_str(), kFolderFlags | O_NOFOLLOW));
    if (!next.is_open()) return Status::failed(name_error(folder, name.c_str(), errno), "openat");
    holder = std::move(next);
    folder = holder.get();
  }
  Fd file(retry_openat(folder, name.c_str(), last_flags | O_NOFOLLOW));
  if (file.is_open()) return file;
  return Status::failed(name_error(folder, name.c_str(), errno), "openat");
}

}  // namespace millrace
