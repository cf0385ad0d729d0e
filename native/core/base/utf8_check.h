// Incremental check of UTF-8 (RFC 3629, so without surrogates and nothing above U+10FFFF). Broken
// input is found at the first byte that no valid text can have there, also across pieces.
#pragma once

#include <cstdint>

#include "core/base/bytes.h"

namespace millrace {

class Utf8Check final {
 public:
  // False from the first impossible byte on.
  [[nodiscard]] bool feed(Bytes bytes);
  // All characters so far are whole.
  [[nodiscard]] bool is_complete() const { return state_ == kWhole; }
  // No byte so far was above 0x7f.
  [[nodiscard]] bool is_ascii() const { return ascii_; }
  void reset() { *this = Utf8Check(); }

 private:
  static constexpr uint8_t kWhole = 6;  // a state of utf8_check.cpp

  uint8_t state_ = kWhole;
  bool ascii_ = true;
};

// Of a whole text.
[[nodiscard]] bool is_utf8(Bytes text);

}  // namespace millrace
