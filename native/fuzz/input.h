// The bytes of a fuzzer's input as a supply of choices: an empty one chooses the first of each.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace::fuzz {

class Input final {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return size_ == 0; }
  uint8_t byte() {
    if (size_ == 0) return 0;
    size_--;
    return *data_++;
  }
  // One byte for bounds up to 256, else two.
  uint32_t below(uint32_t bound) {
    uint32_t value = byte();
    if (bound > 256) value = value << 8 | byte();
    return value % bound;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace millrace::fuzz
