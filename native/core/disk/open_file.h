// Opens files for those who ask from outside: never outside of a folder, never one that could block
// the reader, and with the precompressed sibling that fits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "core/base/blob.h"
#include "core/base/bytes.h"
#include "core/base/fd.h"
#include "core/base/result.h"
#include "core/disk/disk.h"

namespace millrace {

struct OpenRequest {
  int root = -1;     // descriptor of a folder, open until the answer is back, or AT_FDCWD
  std::string path;  // decoded; relative to the root when within_root; "" is the root itself
  bool within_root = true;
  bool follow_links = false;  // within_root: those that end inside, where the kernel can tell
  // Of siblings to look for (".br"), best first; an empty one stands for the plain file and ends
  // the list. Static text.
  std::array<Bytes, 4> extensions{};
  size_t content_max = 0;  // files of up to this size are read at once
};

struct OpenedFile {
  int error = 0;  // errno; then nothing else here means anything
  Fd file;        // not open for a folder, and when `content` has it all
  uint64_t size = 0;
  int64_t mtime_ns = 0;  // this and the rest are of the sibling, when that was opened
  uint64_t inode = 0;
  uint64_t device = 0;
  uint32_t mode = 0;
  int sibling = -1;  // index of its extension; -1 is the plain file
  bool is_directory = false;
  bool has_content = false;
  Blob content;
};

// May wait for a disk: for disk threads. Errors worth knowing: ENOENT, ENOTDIR, ENAMETOOLONG;
// EACCES (no right, or neither a file nor a folder); EXDEV and ELOOP (leaves the root, or a link
// where none may be).
[[nodiscard]] OpenedFile open_file(const OpenRequest& request);

// Where the kernel does not watch over a path, and for tests: opens folder by folder and refuses
// every link.
[[nodiscard]] Result<Fd> open_by_walk(int root, Bytes path);

// Owned by: like every DiskWork.
class OpenFileWork final : public DiskWork {
 public:
  explicit OpenFileWork(OpenRequest what) : request(std::move(what)) {}
  void run() override { opened = open_file(request); }
  void refuse(int error) override { opened.error = error; }

  OpenRequest request;
  OpenedFile opened;
};

}  // namespace millrace
