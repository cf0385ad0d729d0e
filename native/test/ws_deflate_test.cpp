// Messages through permessage-deflate: RFC 7692's examples, all windows, splits, limits, bombs,
// what is no DEFLATE, and the pool.
#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/base/zlib.h"
#include "core/proto/ws/deflate.h"
#include "test/harness.h"

namespace millrace::test {

namespace {

using ws::DeflatePool;
using ws::Deflater;
using ws::Inflater;

constexpr size_t kPlenty = size_t{1} << 24;
const std::string kTail("\x00\x00\xff\xff", 4);

std::string from_hex(Bytes hex) {
  std::string bytes;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (size_t i = 0; i + 1 < hex.size(); i += 3) {
    bytes += static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1]));
  }
  return bytes;
}

std::string random_bytes(size_t size, uint32_t letters, uint64_t seed) {
  std::string bytes(size, '\0');
  for (char& c : bytes) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    c = static_cast<char>(letters == 256 ? seed >> 40 : 'a' + (seed >> 40) % letters);
  }
  return bytes;
}

std::string compress(Deflater& deflater, Bytes message) {
  Blob out;
  size_t used = 0;
  EXPECT(deflater.compress(message, out, used));
  return std::string(out.bytes().substr(0, used));
}

struct Inflated {
  ErrorCode error = ErrorCode::None;
  std::string text;
  size_t room = 0;   // of the blob, which only grows
  size_t taken = 0;  // bytes offered before the verdict
};

// Offers `payload` in pieces of at most `piece` bytes, the first of `first`.
Inflated inflate(Inflater& inflater, Bytes payload, size_t size_max = kPlenty,
                 size_t first = SIZE_MAX, size_t piece = SIZE_MAX) {
  Inflated result;
  Blob out;
  size_t used = 0;
  bool is_last = false;
  for (size_t length = first; !is_last && result.error == ErrorCode::None; length = piece) {
    const Bytes bytes = payload.substr(0, length);
    payload.remove_prefix(bytes.size());
    is_last = payload.empty();
    result.taken += bytes.size();
    // Exactly as large as the piece, so that a sanitizer sees one byte too many.
    const Blob exact = Blob::copy(bytes);
    result.error = inflater.inflate(exact.bytes(), is_last, size_max, out, used);
  }
  result.text = out.bytes().substr(0, used);
  result.room = out.size();
  return result;
}

// By a fresh inflater: whole, at every cut, byte by byte, with the last piece empty; one verdict.
Inflated inflate_anyhow(Bytes payload, size_t size_max = kPlenty) {
  const auto fresh = Inflater::make(15);
  const Inflated whole = inflate(*fresh, payload, size_max);
  const auto again = [&](size_t first, size_t piece) {
    fresh->reset();
    const Inflated result = inflate(*fresh, payload, size_max, first, piece);
    EXPECT(result.error == whole.error && result.text == whole.text);
  };
  for (size_t cut = 0; cut <= payload.size(); cut++) again(cut, SIZE_MAX);
  again(1, 1);
  again(3, 2);
  Blob out;
  size_t used = 0;
  fresh->reset();
  ErrorCode error = fresh->inflate(payload, false, size_max, out, used);
  if (error == ErrorCode::None) error = fresh->inflate({}, true, size_max, out, used);
  EXPECT(error == whole.error && out.bytes().substr(0, used) == whole.text);
  return whole;
}

bool is_bad(Bytes payload) { return inflate_anyhow(payload).error == ErrorCode::WsBadDeflate; }

TEST("this process has a zlib, found once") {
  const Zlib* const found = zlib();
  EXPECT(found != nullptr && found == zlib());
  EXPECT(found != nullptr && found->version != nullptr && found->version[0] == '1');
}

TEST("RFC 7692 7.2.3: each example decompresses to Hello") {
  for (const char* hex : {
           "f2 48 cd c9 c9 07 00",                    // 7.2.3.1
           "00 05 00 fa ff 48 65 6c 6c 6f 00",        // 7.2.3.3
           "f3 48 cd c9 c9 07 00 00",                 // 7.2.3.4
           "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",  // 7.2.3.5
       }) {
    context = hex;
    const Inflated result = inflate_anyhow(from_hex(hex));
    EXPECT(result.error == ErrorCode::None && result.text == "Hello");
  }
  const Inflated empty = inflate_anyhow(from_hex("00"));  // 7.2.3.6
  EXPECT(empty.error == ErrorCode::None && empty.text.empty());
}

TEST("RFC 7692 7.2.3.1, 7.2.3.2: Hello compresses to the examples, and again with takeover") {
  const auto deflater = Deflater::make(6, 15);
  EXPECT(compress(*deflater, "Hello") == from_hex("f2 48 cd c9 c9 07 00"));
  EXPECT(compress(*deflater, "Hello") == from_hex("f2 00 11 00 00"));
  deflater->reset();
  EXPECT(compress(*deflater, "Hello") == from_hex("f2 48 cd c9 c9 07 00"));
  const auto inflater = Inflater::make(15);
  EXPECT(inflate(*inflater, from_hex("f2 48 cd c9 c9 07 00")).text == "Hello");
  EXPECT(inflate(*inflater, from_hex("f2 00 11 00 00")).text == "Hello");
  inflater->reset();
  EXPECT(inflate(*inflater, from_hex("f2 00 11 00 00")).error == ErrorCode::WsBadDeflate);
}

TEST("an empty message is one zero byte, first or after others, and disturbs none of them") {
  const auto deflater = Deflater::make(6, 15);
  const auto inflater = Inflater::make(15);
  for (const char* message : {"", "", "abcabcabc", "", "abcabcabc", "", ""}) {
    const std::string payload = compress(*deflater, message);
    EXPECT(!Bytes(message).empty() || payload == std::string(1, '\0'));
    const Inflated result = inflate(*inflater, payload);
    EXPECT(result.error == ErrorCode::None && result.text == message);
  }
}

TEST("what is compressed comes back, at every cut") {
  for (uint32_t letters : {1u, 2u, 26u, 256u}) {
    for (size_t size : {1u, 2u, 5u, 64u, 300u}) {
      context = std::to_string(letters) + " letters, " + std::to_string(size);
      const std::string message = random_bytes(size, letters, size);
      const auto deflater = Deflater::make(6, 15);
      const std::string payload = compress(*deflater, message);
      const Inflated result = inflate_anyhow(payload);
      EXPECT(result.error == ErrorCode::None && result.text == message);
      EXPECT(!payload.ends_with(kTail) && inflate_anyhow(payload, size).text == message);
      EXPECT(inflate_anyhow(payload, size - 1).error == ErrorCode::WsTooBig);
    }
  }
}

TEST("all levels and windows carry messages on, small and larger than the window") {
  for (int bits = 9; bits <= 15; bits++) {
    for (int level : {1, 6, 9}) {
      context = std::to_string(bits) + " bits, level " + std::to_string(level);
      const auto deflater = Deflater::make(level, bits);
      const auto inflater = Inflater::make(bits);
      EXPECT(deflater->level() == level && deflater->window_bits() == bits);
      EXPECT(inflater->window_bits() == bits);
      for (size_t size : {10u, 700u, 100'000u, 40u, 33'000u}) {
        for (uint32_t letters : {3u, 256u}) {
          const std::string message = random_bytes(size, letters, size + letters);
          const std::string payload = compress(*deflater, message);
          EXPECT(payload.size() <= size + size / 8 + 16);
          const Inflated result = inflate(*inflater, payload, kPlenty, 7, 1000);
          EXPECT(result.error == ErrorCode::None && result.text == message);
        }
      }
    }
  }
}

TEST("takeover makes the second of two equal messages small, and reset forgets the first") {
  const std::string message = random_bytes(1000, 256, 1);
  const auto deflater = Deflater::make(6, 15);
  const std::string first = compress(*deflater, message);
  EXPECT(first.size() > 1000);
  EXPECT(compress(*deflater, message).size() < 50);
  deflater->reset();
  EXPECT(compress(*deflater, message) == first);
  deflater->reset();
  EXPECT(compress(*deflater, message) == first);
}

TEST("compressing appends, whatever room there is") {
  const std::string message = random_bytes(400, 5, 1);
  const std::string expected = compress(*Deflater::make(6, 15), message);
  for (size_t room = 0; room < 2 * message.size(); room++) {
    context = std::to_string(room);
    Blob out = Blob::uninitialized(room + 3);
    std::copy_n("abc", 3, out.data());
    size_t used = 3;
    const auto deflater = Deflater::make(6, 15);
    EXPECT(deflater->compress(message, out, used) && used <= out.size());
    EXPECT(out.bytes().substr(0, 3) == "abc");
    const Inflated result = inflate(*Inflater::make(15), out.bytes().substr(3, used - 3));
    EXPECT(result.error == ErrorCode::None && result.text == message);
    // A flush that just fits may be followed by the mark of another.
    EXPECT(used - 3 == expected.size() || used - 3 == expected.size() + 5);
  }
}

TEST("decompressing appends, and the limit is that of the whole blob") {
  const std::string payload = compress(*Deflater::make(6, 15), std::string(100, 'x'));
  for (size_t limit : {102u, 103u, 104u}) {
    for (size_t room : {3u, 4u, 102u, 103u, 200u}) {
      context = std::to_string(limit) + " " + std::to_string(room);
      Blob out = Blob::uninitialized(room);
      std::copy_n("abc", 3, out.data());
      size_t used = 3;
      const ErrorCode error = Inflater::make(15)->inflate(payload, true, limit, out, used);
      EXPECT((error == ErrorCode::WsTooBig) == (limit < 103));
      EXPECT(used == std::min<size_t>(limit, 103) && out.size() <= std::max(room, limit));
      EXPECT(out.bytes().substr(0, used) == "abc" + std::string(used - 3, 'x'));
    }
  }
}

TEST("blocks with BFINAL end a stream within a message or at its end") {
  const std::string final = from_hex("f3 48 cd c9 c9 07 00");
  EXPECT(inflate_anyhow(final).text == "Hello");
  EXPECT(inflate_anyhow(final + final).text == "HelloHello");
  EXPECT(inflate_anyhow(final + from_hex("f2 48 cd c9 c9 07 00")).text == "HelloHello");
  EXPECT(inflate_anyhow(from_hex("01")).error == ErrorCode::None);
  EXPECT(inflate_anyhow(final, 4).error == ErrorCode::WsTooBig);
  EXPECT(inflate_anyhow(final + final, 9).error == ErrorCode::WsTooBig);
  EXPECT(inflate_anyhow(final + final, 10).error == ErrorCode::None);
  // The next stream has no window of the one before.
  const auto inflater = Inflater::make(15);
  EXPECT(inflate(*inflater, final).text == "Hello");
  EXPECT(inflate(*inflater, from_hex("f2 48 cd c9 c9 07 00")).text == "Hello");
  EXPECT(inflate(*inflater, from_hex("f2 00 11 00 00")).text == "Hello");
  EXPECT(inflate(*inflater, final + from_hex("00")).text == "Hello");
  EXPECT(inflate(*inflater, from_hex("f2 00 11 00 00")).error == ErrorCode::WsBadDeflate);
}

TEST("a message that ends between blocks needs no tail") {
  for (const char* hex :
       {"", "f2 48 cd c9 c9 07 00 00 00 ff ff", "00 05 00 fa ff 48 65 6c 6c 6f"}) {
    context = hex;
    const Inflated result = inflate_anyhow(from_hex(hex));
    EXPECT(result.error == ErrorCode::None && result.text == (*hex == '\0' ? "" : "Hello"));
  }
}

TEST("garbage is refused: behind BFINAL, unknown blocks, lengths, distances, codes") {
  EXPECT(is_bad(from_hex("f3 48 cd c9 c9 07 00 ff")));           // behind BFINAL
  EXPECT(is_bad(from_hex("f3 48 cd c9 c9 07 00 00 00")));        // two octets behind it
  EXPECT(is_bad(from_hex("07")));                                // BTYPE 11
  EXPECT(is_bad(from_hex("00 05 00 fa fe 48 65 6c 6c 6f 00")));  // LEN and NLEN differ
  EXPECT(is_bad(from_hex("f2 00 11 00 00")));                    // back before the beginning
  EXPECT(is_bad(from_hex("04 00 00 00 00 00 00 00 00")));        // no code for the end of a block
  EXPECT(is_bad(from_hex("00 00")));                             // an unfinished header
}

TEST("a message cut short is refused wherever it is cut") {
  for (uint32_t letters : {2u, 26u}) {
    const std::string message = random_bytes(200, letters, 7);
    const std::string payload = compress(*Deflater::make(6, 15), message);
    for (size_t length = 1; length < payload.size(); length++) {
      context = std::to_string(letters) + " letters, " + std::to_string(length);
      EXPECT(is_bad(payload.substr(0, length)));
      Blob out;
      size_t used = 0;
      const auto begun = Inflater::make(15);
      EXPECT(begun->inflate(payload.substr(0, length), false, kPlenty, out, used) ==
             ErrorCode::None);
      EXPECT(Bytes(message).starts_with(out.bytes().substr(0, used)));
    }
  }
}

TEST("any flipped bit gives one verdict however the message is cut, and a reset heals") {
  const std::string message = "Hello, hello, hello; and once more: hello.";
  const std::string payload = compress(*Deflater::make(6, 15), message);
  size_t refused = 0;
  const auto inflater = Inflater::make(15);
  for (size_t bit = 0; bit < payload.size() * 8; bit++) {
    context = std::to_string(bit);
    std::string broken = payload;
    broken[bit / 8] = static_cast<char>(broken[bit / 8] ^ (1 << bit % 8));
    refused += inflate_anyhow(broken, 500).error != ErrorCode::None;
    (void)inflate(*inflater, broken, 500);
    inflater->reset();
    EXPECT(inflate(*inflater, payload).text == message);
    inflater->reset();
  }
  EXPECT(refused > payload.size());
}

TEST("a bomb of 1 GiB stops at the limit, having held no more") {
  const std::string zeros(size_t{1} << 20, '\0');
  const auto deflater = Deflater::make(9, 15);
  std::string bomb = compress(*deflater, zeros) + kTail;
  const std::string more = compress(*deflater, zeros) + kTail;
  for (int i = 1; i < 1024; i++) bomb += more;
  EXPECT(bomb.size() < size_t{5} << 18);
  for (size_t size_max : {size_t{0}, size_t{1}, size_t{70'000}, size_t{1} << 20}) {
    for (size_t piece : {size_t{1}, size_t{100}, SIZE_MAX}) {
      context = std::to_string(size_max) + " in pieces of " + std::to_string(piece);
      const Inflated result = inflate(*Inflater::make(15), bomb, size_max, piece, piece);
      EXPECT(result.error == ErrorCode::WsTooBig);
      EXPECT(result.text.size() == size_max && result.room <= size_max);
      EXPECT(piece == SIZE_MAX || result.taken <= size_max / 900 + 100 + piece);
    }
  }
}

TEST("room grows with what comes out, not with the limit") {
  const std::string payload = compress(*Deflater::make(6, 15), std::string(3000, 'x'));
  const Inflated result = inflate(*Inflater::make(15), payload, size_t{1} << 40);
  EXPECT(result.text.size() == 3000 && result.room <= 6000 + 4 * payload.size());
}

TEST("the pool gives back what was given to it, of the same kind, reset") {
  DeflatePool pool;
  auto deflater = pool.take_deflater(6, 12);
  auto inflater = pool.take_inflater(12);
  const Deflater* const one = deflater.get();
  const Inflater* const other = inflater.get();
  const std::string first = compress(*deflater, "Hello");
  EXPECT(inflate(*inflater, first).text == "Hello");
  EXPECT(inflate(*inflater, "\x07").error == ErrorCode::WsBadDeflate);
  pool.give_back(std::move(deflater));
  pool.give_back(std::move(inflater));
  EXPECT(pool.take_deflater(6, 13).get() != one && pool.take_deflater(5, 12).get() != one);
  EXPECT(pool.take_inflater(13).get() != other);
  deflater = pool.take_deflater(6, 12);
  inflater = pool.take_inflater(12);
  EXPECT(deflater.get() == one && compress(*deflater, "Hello") == first);
  EXPECT(inflater.get() == other && inflate(*inflater, first).text == "Hello");
}

TEST("the pool keeps four idle streams of a kind and no more") {
  DeflatePool pool;
  for (int bits : {9, 15}) {
    std::unique_ptr<Deflater> deflaters[DeflatePool::kIdleMax + 2];
    std::unique_ptr<Inflater> inflaters[DeflatePool::kIdleMax + 2];
    for (auto& one : deflaters) one = pool.take_deflater(1, bits);
    for (auto& one : inflaters) one = pool.take_inflater(bits);
    for (auto& one : deflaters) pool.give_back(std::move(one));
    for (auto& one : inflaters) pool.give_back(std::move(one));
  }
  EXPECT(pool.idle_count() == 4 * DeflatePool::kIdleMax);
}

}  // namespace

}  // namespace millrace::test
