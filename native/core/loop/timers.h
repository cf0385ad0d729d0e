// Timers: a coarse hashed wheel of deadlines, one per connection. A deadline that moves later costs
// no list operation: the entry is looked at when its old slot comes round and put where it belongs
// then. Owned by: loop thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/clock.h"

namespace millrace {

class Timers final {
 public:
  static constexpr Milliseconds kTick = 16;
  static constexpr size_t kSlots = 1024;

  explicit Timers(Milliseconds now) : tick_(now / kTick) { slots_.fill(kNone); }

  // kNever disarms. `index` names the owner; entries are made as needed.
  void set(uint32_t index, Milliseconds at);
  [[nodiscard]] Milliseconds at(uint32_t index) const {
    return index < entries_.size() ? entries_[index].at : kNever;
  }
  // Appends the owners whose deadlines have passed and disarms them.
  void expire(Milliseconds now, std::vector<uint32_t>& expired);
  // From `now` to the next moment that expire() has something to look at; kNever without deadlines.
  [[nodiscard]] Milliseconds until_next(Milliseconds now) const;
  [[nodiscard]] size_t armed() const { return armed_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr size_t kWords = kSlots / 64;
  struct Entry {
    Milliseconds at = kNever;
    int64_t tick = -1;  // the slot's tick it is linked under; -1: not linked
    uint32_t previous = kNone;
    uint32_t next = kNone;
  };
  void link(uint32_t index, int64_t tick);
  void unlink(uint32_t index);

  std::array<uint32_t, kSlots> slots_{};
  std::array<uint64_t, kWords> occupied_{};  // a bit per slot, so that until_next() need not walk
  std::vector<Entry> entries_;
  int64_t tick_;  // everything before it has been looked at
  size_t armed_ = 0;
  size_t linked_ = 0;
};

}  // namespace millrace
