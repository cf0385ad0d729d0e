#include "core/disk/find_file.h"

#include <fcntl.h>

#include <cerrno>

namespace millrace {

void FindFileWork::run() {
  if (!request.is_folder) {
    open_one(AT_FDCWD, request.root, false);
    if (opened.error == 0 && opened.is_directory) opened.error = EISDIR;
    return;
  }
  // Opened anew each time: a deployment may have put another folder in its place.
  Fd root(::open(request.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root.is_open()) {
    opened.error = errno;
    return;
  }
  open_below(root.get());
}

void FindFileWork::open_below(int root) {
  open_one(root, request.path, true);
  if (opened.error != 0) return;
  if (!opened.is_directory) {
    if (request.wants_folder) opened.error = ENOTDIR;
    return;
  }
  if (!request.wants_folder) {
    needs_slash = true;
    return;
  }
  if (request.index.empty()) {
    opened.error = ENOENT;
    return;
  }
  std::string path = request.path;
  if (!path.empty()) path += '/';
  open_one(root, path + request.index, true);
  if (opened.error == 0 && opened.is_directory) opened.error = ENOENT;
}

void FindFileWork::open_one(int root, std::string path, bool within_root) {
  OpenRequest one;
  one.root = root;
  one.path = std::move(path);
  one.within_root = within_root;
  one.follow_links = request.follow_links;
  one.extensions = request.extensions;
  one.content_max = request.content_max;
  opened = open_file(one);
  name = std::move(one.path);
}

}  // namespace millrace
