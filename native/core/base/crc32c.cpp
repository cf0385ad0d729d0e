#include "core/base/crc32c.h"

#include <array>

namespace millrace {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78u;  // its bits from the lowest power up

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); i++) {
    uint32_t rest = i;
    for (int bit = 0; bit < 8; bit++) rest = rest >> 1 ^ ((rest & 1) != 0 ? kPolynomial : 0);
    table[i] = rest;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = make_table();

}  // namespace

uint32_t crc32c(Bytes bytes, uint32_t before) {
  uint32_t rest = ~before;
  for (char c : bytes) rest = rest >> 8 ^ kTable[(rest ^ static_cast<uint8_t>(c)) & 0xff];
  return ~rest;
}

}  // namespace millrace
