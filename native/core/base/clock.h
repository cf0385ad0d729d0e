// Time as a type. Nothing in the core fetches time; it is passed in (the poller reports it).
#pragma once

#include <cstdint>

namespace millrace {

// Monotonic time or a span of it, in milliseconds.
using Milliseconds = int64_t;
constexpr Milliseconds kNever = -1;

// Seconds since 1970-01-01T00:00:00Z, for the Date field only.
using UnixSeconds = int64_t;

}  // namespace millrace
