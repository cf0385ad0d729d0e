// The page cache: is a window of a file in it, and how to get it there without a loop that waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/base/fd.h"
#include "core/disk/disk.h"

namespace millrace {

// Whether reading the window is not expected to wait for a disk; asks for its first and its last
// byte only. True where the system or the file system cannot tell. Asking may have the kernel begin
// to read ahead.
[[nodiscard]] bool is_warm(int fd, uint64_t offset, size_t count);

// Reads a window of a file, for the page cache only. What cannot be read is not reported here: who
// reads it next will learn.
// Owned by: like every DiskWork.
class WarmFileWork final : public DiskWork {
 public:
  // The file itself, to be taken back, or a duplicate.
  WarmFileWork(Fd file_to_read, uint64_t offset, size_t count)
      : file(std::move(file_to_read)), offset_(offset), count_(count) {}
  void run() override;
  void refuse(int /*error*/) override {}

  Fd file;

 private:
  uint64_t offset_;
  size_t count_;
};

}  // namespace millrace
