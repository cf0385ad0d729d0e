// Bell: wakes a sleeping consumer at most once per sleep. The owner gives the way to wake it.
#pragma once

#include <atomic>

namespace millrace {

class Bell final {
 public:
  using Wake = void (*)(void* who);

  // Before any thread uses the bell. Without a way to wake, ringing is silent (inline hosts).
  void set_wake(Wake wake, void* who) {
    wake_ = wake;
    who_ = who;
  }

  // Consumer: about to sleep. Afterwards it must look once more at what it waits for (a record,
  // room) and call stay_awake() when that is there. The fence pairs with the one in ring(): either
  // that second look sees what the producer did before it rang, or ring() sees us asleep.
  void fall_asleep() {
    asleep_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
  // Relaxed: a producer that still sees the flag wakes us once too often, never once too little.
  void stay_awake() { asleep_.store(false, std::memory_order_relaxed); }

  // Producer: after commit(). Pairs with fall_asleep().
  void ring() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!asleep_.load(std::memory_order_relaxed)) return;
    // Only who takes the flag down wakes. Relaxed: the way to wake brings its own order.
    if (asleep_.exchange(false, std::memory_order_relaxed) && wake_ != nullptr) wake_(who_);
  }

 private:
  std::atomic<bool> asleep_{false};
  Wake wake_ = nullptr;
  void* who_ = nullptr;
};

}  // namespace millrace
