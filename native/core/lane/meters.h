// Meters: by slot, what one side of a lane looks at without asking the other. Of sockets: how much
// of what the JS thread sent the loop has taken, and how much waits for the peer. Of requests,
// where the server logs access: how long they waited for the JS thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/model/exchange.h"

namespace millrace {

class Meters final {
 public:
  static constexpr uint32_t kSlots = 1u << 20;
  // Zeroed memory of the system, which costs nothing before it is touched.
  Meters() : slots_(static_cast<Slot*>(std::calloc(kSlots, sizeof(Slot)))) {
    MR_CHECK(slots_ != nullptr);
  }
  ~Meters() {
    std::free(slots_);
    std::free(delays_);
  }
  Meters(const Meters&) = delete;
  Meters& operator=(const Meters&) = delete;

  // What is a moment old is as good, but who sees bytes taken sees them waiting too: `taken` is
  // written last and read first. The total wraps and is never reset, so that the reuse of a slot
  // cannot be mistaken.
  void add_taken(uint32_t slot, uint32_t bytes) {
    std::atomic<uint32_t>& taken = slots_[slot].taken;
    taken.store(taken.load(std::memory_order_relaxed) + bytes, std::memory_order_release);
  }
  void set_waiting(uint32_t slot, uint32_t bytes) {
    slots_[slot].waiting.store(bytes, std::memory_order_relaxed);
  }
  [[nodiscard]] uint32_t taken(uint32_t slot) const {
    return slots_[slot].taken.load(std::memory_order_acquire);
  }
  [[nodiscard]] uint32_t waiting(uint32_t slot) const {
    return slots_[slot].waiting.load(std::memory_order_relaxed);
  }

  // --- delays of requests ---
  // Before any thread uses the lane. Without it the rest is not called.
  void keep_delays() {
    delays_ = static_cast<Delay*>(std::calloc(kSlots, sizeof(Delay)));
    MR_CHECK(delays_ != nullptr);
  }
  [[nodiscard]] bool keeps_delays() const { return delays_ != nullptr; }
  // Loop: the exchange is open from here on.
  void begin_delay(uint32_t slot, Milliseconds now) { delays_[slot].began = now; }
  // JS thread: it has its request, which waited so long. Relaxed: the command that answers orders
  // it.
  void set_delay(ExchangeId id, uint32_t ms) {
    delays_[id.slot].taken.store(uint64_t{id.generation + 1} << 32 | ms, std::memory_order_relaxed);
  }
  // Loop: what the JS thread said of this exchange, or for how long it has not taken it.
  [[nodiscard]] uint32_t delay(ExchangeId id, Milliseconds now) const {
    uint64_t taken = delays_[id.slot].taken.load(std::memory_order_relaxed);
    if (taken >> 32 == id.generation + 1) return static_cast<uint32_t>(taken);
    return static_cast<uint32_t>(now - delays_[id.slot].began);
  }

 private:
  struct Slot {
    std::atomic<uint32_t> taken;    // payload bytes of Send commands, in all
    std::atomic<uint32_t> waiting;  // bytes that the kernel has not taken
  };
  static_assert(sizeof(Slot) == 8);
  // The generation counts from 1 here: memory begins as 0.
  struct Delay {
    std::atomic<uint64_t> taken;  // generation and milliseconds
    Milliseconds began;           // the loop's own
  };
  Slot* slots_;
  Delay* delays_ = nullptr;
};

}  // namespace millrace
