#include "core/poll/descriptors.h"

#include <fcntl.h>

#include <algorithm>

#include "core/base/fd.h"
#include "core/base/fd_limit.h"

namespace millrace {

namespace {
constexpr Milliseconds kRefreshMs = 1000;
}  // namespace

void DescriptorGauge::opened(int fd) { taken_ = std::max(taken_, fd + 1); }

void DescriptorGauge::closed() {
  taken_ = std::max(taken_ - 1, 0);
  taken_before_ = std::max(taken_before_ - 1, 0);
}

void DescriptorGauge::refresh(Milliseconds now, int fd) {
  if (now < refresh_at_) return;
  refresh_at_ = now + kRefreshMs;
  read_limit();
  taken_before_ = taken_;
  // Without the probe a full table would be taken for an empty one as soon as nothing is accepted.
  Fd probe(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  taken_ = probe.is_open() ? probe.get() : limit_;
}

void DescriptorGauge::read_limit() {
  limit_ = static_cast<int32_t>(std::min<int64_t>(read_fd_limit().soft, INT32_MAX));
}

int32_t DescriptorGauge::left(int32_t held) const {
  if (limit_ == INT32_MAX) return INT32_MAX;
  return std::max(limit_ - std::max({taken_, taken_before_, held}), 0);
}

}  // namespace millrace
