// FileWriter: bytes in order into a regular file, by the disk threads.
// At most one piece of work per file is away, so the order needs no lock.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include "core/base/blob.h"
#include "core/base/fd.h"
#include "core/disk/disk.h"
#include "core/disk/sha256.h"

namespace millrace {

struct FileWriterOptions {
  uint64_t ticket = 0;   // not used again while work of this writer is away
  uint64_t offset = 0;   // where the first byte goes
  bool digest = false;   // SHA-256 of everything written
  bool durable = false;  // the file is on the disk, and not only with the kernel, when all is done
};

// The file, its digest and the blobs to write next. Travels between the writer and the disk threads
// and needs nobody: when its writer is gone, it ends with its own return.
// Owned by: like every DiskWork.
class WriteWork final : public DiskWork {
 public:
  static constexpr size_t kBlobsMax = 64;                   // of one piece of work
  static constexpr size_t kBytesPerCall = 8 * 1024 * 1024;  // less than any system's limit

  WriteWork(Fd file, const FileWriterOptions& options)
      : options_(options), file_(std::move(file)), offset_(options.offset) {
    ticket = options.ticket;
  }
  void run() override;
  void refuse(int error_now) override { error = error_now; }
  [[nodiscard]] Sha256::Digest digest() { return sha256_.finish(); }

  std::deque<Blob> blobs;
  bool is_last = false;  // closes the file
  int error = 0;         // what ended the writing; nothing is written after it
  uint64_t written = 0;  // in all, also of a piece that failed midway

 private:
  void write_all();
  [[nodiscard]] ssize_t write_some(size_t first, size_t skip);
  void close_file();

  const FileWriterOptions options_;
  Sha256 sha256_;  // of all blobs that were written whole
  Fd file_;
  uint64_t offset_;  // of the next byte
};

// Owned by: loop thread. May be destroyed at any time: work that is away comes back with its ticket
// and is for Disk::discard() then.
class FileWriter final {
 public:
  FileWriter(Disk& disk, DiskInbox& inbox, Fd file, const FileWriterOptions& options);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  // Not after finish(). Dropped at once when the writer has failed.
  void append(Blob bytes);
  // Nothing comes any more. The end is reported by one more on_done(), unless the writer has
  // failed.
  void finish();
  // The work with this writer's ticket is back.
  void on_done(std::unique_ptr<DiskWork> work);

  // Bytes accepted and not written. The bound is the caller's: it appends only as much as it likes
  // to see here.
  [[nodiscard]] size_t pending() const { return pending_; }
  // All is written and the file closed, or the writer failed, finish() or not. Never when the disk
  // was stopped with work away.
  [[nodiscard]] bool is_done() const { return is_done_; }
  [[nodiscard]] int error() const { return error_; }  // errno, or 0
  [[nodiscard]] uint64_t written() const { return written_; }
  // Only when done without an error and asked for.
  [[nodiscard]] const Sha256::Digest& digest() const { return digest_; }

 private:
  void go_on();
  void send_out();
  void end();

  Disk& disk_;
  DiskInbox& inbox_;
  const bool has_digest_;
  std::unique_ptr<WriteWork> work_;  // null while it is away, and when all is done
  std::deque<Blob> queue_;
  size_t pending_ = 0;
  size_t away_ = 0;  // bytes of pending_ that the work has with it
  bool is_finishing_ = false;
  bool is_done_ = false;
  int error_ = 0;
  uint64_t written_ = 0;
  Sha256::Digest digest_{};
};

}  // namespace millrace
