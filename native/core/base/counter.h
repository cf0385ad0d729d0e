// Counter: written by one thread, read by any. Relaxed, and never a locked instruction.
#pragma once

#include <atomic>
#include <cstdint>

namespace millrace {

class Counter final {
 public:
  void add(int64_t amount) {
    // One writer: a plain load and store suffice. Pairs with the relaxed load in get(); no order is
    // promised.
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  void increment() { add(1); }
  void decrement() { add(-1); }
  [[nodiscard]] int64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

}  // namespace millrace
