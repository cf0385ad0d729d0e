// Saving: body bytes on their way into a file, and the event that says how it ended.
// Owned by: a body stream or its parts reader, loop thread.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "core/disk/file_writer.h"
#include "core/model/exchange.h"
#include "core/proto/session.h"

namespace millrace::http1 {

class Saving final {
 public:
  // `file` is open for writing; bytes go to its beginning, `bytes_max` of them at most.
  Saving(Fd file, bool digest, uint64_t bytes_max, Sink& sink)
      : ticket_(sink.new_ticket()),
        has_digest_(digest),
        left_(bytes_max),
        writer_(sink.open_writer(std::move(file), ticket_, digest)) {}

  [[nodiscard]] uint64_t ticket() const { return ticket_; }
  [[nodiscard]] bool wants_more() const {
    return !is_finishing_ && !is_done() && writer_->pending() < kPendingMax;
  }
  void append(Bytes bytes) {
    if (is_finishing_) return;
    is_over_limit_ = bytes.size() > left_;
    bytes = bytes.substr(0, static_cast<size_t>(std::min<uint64_t>(bytes.size(), left_)));
    left_ -= bytes.size();
    if (!bytes.empty()) writer_->append(Blob::copy(bytes));
    if (is_over_limit_) finish();
  }
  void finish() {
    if (!std::exchange(is_finishing_, true) && !is_done()) writer_->finish();
  }
  void on_done(std::unique_ptr<DiskWork> work) { writer_->on_done(std::move(work)); }
  // Written, or failed; report() is due.
  [[nodiscard]] bool is_done() const { return writer_->is_done(); }
  // Only while the sink can emit. EFBIG when there was more than the limit.
  void report(ExchangeId id, Sink& sink) const;

 private:
  static constexpr size_t kPendingMax = size_t{1} << 20;

  const uint64_t ticket_;
  const bool has_digest_;
  uint64_t left_;  // of what may be written
  bool is_finishing_ = false;
  bool is_over_limit_ = false;
  std::unique_ptr<FileWriter> writer_;
};

}  // namespace millrace::http1
