// ExchangeId: names one request with its response. A stale id misses safely, because generations
// differ.
#pragma once

#include <cstdint>

namespace millrace {

struct ExchangeId {
  uint32_t slot = UINT32_MAX;
  uint32_t generation = 0;
  [[nodiscard]] bool is_valid() const { return slot != UINT32_MAX; }
  friend bool operator==(const ExchangeId&, const ExchangeId&) = default;
};

}  // namespace millrace
