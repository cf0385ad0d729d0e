// Finds the first byte that a token, a request target or a field value cannot hold. Internal to
// head.cpp. The vector forms load whole blocks inside [at, end) only and leave the rest to the
// scalar form.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#if defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace millrace::http1 {

constexpr uint8_t kTokenByte = 1;  // RFC 9110 5.6.2 tchar
constexpr uint8_t kTargetByte =
    2;                             // visible ASCII but '#': a fragment is never sent (RFC 9112 3.2)
constexpr uint8_t kValueByte = 4;  // HTAB, SP, visible ASCII, obs-text (RFC 9110 5.5)

constexpr std::array<uint8_t, 256> make_byte_classes() {
  std::array<uint8_t, 256> classes{};
  for (size_t c = 0; c < classes.size(); c++) {
    const bool visible = c > 0x20 && c < 0x7f;
    if (visible && c != '#') classes[c] |= kTargetByte;
    if (visible || c == ' ' || c == '\t' || c >= 0x80) classes[c] |= kValueByte;
    if (visible) classes[c] |= kTokenByte;
  }
  for (const char* c = "\"(),/:;<=>?@[\\]{}"; *c != '\0'; c++) {
    uint8_t& delimiter = classes[static_cast<unsigned char>(*c)];
    delimiter = static_cast<uint8_t>(delimiter & ~kTokenByte);
  }
  return classes;
}

inline constexpr std::array<uint8_t, 256> kByteClasses = make_byte_classes();

[[nodiscard]] inline bool is_of(char c, uint8_t byte_class) {
  return (kByteClasses[static_cast<unsigned char>(c)] & byte_class) != 0;
}

struct ScalarScanner {
  [[nodiscard]] static const char* token_end(const char* at, const char* end) {
    return end_of(at, end, kTokenByte);
  }
  [[nodiscard]] static const char* target_end(const char* at, const char* end) {
    return end_of(at, end, kTargetByte);
  }
  [[nodiscard]] static const char* value_end(const char* at, const char* end) {
    return end_of(at, end, kValueByte);
  }
  // The last LF of [begin, end), or nullptr.
  [[nodiscard]] static const char* last_line_feed(const char* begin, const char* end) {
    while (end != begin) {
      if (*--end == '\n') return end;
    }
    return nullptr;
  }

 private:
  static const char* end_of(const char* at, const char* end, uint8_t byte_class) {
    while (at != end && is_of(*at, byte_class)) at++;
    return at;
  }
};

// A block answers with a mask: kBitsPerByte equal bits for each byte, the first byte lowest.
#if defined(__AVX2__)
struct Block {
  static constexpr size_t kSize = 32;
  static constexpr int kBitsPerByte = 1;

  static uint64_t not_value(const char* at) {
    const __m256i bytes = load(at);
    const __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
    const __m256i control = _mm256_andnot_si256(equal(bytes, '\t'), low);
    return mask(_mm256_or_si256(control, equal(bytes, 0x7f)));
  }
  static uint64_t not_target(const char* at) {
    const __m256i bytes = load(at);  // signed: 0x80 and above are below SP
    const __m256i above = _mm256_cmpgt_epi8(bytes, _mm256_set1_epi8(0x20));
    const __m256i refused = _mm256_or_si256(equal(bytes, '#'), equal(bytes, 0x7f));
    return mask(_mm256_andnot_si256(refused, above)) ^ 0xffffffffu;
  }
  static uint64_t line_feed(const char* at) { return mask(equal(load(at), '\n')); }

 private:
  static __m256i load(const char* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  static __m256i equal(__m256i bytes, char c) {
    return _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(c));
  }
  static uint64_t mask(__m256i bytes) { return static_cast<uint32_t>(_mm256_movemask_epi8(bytes)); }
};
#elif defined(__SSE2__)
struct Block {
  static constexpr size_t kSize = 16;
  static constexpr int kBitsPerByte = 1;

  static uint64_t not_value(const char* at) {
    const __m128i bytes = load(at);
    const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    const __m128i control = _mm_andnot_si128(equal(bytes, '\t'), low);
    return mask(_mm_or_si128(control, equal(bytes, 0x7f)));
  }
  static uint64_t not_target(const char* at) {
    const __m128i bytes = load(at);  // signed: 0x80 and above are below SP
    const __m128i above = _mm_cmpgt_epi8(bytes, _mm_set1_epi8(0x20));
    const __m128i refused = _mm_or_si128(equal(bytes, '#'), equal(bytes, 0x7f));
    return mask(_mm_andnot_si128(refused, above)) ^ 0xffffu;
  }
  static uint64_t line_feed(const char* at) { return mask(equal(load(at), '\n')); }

 private:
  static __m128i load(const char* at) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  }
  static __m128i equal(__m128i bytes, char c) { return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c)); }
  static uint64_t mask(__m128i bytes) { return static_cast<uint32_t>(_mm_movemask_epi8(bytes)); }
};
#elif defined(__aarch64__) && defined(__ARM_NEON)
struct Block {
  static constexpr size_t kSize = 16;
  static constexpr int kBitsPerByte = 4;

  static uint64_t not_value(const char* at) {
    const uint8x16_t bytes = load(at);
    const uint8x16_t control = vbicq_u8(vcltq_u8(bytes, vdupq_n_u8(0x20)), equal(bytes, '\t'));
    return mask(vorrq_u8(control, equal(bytes, 0x7f)));
  }
  static uint64_t not_target(const char* at) {
    const uint8x16_t bytes = load(at);
    const uint8x16_t low = vcltq_u8(bytes, vdupq_n_u8(0x21));
    const uint8x16_t high = vcgtq_u8(bytes, vdupq_n_u8(0x7e));
    return mask(vorrq_u8(vorrq_u8(low, high), equal(bytes, '#')));
  }
  static uint64_t line_feed(const char* at) { return mask(equal(load(at), '\n')); }

 private:
  static uint8x16_t load(const char* at) { return vld1q_u8(reinterpret_cast<const uint8_t*>(at)); }
  static uint8x16_t equal(uint8x16_t bytes, uint8_t c) { return vceqq_u8(bytes, vdupq_n_u8(c)); }
  static uint64_t mask(uint8x16_t bytes) {
    const uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(bytes), 4);
    return vget_lane_u64(vreinterpret_u64_u8(nibbles), 0);
  }
};
#endif

#if defined(__AVX2__) || defined(__SSE2__) || (defined(__aarch64__) && defined(__ARM_NEON))
struct VectorScanner {
  // Field names are short: a table beats a block.
  [[nodiscard]] static const char* token_end(const char* at, const char* end) {
    return ScalarScanner::token_end(at, end);
  }
  [[nodiscard]] static const char* target_end(const char* at, const char* end) {
    for (; static_cast<size_t>(end - at) >= Block::kSize; at += Block::kSize) {
      if (const uint64_t found = Block::not_target(at)) return at + first(found);
    }
    return ScalarScanner::target_end(at, end);
  }
  [[nodiscard]] static const char* value_end(const char* at, const char* end) {
    for (; static_cast<size_t>(end - at) >= Block::kSize; at += Block::kSize) {
      if (const uint64_t found = Block::not_value(at)) return at + first(found);
    }
    return ScalarScanner::value_end(at, end);
  }
  [[nodiscard]] static const char* last_line_feed(const char* begin, const char* end) {
    for (; static_cast<size_t>(end - begin) >= Block::kSize; end -= Block::kSize) {
      const char* block = end - Block::kSize;
      if (const uint64_t found = Block::line_feed(block)) return block + last(found);
    }
    return ScalarScanner::last_line_feed(begin, end);
  }

 private:
  static int first(uint64_t mask) { return std::countr_zero(mask) / Block::kBitsPerByte; }
  static int last(uint64_t mask) { return (63 - std::countl_zero(mask)) / Block::kBitsPerByte; }
};
#else
using VectorScanner = ScalarScanner;
#endif

}  // namespace millrace::http1
