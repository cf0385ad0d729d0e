// SHA-1: the published examples, and every length around the ends of blocks.
#include "core/base/sha1.h"

#include <string>

#include "test/harness.h"

namespace millrace {
namespace {

std::string digest_of(Bytes bytes) {
  std::string text;
  for (uint8_t byte : sha1_of(bytes)) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

TEST("the digests are those that NIST publishes") {
  EXPECT(digest_of("") == "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT(digest_of("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT(digest_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
         "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT(digest_of("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                   "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu") ==
         "a49b2446a02c645bf419f995b67091253a04a259");
  EXPECT(digest_of(std::string(1'000'000, 'a')) == "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

// Why: at 55 and 119 bytes the length just fits behind the last byte, one more wants a block.
TEST("padding is right at each length up to three blocks") {
  std::string digests;
  for (size_t size = 0; size <= 192; size++) {
    std::string bytes;
    for (size_t i = 0; i < size; i++) bytes += static_cast<char>(i * 7 + size);
    digests += digest_of(bytes);
  }
  // Of all of them, as other implementations give them.
  EXPECT(digest_of(digests) == "9e62616f11c877bcced0449864dc3661de8bb9ca");
}

}  // namespace
}  // namespace millrace
