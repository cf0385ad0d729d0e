// Sleeper: what a bell wakes when its consumer is a plain thread: an eventfd that the thread reads.
// As many system calls as a thread-safe function or a poller costs, or fewer.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "bench/program.h"
#include "core/base/fd.h"
#include "core/lane/bell.h"

namespace millrace::bench {

class Sleeper final {
 public:
  Sleeper() : event_(::eventfd(0, EFD_CLOEXEC)) {
    if (!event_.is_open()) fail_call("eventfd");
  }

  void serve(Bell& bell) {
    bell.set_wake([](void* sleeper) { static_cast<Sleeper*>(sleeper)->wake(); }, this);
  }
  void wake() {
    uint64_t one = 1;
    while (::write(event_.get(), &one, sizeof(one)) < 0 && errno == EINTR) continue;
  }
  // Returns at once when wake() was called since the last time.
  void wait() {
    uint64_t count = 0;
    while (::read(event_.get(), &count, sizeof(count)) < 0 && errno == EINTR) continue;
  }

 private:
  Fd event_;
};

}  // namespace millrace::bench
