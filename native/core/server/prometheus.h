// The numbers of a server in the text format of Prometheus, version 0.0.4.
#pragma once

#include <span>
#include <string>

#include "core/lane/queue_meter.h"
#include "core/model/stats.h"

namespace millrace {

// Of one loop; both are read while their threads write them.
struct LoopNumbers {
  const Stats* stats;
  const QueueMeter* queue;
};

// Appends the sums over the loops.
void write_prometheus(std::span<const LoopNumbers> loops, std::string& out);

}  // namespace millrace
