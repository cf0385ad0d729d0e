// Monotonic time in nanoseconds and the CPU time of a process, for all bench programs.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <ctime>

namespace millrace::bench {

inline uint64_t nanoseconds_on(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(time.tv_nsec);
}

inline uint64_t nanoseconds() { return nanoseconds_on(CLOCK_MONOTONIC); }
// Stands still while another thread has the core.
inline uint64_t thread_nanoseconds() { return nanoseconds_on(CLOCK_THREAD_CPUTIME_ID); }

inline uint64_t nanoseconds_of(double seconds) { return static_cast<uint64_t>(seconds * 1e9); }

// Of all threads of this process.
struct CpuTime {
  int64_t user_us = 0;
  int64_t system_us = 0;
  int64_t switches = 0;  // to another thread, because ours had to wait
};

inline CpuTime cpu_time() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto microseconds = [](const timeval& time) { return time.tv_sec * 1'000'000 + time.tv_usec; };
  return {microseconds(usage.ru_utime), microseconds(usage.ru_stime), usage.ru_nvcsw};
}

}  // namespace millrace::bench
