// What is left of a send that a socket did not take at once, and how it goes on. Knows neither
// connections nor interest.
#pragma once

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/blob.h"
#include "core/base/bytes.h"

namespace millrace {

constexpr size_t kSendPartsMax = 64;  // of one call of the kernel

// The bytes belong to the caller; slots are reused, so their vectors stay warm.
struct PendingSend {
  std::vector<iovec> parts;
  size_t next = 0;
  int file = -1;           // not -1: `left` bytes of it from `offset`, and no parts
  bool is_copied = false;  // the kernel does not send this file by itself
  uint64_t offset = 0;
  size_t left = 0;

  // `accepted` bytes of `sent_in_part` have gone, nothing of `unsent`.
  void keep_rest(std::span<const iovec> sent_in_part, size_t accepted,
                 std::span<const Bytes> unsent);
  void clear();
};

[[nodiscard]] inline bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }
// 0 when all has gone, else why not; `progressed` when part of it has.
[[nodiscard]] int push_parts(int fd, PendingSend& pending, bool& progressed);
// 0 when all has gone, else why not. `scratch` is for files that the kernel does not send by
// itself; made when the first comes.
[[nodiscard]] int push_file(int fd, PendingSend& pending, Blob& scratch);

}  // namespace millrace
