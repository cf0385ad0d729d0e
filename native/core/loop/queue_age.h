// QueueAge: for how long the oldest event of a lane has waited for its consumer, as the producer
// knows it. Owned by: loop thread.
//
// A mark says where the ring ended at a time. Marks whose events were taken are dropped, so what is
// left of the first one is the oldest that waits. Never older than it is: marks that are merged
// keep the later time.
//
// There is no hysteresis: each verdict is about one request and costs nothing to change. Who was
// let in just before the age was reached has waited no longer than it when the consumer gets
// there, and what it takes off the front makes the oldest younger at once.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/base/clock.h"
#include "core/lane/ring.h"

namespace millrace {

class QueueAge final {
 public:
  static constexpr size_t kMarks = 64;
  static constexpr Milliseconds kStepsMax = static_cast<Milliseconds>(kMarks / 2);

  // `most`: the age that is_over() judges by; 0: never.
  explicit QueueAge(Milliseconds most)
      : most_(most), step_(std::max<Milliseconds>(most / kStepsMax, 1)) {}

  // Events were written up to the ring's end, all of them at about `now`.
  void written(const Ring& events, Milliseconds now) {
    if (most_ == 0) return;
    if (count_ > 0 && (now - last().began < step_ || is_full(events))) {
      last().end = events.written();
      last().time = now;
      // What it was merged with may be gone, or be younger: is_over() looks.
      return;
    }
    if (count_ == 0) judge_at_ = now + most_;
    count_++;
    last() = {events.written(), now, now};
  }
  [[nodiscard]] bool is_over(const Ring& events, Milliseconds now) {
    return now > judge_at_ && look(events, now);
  }

 private:
  struct Mark {
    uint64_t end;
    Milliseconds began;  // when it was made: bounds what is merged into it
    Milliseconds time;   // of the last events in it
  };
  [[nodiscard]] Mark& last() { return marks_[(first_ + count_ - 1) % kMarks]; }
  [[nodiscard]] bool is_full(const Ring& events) {
    if (count_ < kMarks) return false;
    drop_taken(events);
    return count_ == kMarks;
  }
  void drop_taken(const Ring& events) {
    uint64_t taken = events.taken();
    while (count_ > 0 && marks_[first_].end <= taken) {
      first_ = (first_ + 1) % kMarks;
      count_--;
    }
  }
  [[nodiscard]] bool look(const Ring& events, Milliseconds now) {
    drop_taken(events);
    judge_at_ = count_ == 0 ? INT64_MAX : marks_[first_].time + most_;
    return now > judge_at_;
  }

  const Milliseconds most_;
  const Milliseconds step_;
  Milliseconds judge_at_ = INT64_MAX;  // not over before it has passed
  size_t first_ = 0;
  size_t count_ = 0;
  std::array<Mark, kMarks> marks_{};
};

}  // namespace millrace
