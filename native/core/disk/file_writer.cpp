#include "core/disk/file_writer.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "core/base/check.h"
#include "core/disk/system.h"

namespace millrace {

// --- on a disk thread ---

void WriteWork::run() {
  write_all();
  blobs.clear();
  // A file that failed is closed here too, and not on the loop.
  if (is_last || error != 0) close_file();
}

void WriteWork::write_all() {
  size_t first = 0;  // the blob that is being written
  size_t skip = 0;   // bytes of it that are
  while (first < blobs.size()) {
    ssize_t count = write_some(first, skip);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {  // 0 never comes for a regular file; if it did, trying again would not end
      error = count < 0 ? errno : EIO;
      break;
    }
    offset_ += static_cast<uint64_t>(count);
    written += static_cast<uint64_t>(count);
    skip += static_cast<size_t>(count);
    for (; first < blobs.size() && skip >= blobs[first].size(); first++) {
      skip -= blobs[first].size();
      if (options_.digest) sha256_.update(blobs[first].bytes());
    }
  }
}

// One gathered write from `skip` bytes into the blob `first` on.
ssize_t WriteWork::write_some(size_t first, size_t skip) {
  std::array<iovec, kBlobsMax> vectors;
  size_t count = 0;
  size_t room = kBytesPerCall;
  for (size_t i = first; i < blobs.size() && count < vectors.size() && room > 0; i++, skip = 0) {
    size_t size = std::min(blobs[i].size() - skip, room);
    vectors[count++] = {blobs[i].data() + skip, size};
    room -= size;
  }
  return ::pwritev(file_.get(), vectors.data(), static_cast<int>(count),
                   static_cast<off_t>(offset_));
}

void WriteWork::close_file() {
  if (error == 0 && options_.durable) error = sync_file(file_.get());
  // Some file systems report here what did not fit.
  if (::close(file_.release()) != 0 && error == 0 && errno != EINTR) error = errno;
}

// --- on the loop thread ---

FileWriter::FileWriter(Disk& disk, DiskInbox& inbox, Fd file, const FileWriterOptions& options)
    : disk_(disk),
      inbox_(inbox),
      has_digest_(options.digest),
      work_(std::make_unique<WriteWork>(std::move(file), options)) {}

FileWriter::~FileWriter() {
  if (work_ != nullptr) disk_.discard(std::move(work_));
}

void FileWriter::append(Blob bytes) {
  MR_DCHECK(!is_finishing_);
  if (is_done_ || bytes.empty()) return;
  pending_ += bytes.size();
  queue_.push_back(std::move(bytes));
  if (work_ != nullptr) go_on();
}

void FileWriter::finish() {
  if (std::exchange(is_finishing_, true) || is_done_) return;
  if (work_ != nullptr) go_on();
}

void FileWriter::on_done(std::unique_ptr<DiskWork> work) {
  MR_CHECK(work_ == nullptr);
  work_.reset(static_cast<WriteWork*>(work.release()));
  written_ = work_->written;
  error_ = work_->error;
  pending_ -= std::exchange(away_, 0);
  go_on();
}

// The work is at home.
void FileWriter::go_on() {
  if (error_ != 0 || work_->is_last) return end();
  if (!queue_.empty() || is_finishing_) send_out();
}

void FileWriter::send_out() {
  while (!queue_.empty() && work_->blobs.size() < WriteWork::kBlobsMax) {
    away_ += queue_.front().size();
    work_->blobs.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  work_->is_last = is_finishing_ && queue_.empty();
  disk_.submit(std::move(work_), inbox_);
}

void FileWriter::end() {
  is_done_ = true;
  queue_.clear();
  pending_ = 0;
  if (error_ == 0 && has_digest_) digest_ = work_->digest();
  work_.reset();
}

}  // namespace millrace
