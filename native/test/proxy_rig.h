// Headers of the PROXY protocol for tests: version 2 piece by piece, with a checksum of its own.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/bytes.h"

namespace millrace::test {

const std::string kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

inline std::string words(uint64_t value, int size) {
  std::string out;
  for (int i = size - 1; i >= 0; i--) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

inline std::string tlv(uint8_t type, const std::string& value) {
  return words(type, 1) + words(value.size(), 2) + value;
}

inline std::string version2(uint8_t command, uint8_t family, const std::string& rest) {
  return kSignature + words(command, 1) + words(family, 1) + words(rest.size(), 2) + rest;
}

// From 192.0.2.1:1000 to 198.51.100.2:443.
inline std::string tcp4(const std::string& tlvs = "") {
  return version2(
      0x21, 0x11,
      words(0xc0000201, 4) + words(0xc6336402, 4) + words(1000, 2) + words(443, 2) + tlvs);
}

// From [2001:db8::1]:1000 to [2001:db8::2]:443.
inline std::string tcp6(const std::string& tlvs = "") {
  const std::string prefix = words(0x20010db8, 4) + std::string(11, '\0');
  return version2(0x21, 0x21,
                  prefix + "\x01" + prefix + "\x02" + words(1000, 2) + words(443, 2) + tlvs);
}

inline std::string unix_paths(const std::string& tlvs = "") {
  return version2(0x21, 0x31, std::string(216, 'p') + tlvs);
}

// Bit by bit, with the remainder the other way round than in the code.
inline uint32_t slow_crc32c(Bytes bytes) {
  uint32_t rest = 0xffffffffu;
  for (char c : bytes) {
    for (int bit = 0; bit < 8; bit++) {
      const bool is_one = (static_cast<uint8_t>(c) >> bit & 1) != 0;
      const bool is_out = (rest >> 31) != 0;
      rest = rest << 1 ^ (is_one != is_out ? 0x1edc6f41u : 0);
    }
  }
  uint32_t turned = 0;
  for (int bit = 0; bit < 32; bit++) turned |= (rest >> bit & 1) << (31 - bit);
  return ~turned;
}

// A whole header with the value of its checksum, which stands at `at`, made right.
inline std::string with_crc(std::string header, size_t at) {
  header.replace(at, 4, 4, '\0');
  return header.replace(at, 4, words(slow_crc32c(header), 4));
}

}  // namespace millrace::test
