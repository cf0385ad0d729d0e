// Measures the CPU time of a piece of code that takes nanoseconds: repeats it until the clock does
// not matter, some times over, and takes the median of these; and keeps the compiler from leaving
// the work out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/clocks.h"

namespace millrace::bench {

// The compiler must have `value` in memory here, and not know what memory holds afterwards.
template <typename Value>
inline void keep(const Value& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

struct Timing {
  double median_ns = 0;  // per call
  double least_ns = 0;
};

class Stopwatch final {
 public:
  Stopwatch(int repetitions, double seconds)
      : repetitions_(repetitions), span_ns_(seconds * 1e9 / repetitions) {}

  // `work` is called with 0, 1, 2, … and must keep() its result.
  template <typename Work>
  [[nodiscard]] Timing measure(const Work& work) const {
    uint64_t calls = calibrate(work);
    std::vector<double> times;
    for (int i = 0; i < repetitions_; i++) times.push_back(time_of(work, calls));
    return timing_of(times);
  }
  // The same without what `preparation`, which is part of `work`, takes by itself.
  template <typename Work, typename Preparation>
  [[nodiscard]] Timing measure_net(const Work& work, const Preparation& preparation) const {
    uint64_t calls = calibrate(work);
    std::vector<double> times;
    for (int i = 0; i < repetitions_; i++) {
      double whole = time_of(work, calls);
      times.push_back(std::max(whole - time_of(preparation, calls), 0.0));
    }
    return timing_of(times);
  }

 private:
  // How many calls one repetition takes. Warms caches and branches, too.
  template <typename Work>
  [[nodiscard]] uint64_t calibrate(const Work& work) const {
    uint64_t calls = 16;
    while (time_of(work, calls) * static_cast<double>(calls) < span_ns_ / 2) calls *= 2;
    return calls;
  }
  template <typename Work>
  [[nodiscard]] static double time_of(const Work& work, uint64_t calls) {
    uint64_t start = thread_nanoseconds();
    for (uint64_t i = 0; i < calls; i++) work(i);
    return static_cast<double>(thread_nanoseconds() - start) / static_cast<double>(calls);
  }
  [[nodiscard]] static Timing timing_of(std::vector<double>& times) {
    std::sort(times.begin(), times.end());
    return {times[times.size() / 2], times[0]};
  }

  const int repetitions_;
  const double span_ns_;
};

}  // namespace millrace::bench
