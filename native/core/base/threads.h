// Thread roles as capabilities: clang checks who may call what; debug builds check it at run time.
#pragma once

#include <pthread.h>

#include "core/base/check.h"

#if defined(__clang__)
#define MR_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define MR_THREAD_ATTRIBUTE(x)
#endif
#define MR_CAPABILITY(name) MR_THREAD_ATTRIBUTE(capability(name))
#define MR_REQUIRES(...) MR_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define MR_GUARDED_BY(x) MR_THREAD_ATTRIBUTE(guarded_by(x))
#define MR_ASSERT_CAPABILITY(x) MR_THREAD_ATTRIBUTE(assert_capability(x))

namespace millrace {

// Bits of the roles the calling thread plays right now. An inline host plays both.
inline thread_local unsigned current_roles = 0;

class MR_CAPABILITY("thread") ThreadRole final {
 public:
  explicit constexpr ThreadRole(unsigned bit) : bit_(bit) {}
  void assert_here() const MR_ASSERT_CAPABILITY(this) { MR_DCHECK((current_roles & bit_) != 0); }
  void enter() const { current_roles |= bit_; }
  void leave() const { current_roles &= ~bit_; }

 private:
  unsigned bit_;
};

// Plays a role for as long as it lives; a host that already plays it keeps it.
class RoleScope final {
 public:
  explicit RoleScope(const ThreadRole& role) : before_(current_roles) { role.enter(); }
  ~RoleScope() { current_roles = before_; }
  RoleScope(const RoleScope&) = delete;
  RoleScope& operator=(const RoleScope&) = delete;

 private:
  unsigned before_;
};

// At most 15 bytes are kept on Linux.
inline void name_this_thread(const char* name) {
#if defined(__APPLE__)
  pthread_setname_np(name);
#else
  pthread_setname_np(pthread_self(), name);
#endif
}

inline constexpr ThreadRole loop_thread{1};
inline constexpr ThreadRole js_thread{2};

}  // namespace millrace
