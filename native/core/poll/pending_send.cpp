#include "core/poll/pending_send.h"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>

#include "core/poll/socket.h"

namespace millrace {

namespace {

constexpr size_t kScratchBytes = size_t{64} * 1024;

ssize_t push_file_part(int fd, PendingSend& pending, Blob& scratch);

}  // namespace

void PendingSend::keep_rest(std::span<const iovec> sent_in_part, size_t accepted,
                            std::span<const Bytes> unsent) {
  for (const iovec& part : sent_in_part) {
    size_t skip = std::min(accepted, part.iov_len);
    accepted -= skip;
    if (skip == part.iov_len) continue;
    parts.push_back(
        {.iov_base = static_cast<char*>(part.iov_base) + skip, .iov_len = part.iov_len - skip});
  }
  for (Bytes part : unsent) {
    if (part.empty()) continue;
    parts.push_back({.iov_base = const_cast<char*>(part.data()), .iov_len = part.size()});
  }
}

void PendingSend::clear() {
  parts.clear();
  next = 0;
  file = -1;
  is_copied = false;
}

int push_parts(int fd, PendingSend& pending, bool& progressed) {
  while (pending.next < pending.parts.size()) {
    size_t count = std::min(pending.parts.size() - pending.next, kSendPartsMax);
    ssize_t sent = send_vectors(fd, pending.parts.data() + pending.next, count);
    if (sent < 0) return errno;
    if (sent == 0) return EAGAIN;
    progressed = true;
    auto accepted = static_cast<size_t>(sent);
    while (accepted > 0) {
      iovec& part = pending.parts[pending.next];
      size_t taken = std::min(accepted, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + taken;
      part.iov_len -= taken;
      accepted -= taken;
      if (part.iov_len == 0) pending.next++;
    }
  }
  return 0;
}

int push_file(int fd, PendingSend& pending, Blob& scratch) {
  while (pending.left > 0) {
    ssize_t sent = push_file_part(fd, pending, scratch);
    if (sent < 0) return errno;
    if (sent == 0) return EIO;  // the file has become shorter
    bool is_full = !pending.is_copied && static_cast<size_t>(sent) < pending.left;
    pending.offset += static_cast<uint64_t>(sent);
    pending.left -= static_cast<size_t>(sent);
    // A call in vain would look up pages again. If it was the file's end, the next one will tell.
    if (is_full) return EAGAIN;
  }
  return 0;
}

namespace {

// As send_file_bytes(), but for every file that can be read.
ssize_t push_file_part(int fd, PendingSend& pending, Blob& scratch) {
  if (!pending.is_copied) {
    ssize_t sent = send_file_bytes(fd, pending.file, pending.offset, pending.left);
    if (sent >= 0 || !is_file_refused(errno)) return sent;
    pending.is_copied = true;
  }
  if (scratch.size() == 0) scratch = Blob::uninitialized(kScratchBytes);
  ssize_t size = 0;
  do {
    size = ::pread(pending.file, scratch.data(), std::min(pending.left, kScratchBytes),
                   static_cast<off_t>(pending.offset));
  } while (size < 0 && errno == EINTR);
  // Nothing that a file says is to be taken for a full socket.
  if (size < 0 && would_block(errno)) errno = EIO;
  if (size <= 0) return size;
  iovec part = {.iov_base = scratch.data(), .iov_len = static_cast<size_t>(size)};
  return send_vectors(fd, &part, 1);
}

}  // namespace

}  // namespace millrace
