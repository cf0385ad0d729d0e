// Guesses how many descriptors are free without asking the kernel each time: it hands out the
// lowest free number, so what accept() returned lately, or a probe now and then, says how many are
// taken at least.
#pragma once

#include <cstdint>

#include "core/base/clock.h"

namespace millrace {

// Owned by: loop thread.
class DescriptorGauge final {
 public:
  void opened(int fd);
  void closed();
  void read_limit();
  // Once a second: reads the soft limit again, probes by a duplicate of `fd` and forgets old
  // sightings; cheap enough for every wait().
  void refresh(Milliseconds now, int fd);
  // `held`: descriptors the caller knows to be open.
  [[nodiscard]] int32_t left(int32_t held) const;

 private:
  int32_t limit_ = INT32_MAX;
  // Two spans of time, so that what others closed meanwhile is noticed after the second one.
  int32_t taken_ = 0;
  int32_t taken_before_ = 0;
  Milliseconds refresh_at_ = INT64_MIN;
};

}  // namespace millrace
