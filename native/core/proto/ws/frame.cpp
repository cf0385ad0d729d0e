#include "core/proto/ws/frame.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace millrace::ws {
namespace {

constexpr uint32_t kKnownOpcodes = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 8 | 1u << 9 | 1u << 10;
constexpr uint8_t kFin = 0x80;
constexpr uint8_t kRsv1 = 0x40;
constexpr uint8_t kRsv23 = 0x30;
constexpr uint8_t kMasked = 0x80;
constexpr uint8_t kLengthOf16Bits = 126;
constexpr uint8_t kLengthOf64Bits = 127;

size_t extended_size(uint8_t short_length) {
  if (short_length == kLengthOf64Bits) return 8;
  return short_length == kLengthOf16Bits ? 2 : 0;
}

uint8_t short_length_of(uint64_t length) {
  if (length > UINT16_MAX) return kLengthOf64Bits;
  return length < kLengthOf16Bits ? static_cast<uint8_t>(length) : kLengthOf16Bits;
}

uint64_t read_big_endian(Bytes bytes) {
  uint64_t value = 0;
  for (char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

// Whether a length of `size` bytes, of which these have come, must be one that is not allowed.
bool is_broken_length(Bytes there, size_t size) {
  if (there.empty()) return false;
  const uint64_t value = read_big_endian(there);
  if (size == 2) return there.size() == 2 && value < kLengthOf16Bits;
  if ((static_cast<uint8_t>(there.front()) & 0x80) != 0) return true;
  return there.size() >= 6 && value >> 8 * (there.size() - 6) == 0;
}

// The mask as it falls on the byte that comes `phase` bytes later.
uint32_t rotated(uint32_t mask, size_t phase) {
  const int bits = static_cast<int>(phase % sizeof(mask)) * 8;
  return std::endian::native == std::endian::little ? std::rotr(mask, bits) : std::rotl(mask, bits);
}

// What GCC and clang have for SSE2 and NEON alike, so without intrinsics. GCC makes little of a
// plain loop over words.
using Vector [[gnu::vector_size(16)]] = uint32_t;

template <typename Word>
Word load(const char* from) {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// At least one word. The last one may overlap the one before it, so in place it is read first.
template <typename Word>
void mask_words(const char* in, char* out, size_t size, uint32_t mask) {
  const auto put = [out](size_t at, Word word) { std::memcpy(out + at, &word, sizeof(word)); };
  const size_t last_at = size - sizeof(Word);
  const Word last = load<Word>(in + last_at) ^ (Word{} + rotated(mask, last_at));
  const Word pattern = Word{} + mask;  // in every lane
  for (size_t at = 0; at < last_at; at += sizeof(Word)) put(at, load<Word>(in + at) ^ pattern);
  put(last_at, last);
}

void mask_bytes(const char* in, char* out, size_t size, uint32_t mask) {
  std::array<char, sizeof(mask)> pattern;
  std::memcpy(pattern.data(), &mask, sizeof(mask));
  for (size_t i = 0; i < size; i++) out[i] = static_cast<char>(in[i] ^ pattern[i]);
}

// `out` is `in` or does not overlap it.
void mask_any(const char* in, char* out, size_t size, uint32_t mask) {
  if (size >= sizeof(Vector)) return mask_words<Vector>(in, out, size, mask);
  if (size >= sizeof(uint32_t)) return mask_words<uint32_t>(in, out, size, mask);
  mask_bytes(in, out, size, mask);
}

}  // namespace

int parse_frame_head(Bytes input, FrameHead& head) {
  if (input.empty()) return kFrameNeedMore;
  const auto first = static_cast<uint8_t>(input[0]);
  const auto opcode = static_cast<Opcode>(first & 0x0f);
  if ((first & kRsv23) != 0 || (kKnownOpcodes >> (first & 0x0f) & 1) == 0) return kFrameBroken;
  if (is_control(opcode) && (first & kFin) == 0) return kFrameBroken;
  if (input.size() < 2) return kFrameNeedMore;

  const auto second = static_cast<uint8_t>(input[1]);
  const auto short_length = static_cast<uint8_t>(second & ~kMasked);
  if (is_control(opcode) && short_length > kControlPayloadMax) return kFrameBroken;
  const size_t length_size = extended_size(short_length);
  const Bytes length = input.substr(2, length_size);
  if (is_broken_length(length, length_size)) return kFrameBroken;
  const bool is_masked = (second & kMasked) != 0;
  const size_t size = 2 + length_size + (is_masked ? sizeof(head.mask) : 0);
  if (input.size() < size) return kFrameNeedMore;

  head.opcode = opcode;
  head.fin = (first & kFin) != 0;
  head.rsv1 = (first & kRsv1) != 0;
  head.masked = is_masked;
  head.mask = 0;
  if (is_masked) std::memcpy(&head.mask, input.data() + 2 + length_size, sizeof(head.mask));
  head.length = length_size == 0 ? short_length : read_big_endian(length);
  return static_cast<int>(size);
}

size_t frame_head_size(uint64_t length, bool masked) {
  return 2 + extended_size(short_length_of(length)) + (masked ? sizeof(FrameHead::mask) : 0);
}

char* write_frame_head(const FrameHead& head, char* out) {
  const uint8_t short_length = short_length_of(head.length);
  *out++ = static_cast<char>((head.fin ? kFin : 0) | (head.rsv1 ? kRsv1 : 0) |
                             static_cast<uint8_t>(head.opcode));
  *out++ = static_cast<char>((head.masked ? kMasked : 0) | short_length);
  for (size_t left = extended_size(short_length); left > 0; left--) {
    *out++ = static_cast<char>(head.length >> 8 * (left - 1) & 0xff);
  }
  if (!head.masked) return out;
  std::memcpy(out, &head.mask, sizeof(head.mask));
  return out + sizeof(head.mask);
}

void apply_mask(MutableBytes bytes, uint32_t mask, size_t phase) {
  mask_any(bytes.data(), bytes.data(), bytes.size(), rotated(mask, phase));
}

void copy_masked(Bytes bytes, char* out, uint32_t mask, size_t phase) {
  mask_any(bytes.data(), out, bytes.size(), rotated(mask, phase));
}

bool is_valid_close_code(uint16_t code) {
  if (code >= 3000) return code <= 4999;
  // 1004 means nothing yet; 1005, 1006 and 1015 are only said locally. 1012 to 1014 are IANA's.
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

uint16_t close_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::WsProtocol: return 1002;
    case ErrorCode::WsBadText:
    case ErrorCode::WsBadDeflate: return 1007;
    case ErrorCode::WsTooBig: return 1009;
    case ErrorCode::WsBacklog: return 1013;
    default: return 1006;
  }
}

}  // namespace millrace::ws
