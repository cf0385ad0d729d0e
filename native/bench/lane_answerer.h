// LaneAnswerer: plays JavaScript's part on one lane: takes events in batches and answers each with
// the same response. Reads nothing of a request but its exchange: the lane and the loop are
// measured, not a handler. Owned by: the consumer's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>

#include "core/base/blob.h"
#include "core/base/counter.h"
#include "core/lane/lane.h"
#include "core/proto/session.h"

namespace millrace::bench {

class LaneAnswerer final {
 public:
  enum class Outcome : uint8_t { NothingThere, Answered, CommandsAreFull };

  LaneAnswerer(Lane& lane, std::string headers, std::string body)
      : lane_(lane), headers_(std::move(headers)), body_(std::move(body)) {}

  [[nodiscard]] Lane& lane() { return lane_; }
  [[nodiscard]] int64_t batches() const { return batches_.get(); }
  [[nodiscard]] int64_t events() const { return events_.get(); }

  // At most one batch, as large as the addon's. CommandsAreFull: the loop must take some before
  // this is called again. Rings the loop at most once.
  [[nodiscard]] Outcome answer_batch() {
    int64_t taken = 0;
    int64_t answered = 0;
    bool is_full = false;
    while (taken < kEventsPerBatch) {
      char* record = lane_.events.front();
      if (record == nullptr) break;
      const auto& event = *reinterpret_cast<const Event*>(record);
      bool is_request = event.kind == static_cast<uint16_t>(EventKind::Request);
      if (is_request && !answer(event.exchange)) {
        is_full = true;
        break;
      }
      if ((event.flags & kEventBodyIsBlob) != 0) {
        Blob dropped = Blob::adopt(reinterpret_cast<char*>(event.blob), event.body_length);
      }
      lane_.events.pop(event.size);
      taken++;
      answered += is_request ? 1 : 0;
    }
    if (taken > 0) lane_.events_taken();
    if (answered > 0 || is_full) lane_.loop_bell.ring();
    if (answered > 0) batches_.increment();
    events_.add(answered);
    if (is_full) return Outcome::CommandsAreFull;
    return taken > 0 ? Outcome::Answered : Outcome::NothingThere;
  }

 private:
  static constexpr int64_t kEventsPerBatch = 512;

  // False when there is no room.
  [[nodiscard]] bool answer(ExchangeId exchange) {
    bool is_inline = body_.size() <= kInlineBodyMax;
    size_t size = sizeof(Command) + headers_.size() + (is_inline ? body_.size() : 0);
    char* record = lane_.commands.reserve(size);
    if (record == nullptr) return false;
    auto* command = new (record) Command();
    command->size = static_cast<uint32_t>(Ring::rounded(size));
    command->kind = static_cast<uint16_t>(CommandKind::Respond);
    command->exchange = exchange;
    command->status = 200;
    command->header_length = static_cast<uint32_t>(headers_.size());
    command->body_length = static_cast<uint32_t>(body_.size());
    char* out = record + sizeof(Command);
    std::memcpy(out, headers_.data(), headers_.size());
    if (is_inline) {
      std::memcpy(out + headers_.size(), body_.data(), body_.size());
    } else {
      command->flags |= kCommandBodyIsBlob;
      command->blob = reinterpret_cast<uint64_t>(Blob::copy(body_).release());
    }
    lane_.commands.commit(size);
    return true;
  }

  Lane& lane_;
  const std::string headers_;
  const std::string body_;
  Counter batches_;
  Counter events_;
};

}  // namespace millrace::bench
