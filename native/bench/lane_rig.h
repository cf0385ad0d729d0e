// LaneRig: a lane with a thread at each end and no loop: the calling thread plays the loop's part
// (puts events, takes commands), a second one JavaScript's (takes events, puts commands). Each
// event carries the time at which it was put.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>

#include "bench/clocks.h"
#include "bench/histogram.h"
#include "bench/sleeper.h"
#include "core/lane/lane.h"

namespace millrace::bench {

// What a thread does when its ring is empty.
enum class Waiting : uint8_t {
  Sleep,  // as in a server: the bell, then an eventfd
  Spin,   // looks again at once: what the memory traffic alone costs
};

// Lives through one measurement; the consumer's figures are read after finish().
class LaneRig final {
 public:
  LaneRig(Waiting waiting, size_t text_bytes) : waiting_(waiting), text_bytes_(text_bytes) {
    consumer_sleeper_.serve(lane_.js_bell);
    producer_sleeper_.serve(lane_.loop_bell);
    consumer_ = std::thread([this] { consume(); });
  }
  ~LaneRig() { finish(); }
  LaneRig(const LaneRig&) = delete;
  LaneRig& operator=(const LaneRig&) = delete;

  // --- the loop's part; the calling thread ---

  // False when the ring is full. Not seen before ring().
  [[nodiscard]] bool put_event(uint64_t now) {
    size_t size = sizeof(Event) + text_bytes_;
    char* record = lane_.events.reserve(size);
    if (record == nullptr) return false;
    auto* event = new (record) Event();
    event->size = static_cast<uint32_t>(Ring::rounded(size));
    event->kind = static_cast<uint16_t>(EventKind::Request);
    event->blob = now;  // no kEventBodyIsBlob: a number as any other
    std::memset(record + sizeof(Event), 'x', text_bytes_);
    lane_.events.commit(size);
    return true;
  }
  void ring() { lane_.js_bell.ring(); }

  // Returns how many commands came; adds for each the time since its event was put.
  size_t take_commands(Histogram& round_trip) {
    size_t taken = 0;
    uint64_t now = 0;
    while (char* record = lane_.commands.front()) {
      if (taken++ == 0) now = nanoseconds();
      const auto* command = reinterpret_cast<const Command*>(record);
      round_trip.add(now - command->blob);
      lane_.commands.pop(command->size);
    }
    return taken;
  }
  // Returns when there may be a command.
  void await_command() {
    if (waiting_ == Waiting::Spin) return look_again(empty_looks_);
    lane_.loop_bell.fall_asleep();
    if (lane_.commands.is_empty()) producer_sleeper_.wait();
    lane_.loop_bell.stay_awake();
  }

  // --- afterwards ---

  // Joins the consumer. Idempotent.
  void finish() {
    if (!consumer_.joinable()) return;
    // Pairs with the acquire load in consume().
    stopping_.store(true, std::memory_order_release);
    consumer_sleeper_.wake();
    consumer_.join();
  }
  [[nodiscard]] const Histogram& seen() const { return seen_; }  // put until seen by the consumer
  [[nodiscard]] uint64_t batches() const { return batches_; }
  [[nodiscard]] uint64_t sleeps() const { return sleeps_; }

 private:
  static constexpr size_t kEventsPerBatch = 512;
  static constexpr size_t kAnswerBytes = 40;  // a short header line and a short body

  void consume() {
    uint64_t empty_looks = 0;
    while (!stopping_.load(std::memory_order_acquire)) {
      if (take_events() > 0) continue;
      if (waiting_ == Waiting::Spin) {
        look_again(empty_looks);
        continue;
      }
      lane_.js_bell.fall_asleep();
      if (lane_.events.is_empty()) {
        sleeps_++;
        consumer_sleeper_.wait();
      }
      lane_.js_bell.stay_awake();
    }
  }

  // Where cores are scarce the other thread may need this one.
  static void look_again(uint64_t& empty_looks) {
    if (++empty_looks % 4096 == 0) sched_yield();
  }

  size_t take_events() {
    size_t taken = 0;
    uint64_t now = 0;
    while (taken < kEventsPerBatch) {
      char* record = lane_.events.front();
      if (record == nullptr) break;
      const auto* event = reinterpret_cast<const Event*>(record);
      char* answer = lane_.commands.reserve(sizeof(Command) + kAnswerBytes);
      if (answer == nullptr) break;
      if (taken++ == 0) now = nanoseconds();
      seen_.add(now > event->blob ? now - event->blob : 0);
      auto* command = new (answer) Command();
      command->size = static_cast<uint32_t>(Ring::rounded(sizeof(Command) + kAnswerBytes));
      command->kind = static_cast<uint16_t>(CommandKind::Respond);
      command->blob = event->blob;
      std::memset(answer + sizeof(Command), 'y', kAnswerBytes);
      lane_.commands.commit(sizeof(Command) + kAnswerBytes);
      lane_.events.pop(event->size);
    }
    if (taken == 0) return 0;
    batches_++;
    lane_.events_taken();
    lane_.loop_bell.ring();
    return taken;
  }

  const Waiting waiting_;
  const size_t text_bytes_;
  Lane lane_;
  Sleeper consumer_sleeper_;
  Sleeper producer_sleeper_;
  uint64_t empty_looks_ = 0;
  std::atomic<bool> stopping_{false};
  Histogram seen_;
  uint64_t batches_ = 0;
  uint64_t sleeps_ = 0;
  std::thread consumer_;
};

}  // namespace millrace::bench
