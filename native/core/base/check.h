// Assertions for states that no peer and no user can reach: a failure is our bug and ends the
// process. Does not handle bad input; that is a value (ErrorCode, Status), never an abort.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace millrace {

[[noreturn]] inline void check_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "millrace: broken invariant %s at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace millrace

#define MR_CHECK(expression)               \
  (static_cast<bool>(expression) ? void(0) \
                                 : ::millrace::check_failed(#expression, __FILE__, __LINE__))

#ifdef NDEBUG
#define MR_DCHECK(expression) void(0)
#else
#define MR_DCHECK(expression) MR_CHECK(expression)
#endif
