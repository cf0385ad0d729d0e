// Stats: the counters of one loop, from metrics.def. Written by the loop thread, read by any.
#pragma once

#include <array>
#include <cstddef>

#include "core/base/counter.h"
#include "core/model/close_cause.h"
#include "core/model/error.h"

namespace millrace {

struct Stats {
#define MR_METRIC(name, public_name, kind, sentence) Counter name;
#include "core/model/metrics.def"
#undef MR_METRIC
  std::array<Counter, static_cast<size_t>(ErrorCode::Count)> refusals;  // by ErrorCode
  std::array<Counter, kCauseCount> closes;                              // by CloseCause
  Counter draining;                                                     // 1: the loop drains
};

constexpr size_t kMetricCount = 0
#define MR_METRIC(name, public_name, kind, sentence) +1
#include "core/model/metrics.def"
#undef MR_METRIC
    ;
constexpr size_t kStatsCount = kMetricCount + static_cast<size_t>(ErrorCode::Count) + kCauseCount;

// Adds the counters to `sums` (kStatsCount of them), in table order, then refusals, then closes.
inline void add_stats(const Stats& stats, double* sums) {
  size_t i = 0;
#define MR_METRIC(name, public_name, kind, sentence) \
  sums[i++] += static_cast<double>(stats.name.get());
#include "core/model/metrics.def"
#undef MR_METRIC
  for (const Counter& refusal : stats.refusals) sums[i++] += static_cast<double>(refusal.get());
  for (const Counter& closed : stats.closes) sums[i++] += static_cast<double>(closed.get());
}

}  // namespace millrace
