#include "core/base/sha1.h"

#include <bit>
#include <cstring>

namespace millrace {
namespace {

constexpr size_t kBlockSize = 64;
constexpr size_t kLengthSize = 8;

using State = std::array<uint32_t, 5>;

uint32_t load_big_endian(const char* at) {
  uint32_t word = 0;
  for (int i = 0; i < 4; i++) word = word << 8 | static_cast<uint8_t>(at[i]);
  return word;
}

// FIPS 180-4 4.1.1 and 4.2.1: what is added in round t.
uint32_t round_term(int t, uint32_t b, uint32_t c, uint32_t d) {
  if (t < 20) return ((b & c) ^ (~b & d)) + 0x5a827999u;
  if (t < 40) return (b ^ c ^ d) + 0x6ed9eba1u;
  if (t < 60) return ((b & c) ^ (b & d) ^ (c & d)) + 0x8f1bbcdcu;
  return (b ^ c ^ d) + 0xca62c1d6u;
}

void compress(State& state, const char* block) {
  uint32_t w[80];
  for (int t = 0; t < 16; t++) w[t] = load_big_endian(block + 4 * t);
  for (int t = 16; t < 80; t++) w[t] = std::rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  auto [a, b, c, d, e] = state;
  for (int t = 0; t < 80; t++) {
    const uint32_t next = std::rotl(a, 5) + round_term(t, b, c, d) + e + w[t];
    e = d;
    d = c;
    c = std::rotl(b, 30);
    b = a;
    a = next;
  }
  const State rounds{a, b, c, d, e};
  for (size_t i = 0; i < state.size(); i++) state[i] += rounds[i];
}

}  // namespace

std::array<uint8_t, kSha1DigestSize> sha1_of(Bytes bytes) {
  State state{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};  // 5.3.1
  const uint64_t bits = uint64_t{bytes.size()} * 8;
  for (; bytes.size() >= kBlockSize; bytes.remove_prefix(kBlockSize)) {
    compress(state, bytes.data());
  }
  // 5.1.1: a one bit, zeros, and the length in the last eight bytes of a block.
  std::array<char, 2 * kBlockSize> rest{};
  if (!bytes.empty()) std::memcpy(rest.data(), bytes.data(), bytes.size());
  rest[bytes.size()] = static_cast<char>(0x80);
  const size_t size = bytes.size() + 1 + kLengthSize <= kBlockSize ? kBlockSize : rest.size();
  for (size_t i = 0; i < kLengthSize; i++) {
    rest[size - 1 - i] = static_cast<char>(static_cast<uint8_t>(bits >> (8 * i)));
  }
  for (size_t at = 0; at < size; at += kBlockSize) compress(state, rest.data() + at);

  std::array<uint8_t, kSha1DigestSize> digest;
  for (size_t i = 0; i < digest.size(); i++) {
    digest[i] = static_cast<uint8_t>(state[i / 4] >> (24 - 8 * (i % 4)));
  }
  return digest;
}

}  // namespace millrace
