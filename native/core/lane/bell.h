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

  // Consumer: about to sleep. Afterwards it must look at its ring once more and call stay_awake() when not empty.
  void fall_asleep() { asleep_.store(true, std::memory_order_seq_cst); }
  void stay_awake() { asleep_.store(false, std::memory_order_seq_cst); }

  // Producer: after commit(). The exchange is sequentially consistent with the consumer's store and its look at
  // the ring: either the consumer sees the record, or we see it asleep.
  void ring() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!asleep_.load(std::memory_order_relaxed)) return;
    if (asleep_.exchange(false, std::memory_order_seq_cst) && wake_ != nullptr) wake_(who_);
  }

 private:
  std::atomic<bool> asleep_{false};
  Wake wake_ = nullptr;
  void* who_ = nullptr;
};

}  // namespace millrace
