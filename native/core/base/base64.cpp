#include "core/base/base64.h"

#include <cstdint>

namespace millrace {
namespace {

constexpr Bytes kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool is_in_alphabet(char c) {
  const char lower = ascii_lower(c);
  return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

}  // namespace

void write_base64(Bytes bytes, char* out) {
  while (!bytes.empty()) {
    uint32_t group = 0;
    for (size_t i = 0; i < 3; i++) {
      group = group << 8 | (i < bytes.size() ? static_cast<uint8_t>(bytes[i]) : 0u);
    }
    for (size_t i = 0; i < 4; i++) {
      *out++ = i <= bytes.size() ? kAlphabet[group >> (18 - 6 * i) & 63] : '=';
    }
    bytes.remove_prefix(bytes.size() < 3 ? bytes.size() : 3);
  }
}

bool is_base64(Bytes text, size_t& size) {
  if (text.size() % 4 != 0) return false;
  size = text.size() / 4 * 3;
  for (int i = 0; i < 2 && !text.empty() && text.back() == '='; i++) {
    text.remove_suffix(1);
    size--;
  }
  for (char c : text) {
    if (!is_in_alphabet(c)) return false;
  }
  return true;
}

}  // namespace millrace
