// QueueMeter: how long requests waited for JavaScript, and how many it took at a time. Written by
// the consumer of a lane, read by any thread.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/base/counter.h"

namespace millrace {

class QueueMeter final {
 public:
  // By the millisecond up to 127, then 8 steps per factor of two; src/metrics.ts knows it too.
  static constexpr size_t kDelayBins = 256;
  static constexpr uint32_t kFineDelays = 128;
  // Bounds of what is exported, in milliseconds: bin i of slow() holds the delays up to the i-th of
  // them (and above the one before), the last one what is longer.
  static constexpr std::array<uint32_t, 8> kSlowDelays = {200,  500,    1000,   2000,
                                                          5000, 10'000, 30'000, UINT32_MAX};
  // Bin i: batches of up to 2^i requests, and of more than bin i - 1 has.
  static constexpr size_t kSizeBins = 11;

  // A request was taken that had waited so many milliseconds. Below 0: the clock is that of another
  // turn, by a hair.
  void add_delay(int32_t delay) {
    uint32_t ms = delay < 0 ? 0 : static_cast<uint32_t>(delay);
    delay_sum_.add(ms);
    if (ms > delay_max_.get()) delay_max_.add(ms - delay_max_.get());
    if (ms < kFineDelays) return delays_[ms].increment();
    add_slow(ms);
  }
  // The requests of a batch, after add_delay() of each; none: it held something else.
  void add_batch(uint32_t requests) {
    if (requests == 0) return;
    batches_.increment();
    requests_.add(requests);
    if (requests > largest_.get()) largest_.add(requests - largest_.get());
    size_t bin = static_cast<size_t>(std::bit_width(requests - 1));
    sizes_[bin < kSizeBins ? bin : kSizeBins - 1].increment();
  }

  [[nodiscard]] int64_t batches() const { return batches_.get(); }
  [[nodiscard]] int64_t requests() const { return requests_.get(); }
  [[nodiscard]] int64_t largest() const { return largest_.get(); }
  [[nodiscard]] int64_t delay_max() const { return delay_max_.get(); }
  [[nodiscard]] int64_t delay_sum() const { return delay_sum_.get(); }
  [[nodiscard]] int64_t delays(size_t bin) const { return delays_[bin].get(); }
  [[nodiscard]] int64_t slow(size_t bin) const { return slow_[bin].get(); }
  [[nodiscard]] int64_t sizes(size_t bin) const { return sizes_[bin].get(); }

 private:
  void add_slow(uint32_t ms);

  Counter batches_;
  Counter requests_;
  Counter largest_;
  Counter delay_max_;
  Counter delay_sum_;
  std::array<Counter, kDelayBins> delays_;
  std::array<Counter, kSlowDelays.size()> slow_;
  std::array<Counter, kSizeBins> sizes_;
};

// What add_queue_meter() adds up: batches, requests, largest batch, longest delay, delays by bin.
constexpr size_t kQueueCount = 4 + QueueMeter::kDelayBins;

// Adds the meter to `sums`; of the third and fourth it keeps the larger one.
void add_queue_meter(const QueueMeter& meter, double* sums);

}  // namespace millrace
