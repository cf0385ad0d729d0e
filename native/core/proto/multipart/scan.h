// Finds where a delimiter "\r\n--boundary" may begin. Internal to decoder.cpp. The vector form
// loads whole blocks inside [at, end) only and leaves the rest to the scalar form.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace millrace::multipart {

// Both answer with the first CR that a '-' follows after one byte, as far as that can be seen;
// `end` when there is none.
struct ScalarScanner {
  [[nodiscard]] static const char* candidate(const char* at, const char* end) {
    for (; at != end; at++) {
      if (*at == '\r' && (end - at <= 2 || at[2] == '-')) return at;
    }
    return end;
  }
};

// A block answers with a mask: kBitsPerByte equal bits for each byte, the first byte lowest.
#if defined(__SSE2__)
struct Block {
  static constexpr size_t kSize = 16;
  static constexpr int kBitsPerByte = 1;
  using Mask = __m128i;

  static Mask candidates(const char* at) {
    return _mm_and_si128(equal(at, '\r'), equal(at + 2, '-'));
  }
  static Mask either(Mask a, Mask b) { return _mm_or_si128(a, b); }
  static uint64_t bits(Mask mask) { return static_cast<uint32_t>(_mm_movemask_epi8(mask)); }

 private:
  static __m128i equal(const char* at, char c) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c));
  }
};
#elif defined(__aarch64__) && defined(__ARM_NEON)
struct Block {
  static constexpr size_t kSize = 16;
  static constexpr int kBitsPerByte = 4;
  using Mask = uint8x16_t;

  static Mask candidates(const char* at) { return vandq_u8(equal(at, '\r'), equal(at + 2, '-')); }
  static Mask either(Mask a, Mask b) { return vorrq_u8(a, b); }
  static uint64_t bits(Mask mask) {
    const uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(mask), 4);
    return vget_lane_u64(vreinterpret_u64_u8(nibbles), 0);
  }

 private:
  static uint8x16_t equal(const char* at, char c) {
    const uint8x16_t bytes = vld1q_u8(reinterpret_cast<const uint8_t*>(at));
    return vceqq_u8(bytes, vdupq_n_u8(static_cast<uint8_t>(c)));
  }
};
#endif

#if defined(__SSE2__) || (defined(__aarch64__) && defined(__ARM_NEON))
struct VectorScanner {
  [[nodiscard]] static const char* candidate(const char* at, const char* end) {
    constexpr size_t kAhead = 2;
    for (; left(at, end) >= 4 * Block::kSize + kAhead; at += 4 * Block::kSize) {
      const Block::Mask a = Block::candidates(at);
      const Block::Mask b = Block::candidates(at + Block::kSize);
      const Block::Mask c = Block::candidates(at + 2 * Block::kSize);
      const Block::Mask d = Block::candidates(at + 3 * Block::kSize);
      if (Block::bits(Block::either(Block::either(a, b), Block::either(c, d))) != 0) break;
    }
    for (; left(at, end) >= Block::kSize + kAhead; at += Block::kSize) {
      const uint64_t found = Block::bits(Block::candidates(at));
      if (found != 0) return at + std::countr_zero(found) / Block::kBitsPerByte;
    }
    return ScalarScanner::candidate(at, end);
  }

 private:
  static size_t left(const char* at, const char* end) { return static_cast<size_t>(end - at); }
};
#else
using VectorScanner = ScalarScanner;
#endif

}  // namespace millrace::multipart
