// SHA-256: the published examples, and the processor's instructions against the plain form.
#include "core/disk/sha256.h"

#include <algorithm>
#include <random>
#include <string>

#include "test/harness.h"

namespace millrace {
namespace {

std::string to_hex(const Sha256::Digest& digest) {
  std::string text;
  for (uint8_t byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string digest_of(Bytes bytes, Sha256Compress compress) {
  Sha256 sha256(compress);
  sha256.update(bytes);
  return to_hex(sha256.finish());
}

const Sha256Compress kForms[] = {&Sha256::compress_scalar, Sha256::fastest_compress()};

TEST("both forms give the digests that NIST publishes") {
  const struct {
    Bytes message;
    Bytes digest;
  } examples[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                  {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                  {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                   "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
                  {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
                   "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
                   "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"}};
  for (Sha256Compress form : kForms) {
    for (const auto& example : examples) EXPECT(digest_of(example.message, form) == example.digest);
  }
}

TEST("a million times the letter a, in pieces of an odd size") {
  const std::string piece(997, 'a');
  for (Sha256Compress form : kForms) {
    Sha256 sha256(form);
    for (size_t left = 1'000'000; left > 0;) {
      size_t size = std::min(left, piece.size());
      sha256.update(Bytes(piece).substr(0, size));
      left -= size;
    }
    EXPECT(to_hex(sha256.finish()) ==
           "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
}

std::string random_bytes(std::mt19937& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST("both forms agree on every length around the ends of blocks") {
  std::mt19937 random(4);
  for (size_t size = 0; size <= 200; size++) {
    test::context = std::to_string(size);
    std::string bytes = random_bytes(random, size);
    EXPECT(digest_of(bytes, kForms[0]) == digest_of(bytes, kForms[1]));
  }
}

TEST("where the bytes are cut does not matter") {
  std::mt19937 random(5);
  const std::string bytes = random_bytes(random, 5000);
  const std::string whole = digest_of(bytes, kForms[0]);
  for (int round = 0; round < 200; round++) {
    Sha256 sha256(kForms[round % 2]);
    Bytes rest = bytes;
    while (!rest.empty()) {
      size_t size = std::min<size_t>(random() % (round < 100 ? 70 : 400), rest.size());
      sha256.update(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    EXPECT(to_hex(sha256.finish()) == whole);
  }
}

TEST("the fast form works many blocks into the same state as the plain one") {
  std::mt19937 random(6);
  const std::string bytes = random_bytes(random, 33 * Sha256::kBlockSize + 1);
  const auto* blocks = reinterpret_cast<const uint8_t*>(bytes.data()) + 1;  // not aligned
  uint32_t states[2][8];
  for (int i = 0; i < 2; i++) {
    for (uint32_t k = 0; k < 8; k++) states[i][k] = k * 0x9e3779b9u;
    kForms[i](states[i], blocks, 33);
  }
  EXPECT(std::equal(states[0], states[0] + 8, states[1]));
}

}  // namespace
}  // namespace millrace
