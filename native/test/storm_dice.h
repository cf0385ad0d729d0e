// Where a storm's decisions come from (a seed, or the bytes of a fuzzer), the hash of its trace,
// and bodies that tell whose they are.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "core/base/bytes.h"

namespace millrace::test {

// The same seed or bytes and calls give the same numbers. Bytes that have run out give zeros, which
// every user of it reads as "nothing special".
class Dice final {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  explicit Dice(Bytes stream) : stream_(stream), from_stream_(true) {}

  // 0 to bound - 1.
  [[nodiscard]] uint32_t below(uint32_t bound) {
    if (bound <= 1) return 0;
    if (from_stream_) return next_from_stream(bound) % bound;
    uint64_t mixed = (state_ += 0x9E3779B97F4A7C15);
    mixed = (mixed ^ (mixed >> 32)) * 0xD6E8FEB86659FD93;
    mixed = (mixed ^ (mixed >> 32)) * 0xD6E8FEB86659FD93;
    return static_cast<uint32_t>((mixed ^ (mixed >> 32)) % bound);
  }
  [[nodiscard]] uint32_t between(uint32_t least, uint32_t most) {
    return least + below(most - least + 1);
  }
  [[nodiscard]] bool chance(uint32_t per_mille) {
    if (from_stream_) return below(256) * 1000 >= 256'000 - per_mille * 256 - 256;
    return below(1000) >= 1000 - per_mille;
  }
  template <typename T, size_t N>
  [[nodiscard]] T one_of(const T (&choices)[N]) {
    return choices[below(static_cast<uint32_t>(N))];
  }
  [[nodiscard]] bool is_spent() const { return from_stream_ && stream_.empty(); }

 private:
  uint32_t next_from_stream(uint32_t bound) {
    uint32_t value = 0;
    for (uint32_t span = 1; span < bound && !stream_.empty(); span <<= 8) {
      value = value << 8 | static_cast<unsigned char>(stream_.front());
      stream_.remove_prefix(1);
      if (span > (UINT32_MAX >> 8)) break;
    }
    return value;
  }

  uint64_t state_ = 0;
  Bytes stream_;
  bool from_stream_ = false;
};

// FNV-1a over numbers.
class TraceHash final {
 public:
  void add(uint64_t value) {
    for (int i = 0; i < 8; i++) value_ = (value_ ^ ((value >> (8 * i)) & 0xff)) * 0x100000001b3;
  }
  [[nodiscard]] uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325;
};

// The body that belongs to one request, or with another `salt` to its response: no two are alike
// from their first bytes on.
inline std::string body_of(uint32_t number, char salt, size_t size) {
  static const std::string alphabet = [] {
    std::string letters;
    for (int i = 0; i < 1024; i++) letters += static_cast<char>('a' + i * 7 % 26);
    return letters;
  }();
  std::string body = salt + std::to_string(number) + '|';
  body.reserve(size + alphabet.size());
  while (body.size() < size) body.append(alphabet, (number + body.size()) % 97);
  body.resize(size);
  return body;
}

}  // namespace millrace::test
