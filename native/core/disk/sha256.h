// SHA-256 (FIPS 180-4) over bytes that arrive in pieces.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"

namespace millrace {

// Works `count` blocks of 64 bytes into the state.
using Sha256Compress = void (*)(uint32_t* state, const uint8_t* blocks, size_t count);

class Sha256 final {
 public:
  static constexpr size_t kDigestSize = 32;
  static constexpr size_t kBlockSize = 64;
  using Digest = std::array<uint8_t, kDigestSize>;

  // The scalar form, and the fastest that this processor has; they differ in speed only.
  static void compress_scalar(uint32_t* state, const uint8_t* blocks, size_t count);
  [[nodiscard]] static Sha256Compress fastest_compress();

  explicit Sha256(Sha256Compress compress = fastest_compress()) : compress_(compress) {}
  void update(Bytes bytes);
  [[nodiscard]] Digest finish();  // once, after the last update()

 private:
  Sha256Compress compress_;
  // FIPS 180-4 5.3.3.
  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, kBlockSize> rest_{};  // the first size_ % kBlockSize bytes are in use
  uint64_t size_ = 0;
};

}  // namespace millrace
