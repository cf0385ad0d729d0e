// Exchanges: slots with generations. A command for a finished exchange misses safely.
// Owned by: loop thread.
#pragma once

#include <cstdint>
#include <vector>

#include "core/model/exchange.h"

namespace millrace {

class Exchanges final {
 public:
  static constexpr uint32_t kSlotsMax =
      1u << 20;  // the slot shares a 31-bit word with the lane's number

  explicit Exchanges(uint32_t count_max)
      : count_max_(count_max < kSlotsMax ? count_max : kSlotsMax) {}

  [[nodiscard]] bool has_room() const { return open_ < count_max_ && open_ + sockets_ < kSlotsMax; }
  [[nodiscard]] ExchangeId open(uint32_t connection);  // only with has_room()
  void close(ExchangeId id);
  // It is a socket from here on: it leaves its place among the `count_max` to others.
  void keep(ExchangeId id);
  // The connection's index, or UINT32_MAX when the exchange is over.
  [[nodiscard]] uint32_t connection_of(ExchangeId id) const;
  [[nodiscard]] bool is_socket(ExchangeId id) const { return slots_[id.slot].is_socket; }
  [[nodiscard]] uint32_t open_count() const { return open_; }

 private:
  struct Slot {
    uint32_t generation = 0;
    uint32_t connection = UINT32_MAX;  // free: the next free slot
    bool in_use = false;
    bool is_socket = false;
  };
  std::vector<Slot> slots_;
  uint32_t free_ = UINT32_MAX;
  uint32_t open_ = 0;
  uint32_t sockets_ = 0;
  uint32_t count_max_;
};

}  // namespace millrace
