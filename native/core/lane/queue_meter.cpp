#include "core/lane/queue_meter.h"

#include <algorithm>
#include <cmath>

namespace millrace {

void QueueMeter::add_slow(uint32_t ms) {
  auto steps = static_cast<size_t>(std::log2(static_cast<double>(ms) / kFineDelays) * 8);
  delays_[std::min(kDelayBins - 1, kFineDelays + steps)].increment();
  size_t bin = 0;
  while (ms > kSlowDelays[bin]) bin++;
  slow_[bin].increment();
}

void add_queue_meter(const QueueMeter& meter, double* sums) {
  sums[0] += static_cast<double>(meter.batches());
  sums[1] += static_cast<double>(meter.requests());
  sums[2] = std::max(sums[2], static_cast<double>(meter.largest()));
  sums[3] = std::max(sums[3], static_cast<double>(meter.delay_max()));
  for (size_t i = 0; i < QueueMeter::kDelayBins; i++)
    sums[4 + i] += static_cast<double>(meter.delays(i));
}

}  // namespace millrace
