#include "core/disk/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace millrace {
namespace {

// FIPS 180-4 4.2.2.
alignas(16) constexpr uint32_t kRoundWords[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

uint32_t load_big_endian(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) << 24 | static_cast<uint32_t>(at[1]) << 16 |
         static_cast<uint32_t>(at[2]) << 8 | static_cast<uint32_t>(at[3]);
}

void compress_block(uint32_t* state, const uint8_t* block) {
  uint32_t w[64];
  for (int t = 0; t < 16; t++) w[t] = load_big_endian(block + 4 * t);
  for (int t = 16; t < 64; t++) {
    uint32_t x = w[t - 15];
    uint32_t y = w[t - 2];
    uint32_t s0 = std::rotr(x, 7) ^ std::rotr(x, 18) ^ (x >> 3);
    uint32_t s1 = std::rotr(y, 17) ^ std::rotr(y, 19) ^ (y >> 10);
    w[t] = w[t - 16] + s0 + w[t - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = std::array<uint32_t, 8>{state[0], state[1], state[2], state[3],
                                                          state[4], state[5], state[6], state[7]};
  for (int t = 0; t < 64; t++) {
    uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    uint32_t choice = (e & f) ^ (~e & g);
    uint32_t t1 = h + sum1 + choice + kRoundWords[t] + w[t];
    uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + sum0 + majority;
  }
  const uint32_t rounds[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; i++) state[i] += rounds[i];
}

#if defined(__x86_64__)

#define MR_SHA_INLINE __attribute__((target("sha,sse4.1,ssse3"), always_inline)) inline

// Four rounds: the instruction does two, with the words in the low half.
MR_SHA_INLINE void four_rounds(__m128i& abef, __m128i& cdgh, __m128i words, const uint32_t* k) {
  __m128i sums = _mm_add_epi32(words, _mm_load_si128(reinterpret_cast<const __m128i*>(k)));
  cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sums);
  abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sums, 0x0e));
}

// The next four schedule words, from the sixteen before them: w0 is the oldest four.
MR_SHA_INLINE __m128i next_words(__m128i w0, __m128i w1, __m128i w2, __m128i w3) {
  __m128i seven_back = _mm_alignr_epi8(w3, w2, 4);
  __m128i partial = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), seven_back);
  return _mm_sha256msg2_epu32(partial, w3);
}

MR_SHA_INLINE __m128i load_words(const uint8_t* at) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)), swap);
}

__attribute__((target("sha,sse4.1,ssse3"))) void compress_x86(uint32_t* state,
                                                              const uint8_t* blocks, size_t count) {
  // The instructions want the state as (a b e f) and (c d g h), highest word first.
  auto* low = reinterpret_cast<__m128i*>(state);
  auto* high = reinterpret_cast<__m128i*>(state + 4);
  __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(low), 0xb1);
  __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(high), 0x1b);
  __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
  __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

  for (; count > 0; count--, blocks += Sha256::kBlockSize) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i w0 = load_words(blocks);
    __m128i w1 = load_words(blocks + 16);
    __m128i w2 = load_words(blocks + 32);
    __m128i w3 = load_words(blocks + 48);
    for (const uint32_t* k = kRoundWords;; k += 16) {
      four_rounds(abef, cdgh, w0, k);
      four_rounds(abef, cdgh, w1, k + 4);
      four_rounds(abef, cdgh, w2, k + 8);
      four_rounds(abef, cdgh, w3, k + 12);
      if (k == kRoundWords + 48) break;
      w0 = next_words(w0, w1, w2, w3);
      w1 = next_words(w1, w2, w3, w0);
      w2 = next_words(w2, w3, w0, w1);
      w3 = next_words(w3, w0, w1, w2);
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }

  __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
  __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128(low, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(high, _mm_alignr_epi8(dchg, feba, 8));
}

bool has_sha_instructions() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  constexpr unsigned kSsse3AndSse41 = 1u << 9 | 1u << 19;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kSsse3AndSse41) != kSsse3AndSse41) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & 1u << 29) != 0;
}

Sha256Compress choose_compress() {
  return has_sha_instructions() ? &compress_x86 : &Sha256::compress_scalar;
}

#else

Sha256Compress choose_compress() { return &Sha256::compress_scalar; }

#endif

}  // namespace

void Sha256::compress_scalar(uint32_t* state, const uint8_t* blocks, size_t count) {
  for (; count > 0; count--, blocks += kBlockSize) compress_block(state, blocks);
}

Sha256Compress Sha256::fastest_compress() {
  static const Sha256Compress fastest = choose_compress();
  return fastest;
}

void Sha256::update(Bytes bytes) {
  if (bytes.empty()) return;
  size_t used = size_ % kBlockSize;
  size_ += bytes.size();
  if (used > 0) {
    size_t more = std::min(kBlockSize - used, bytes.size());
    std::memcpy(rest_.data() + used, bytes.data(), more);
    bytes.remove_prefix(more);
    if (used + more < kBlockSize) return;
    compress_(state_.data(), rest_.data(), 1);
  }
  size_t blocks = bytes.size() / kBlockSize;
  compress_(state_.data(), reinterpret_cast<const uint8_t*>(bytes.data()), blocks);
  bytes.remove_prefix(blocks * kBlockSize);
  if (!bytes.empty()) std::memcpy(rest_.data(), bytes.data(), bytes.size());
}

Sha256::Digest Sha256::finish() {
  const uint64_t bits = size_ * 8;
  // FIPS 180-4 5.1.1: a one bit, zeros, and the length in the last eight bytes of a block.
  std::array<char, kBlockSize + 8> padding{static_cast<char>(0x80)};
  size_t zeros = (2 * kBlockSize - 9 - size_ % kBlockSize) % kBlockSize;
  for (size_t i = 0; i < 8; i++)
    padding[1 + zeros + i] = static_cast<char>(static_cast<uint8_t>(bits >> (56 - 8 * i)));
  update(Bytes(padding.data(), 1 + zeros + 8));
  Digest digest;
  for (size_t i = 0; i < kDigestSize; i++)
    digest[i] = static_cast<uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  return digest;
}

}  // namespace millrace
