// Meters: by slot, what of a socket the JS thread reads at any time: how much of what it sent the
// loop has taken, and how much waits for the peer. Written by the loop, read by the JS thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "core/base/check.h"

namespace millrace {

class Meters final {
 public:
  static constexpr uint32_t kSlots = 1u << 20;
  // Zeroed memory of the system, which costs nothing before it is touched.
  Meters() : slots_(static_cast<Slot*>(std::calloc(kSlots, sizeof(Slot)))) {
    MR_CHECK(slots_ != nullptr);
  }
  ~Meters() { std::free(slots_); }
  Meters(const Meters&) = delete;
  Meters& operator=(const Meters&) = delete;

  // Relaxed all: what is a moment old is as good. The total wraps and is never reset, so that the
  // reuse of a slot cannot be mistaken.
  void add_taken(uint32_t slot, uint32_t bytes) {
    std::atomic<uint32_t>& taken = slots_[slot].taken;
    taken.store(taken.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
  }
  void set_waiting(uint32_t slot, uint32_t bytes) {
    slots_[slot].waiting.store(bytes, std::memory_order_relaxed);
  }
  [[nodiscard]] uint32_t taken(uint32_t slot) const {
    return slots_[slot].taken.load(std::memory_order_relaxed);
  }
  [[nodiscard]] uint32_t waiting(uint32_t slot) const {
    return slots_[slot].waiting.load(std::memory_order_relaxed);
  }

 private:
  struct Slot {
    std::atomic<uint32_t> taken;    // payload bytes of Send commands, in all
    std::atomic<uint32_t> waiting;  // bytes that the kernel has not taken
  };
  static_assert(sizeof(Slot) == 8);
  Slot* slots_;
};

}  // namespace millrace
