// Frames of RFC 6455 as a client writes and reads them; shares nothing with the core. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "bench/ws_payload.h"

namespace millrace::bench {

struct WsFrame {
  Opcode opcode = Opcode::Text;
  bool is_last = false;         // FIN
  bool is_compressed = false;   // RSV1
  size_t total = 0;             // bytes with the head; 0: need more
  std::string_view payload;     // of the input
  const char* error = nullptr;  // what a server must not send
};

inline uint64_t big_endian_of(std::string_view bytes) {
  uint64_t value = 0;
  for (char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

inline void append_big_endian(std::string& out, uint64_t value, size_t bytes) {
  while (bytes-- > 0) out += static_cast<char>(value >> (8 * bytes));
}

// The frame at the front of what a server sent.
[[nodiscard]] inline WsFrame read_frame(std::string_view input) {
  WsFrame frame;
  if (input.size() < 2) return frame;
  auto first = static_cast<uint8_t>(input[0]);
  auto second = static_cast<uint8_t>(input[1]);
  frame.opcode = static_cast<Opcode>(first & 15);
  frame.is_last = (first & 0x80) != 0;
  frame.is_compressed = (first & 0x40) != 0;
  bool is_control = (first & 8) != 0;
  uint64_t length = second & 127;
  if ((first & 0x30) != 0) frame.error = "a reserved bit is set";
  if ((first & 7) > 2) frame.error = "an unknown opcode";
  if ((second & 0x80) != 0) frame.error = "a server's frame is masked";
  if (is_control && (!frame.is_last || frame.is_compressed || length > 125))
    frame.error = "a control frame in pieces, compressed or too long";
  if (frame.error != nullptr) return frame;
  size_t head = 2;
  if (length >= 126) {
    size_t bytes = length == 126 ? 2 : 8;
    if (input.size() < head + bytes) return frame;
    length = big_endian_of(input.substr(head, bytes));
    head += bytes;
    if (length < 126 || (bytes == 8 && length < 65'536)) frame.error = "a length is not minimal";
  }
  if (frame.error != nullptr || input.size() - head < length) return frame;
  frame.payload = input.substr(head, length);
  frame.total = head + frame.payload.size();
  return frame;
}

// Eight bytes at a time: the load maker shares the machine with what it measures.
inline void mask(char* bytes, size_t size, uint32_t key) {
  uint64_t wide = key | static_cast<uint64_t>(key) << 32;
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + at, 8);
    word ^= wide;
    std::memcpy(bytes + at, &word, 8);
  }
  for (; at < size; at++) bytes[at] ^= static_cast<char>(wide >> (8 * (at % 4)));
}

// `key` is in memory order of a little-endian machine; any key is right.
inline void append_frame(std::string& out, Opcode opcode, bool compressed, std::string_view payload,
                         uint32_t key) {
  out += static_cast<char>(0x80 | (compressed ? 0x40 : 0) | static_cast<int>(opcode));
  constexpr int kMasked = 0x80;
  if (payload.size() < 126) {
    out += static_cast<char>(kMasked | static_cast<int>(payload.size()));
  } else {
    bool is_short = payload.size() < 65'536;
    out += static_cast<char>(kMasked | (is_short ? 126 : 127));
    append_big_endian(out, payload.size(), is_short ? 2 : 8);
  }
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(key >> shift);
  size_t begin = out.size();
  out += payload;
  mask(out.data() + begin, payload.size(), key);
}

}  // namespace millrace::bench
