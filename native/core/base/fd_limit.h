// How many descriptors the process may have: RLIMIT_NOFILE.
#pragma once

#include <cstdint>

#include "core/base/result.h"

namespace millrace {

struct FdLimit {
  static constexpr int64_t kUnlimited = INT64_MAX;
  int64_t soft = kUnlimited;
  int64_t hard = kUnlimited;
};

// Unlimited where the system does not say.
[[nodiscard]] FdLimit read_fd_limit();
// Sets the soft limit. `kUnlimited` becomes the highest that the system takes.
[[nodiscard]] Status set_fd_limit(int64_t soft);

}  // namespace millrace
