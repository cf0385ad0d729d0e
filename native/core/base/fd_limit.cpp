#include "core/base/fd_limit.h"

#include <sys/resource.h>

#include <cerrno>

namespace millrace {

namespace {

constexpr rlim_t kMost = rlim_t{1} << 20;  // nobody gives more to a process by default

int64_t number_of(rlim_t limit) {
  bool is_finite = limit != RLIM_INFINITY && limit < static_cast<rlim_t>(FdLimit::kUnlimited);
  return is_finite ? static_cast<int64_t>(limit) : FdLimit::kUnlimited;
}

bool is_taken(rlimit limit, rlim_t soft) {
  limit.rlim_cur = soft;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

// macOS refuses "unlimited" and has a bound of its own (setrlimit(2)).
void climb(const rlimit& limit) {
  rlim_t floor = limit.rlim_cur;
  rlim_t ceiling = kMost + 1;
  while (floor + 1 < ceiling) {
    rlim_t middle = floor + (ceiling - floor) / 2;
    (is_taken(limit, middle) ? floor : ceiling) = middle;
  }
}

}  // namespace

FdLimit read_fd_limit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return {};
  return {number_of(limit.rlim_cur), number_of(limit.rlim_max)};
}

Status set_fd_limit(int64_t soft) {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return Status::failed(errno, "getrlimit");
  bool is_unlimited = soft == FdLimit::kUnlimited;
  if (is_taken(limit, is_unlimited ? RLIM_INFINITY : static_cast<rlim_t>(soft))) {
    return Status::ok();
  }
  if (!is_unlimited || errno != EINVAL) return Status::failed(errno, "setrlimit");
  climb(limit);
  return Status::ok();
}

}  // namespace millrace
