// Random bytes of the system, bought by the block. Owned by: loop thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace millrace {

class Random final {
 public:
  // Unpredictable to the peer (RFC 6455 10.3).
  [[nodiscard]] uint32_t next();

 private:
  std::array<uint32_t, 64> pool_{};  // 256 bytes: the most that one getentropy() gives
  size_t left_ = 0;
};

}  // namespace millrace
