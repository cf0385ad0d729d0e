// The messages that blast sends over WebSockets: sixteen digits that say which one it is, and
// around them a pattern that both ends know. A value; knows nothing of frames.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "bench/blast_options.h"

namespace millrace::bench {

// Opcodes of RFC 6455 5.2.
enum class Opcode : uint8_t { Continuation = 0, Text = 1, Binary = 2, Close = 8, Ping, Pong };

class Payload final {
 public:
  explicit Payload(const BlastOptions& options)
      : opcode_(options.binary ? Opcode::Binary : Opcode::Text) {
    if (options.binary && options.json) fail("JSON is text: give one of --binary and --json");
    if (options.json) {
      make_json(options.size);
    } else {
      make_pattern(options.size, options.binary);
    }
  }

  [[nodiscard]] Opcode opcode() const { return opcode_; }

  // The message of that number, until the next call.
  [[nodiscard]] std::string_view of(uint64_t number) {
    Digits digits = digits_of(number);
    std::memcpy(bytes_.data() + number_at_, digits.data(), kDigits);
    return bytes_;
  }
  [[nodiscard]] bool is(std::string_view message, uint64_t number) const {
    if (message.size() != bytes_.size()) return false;
    Digits digits = digits_of(number);
    size_t behind = number_at_ + kDigits;
    return std::memcmp(message.data(), bytes_.data(), number_at_) == 0 &&
           std::memcmp(message.data() + number_at_, digits.data(), kDigits) == 0 &&
           std::memcmp(message.data() + behind, bytes_.data() + behind, bytes_.size() - behind) ==
               0;
  }

 private:
  static constexpr size_t kDigits = 16;
  using Digits = std::array<char, kDigits>;

  [[nodiscard]] static Digits digits_of(uint64_t number) {
    Digits digits;
    for (size_t i = kDigits; i-- > 0; number >>= 4) {
      digits[i] = "0123456789abcdef"[number & 15];
    }
    return digits;
  }

  // Bytes without a period: one that is moved, or another message's, is seen.
  [[nodiscard]] uint32_t next() {
    seed_ = seed_ * 1'664'525u + 1'013'904'223u;
    return seed_ >> 8;
  }

  void make_pattern(size_t size, bool binary) {
    if (size < kDigits) fail("--size has room for 16 digits at least");
    bytes_.resize(size);
    for (char& byte : bytes_) byte = static_cast<char>(binary ? next() & 255 : ' ' + next() % 95);
  }

  // As an application might send it: keys that repeat, values that do not.
  void make_json(size_t size) {
    constexpr std::string_view kStart = "{\"number\":\"";
    constexpr std::string_view kEnd = "],\"note\":\"\"}";
    bytes_ = kStart;
    number_at_ = bytes_.size();
    bytes_ += std::string(kDigits, '0') + "\",\"items\":[";
    if (bytes_.size() + kEnd.size() > size) fail("--size is too small for --json");
    for (const char* comma = "";; comma = ",") {
      std::string item = comma + std::string("{\"id\":") + std::to_string(next() % 100'000) +
                         ",\"name\":\"" + names()[next() % names().size()] +
                         "\",\"price\":" + std::to_string(next() % 100) + "." +
                         std::to_string(next() % 10) +
                         ",\"inStock\":" + (next() % 2 == 0 ? "true" : "false") + "}";
      if (bytes_.size() + item.size() + kEnd.size() > size) break;
      bytes_ += item;
    }
    bytes_ += kEnd.substr(0, kEnd.size() - 2);
    while (bytes_.size() + 2 < size) bytes_ += static_cast<char>('a' + next() % 26);
    bytes_ += "\"}";
  }

  [[nodiscard]] static const std::array<const char*, 5>& names() {
    static constexpr std::array<const char*, 5> kNames{"rye", "wheat", "barley", "oats", "millet"};
    return kNames;
  }

  const Opcode opcode_;
  std::string bytes_;
  size_t number_at_ = 0;
  uint32_t seed_ = 1;
};

}  // namespace millrace::bench
