#include "core/loop/exchanges.h"

#include "core/base/check.h"

namespace millrace {

ExchangeId Exchanges::open(uint32_t connection) {
  MR_CHECK(has_room());
  uint32_t index = free_;
  if (index == UINT32_MAX) {
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    free_ = slots_[index].connection;
  }
  Slot& slot = slots_[index];
  slot.connection = connection;
  slot.in_use = true;
  slot.is_socket = false;
  open_++;
  return {index, slot.generation};
}

void Exchanges::close(ExchangeId id) {
  MR_CHECK(id.slot < slots_.size());
  Slot& slot = slots_[id.slot];
  MR_CHECK(slot.in_use && slot.generation == id.generation);
  slot.generation = (slot.generation + 1) & 0x7fffffff;  // stays a small integer in JavaScript
  slot.in_use = false;
  slot.connection = free_;
  free_ = id.slot;
  (slot.is_socket ? sockets_ : open_)--;
}

void Exchanges::keep(ExchangeId id) {
  MR_CHECK(connection_of(id) != UINT32_MAX && !slots_[id.slot].is_socket);
  slots_[id.slot].is_socket = true;
  open_--;
  sockets_++;
}

uint32_t Exchanges::connection_of(ExchangeId id) const {
  if (id.slot >= slots_.size()) return UINT32_MAX;
  const Slot& slot = slots_[id.slot];
  return slot.in_use && slot.generation == id.generation ? slot.connection : UINT32_MAX;
}

}  // namespace millrace
