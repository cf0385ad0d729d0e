// UTF-8 check: against a slow reading that asks which characters a prefix can still become, over
// all short sequences and at every split.
#include "core/base/utf8_check.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "test/harness.h"

namespace {

using millrace::Bytes;
using millrace::is_utf8;
using millrace::Utf8Check;

constexpr size_t kNone = Bytes::npos;

// Bytes at and around every bound of RFC 3629 section 4.
constexpr std::array<uint8_t, 30> kEdges = {
    0x00, 0x41, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91, 0x9f, 0xa0, 0xa1, 0xbf, 0xc0, 0xc1, 0xc2,
    0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xfe, 0xff};

struct Verdict {
  size_t broken_at = kNone;
  bool is_complete = true;
  bool is_ascii = true;
  bool operator==(const Verdict&) const = default;
};

// Whether `code`, followed by `left` continuation bytes, can be a character of `length` bytes.
bool can_be_character(uint32_t code, int left, int length) {
  const uint32_t low = code << 6 * left;
  const uint32_t high = low + (1u << 6 * left) - 1;
  const uint32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  if (high < least || low > 0x10ffff) return false;
  return low < 0xd800 || high > 0xdfff;
}

class SlowCheck final {
 public:
  // Whether a valid text can have this byte here.
  bool take(uint8_t byte) {
    if (left_ == 0) {
      if (byte < 0x80) return true;
      if ((byte & 0xe0) == 0xc0) return begin(byte & 0x1f, 2);
      if ((byte & 0xf0) == 0xe0) return begin(byte & 0x0f, 3);
      return (byte & 0xf8) == 0xf0 && begin(byte & 0x07, 4);
    }
    if ((byte & 0xc0) != 0x80) return false;
    code_ = code_ << 6 | (byte & 0x3f);
    return can_be_character(code_, --left_, length_);
  }
  [[nodiscard]] bool is_complete() const { return left_ == 0; }

 private:
  bool begin(uint32_t code, int length) {
    code_ = code;
    length_ = length;
    left_ = length - 1;
    return can_be_character(code_, left_, length_);
  }
  uint32_t code_ = 0;
  int length_ = 0;
  int left_ = 0;
};

Verdict check_slowly(Bytes text) {
  SlowCheck check;
  Verdict verdict;
  for (size_t i = 0; i < text.size(); i++) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte >= 0x80) verdict.is_ascii = false;
    if (!check.take(byte)) return {i, false, false};
  }
  verdict.is_complete = check.is_complete();
  return verdict;
}

// Of an allocation of exactly its size.
bool feed(Utf8Check& check, Bytes piece) {
  const std::unique_ptr<char[]> memory(new char[piece.size()]);
  if (!piece.empty()) std::memcpy(memory.get(), piece.data(), piece.size());
  return check.feed(Bytes(memory.get(), piece.size()));
}

// The byte at which it breaks is found by feeding one at a time.
Verdict check_bytewise(Bytes text) {
  Utf8Check check;
  for (size_t i = 0; i < text.size(); i++) {
    if (!feed(check, text.substr(i, 1))) return {i, check.is_complete(), check.is_ascii()};
  }
  return {kNone, check.is_complete(), check.is_ascii()};
}

void expect_cut(Bytes text, size_t cut, const Verdict& wanted) {
  Utf8Check check;
  EXPECT(feed(check, text.substr(0, cut)) == (wanted.broken_at >= cut));
  EXPECT(feed(check, text.substr(cut)) == (wanted.broken_at == kNone));
  EXPECT(check.is_complete() == wanted.is_complete && check.is_ascii() == wanted.is_ascii);
}

void expect_everywhere(Bytes text) {
  millrace::test::context = std::string(text.substr(0, 80));
  const Verdict wanted = check_slowly(text);
  EXPECT(check_bytewise(text) == wanted);
  for (size_t cut = 0; cut <= text.size(); cut++) expect_cut(text, cut, wanted);
  EXPECT(is_utf8(text) == (wanted.broken_at == kNone && wanted.is_complete));
  millrace::test::context.clear();
}

std::string encode(uint32_t code) {
  const auto tail = [code](int shift) { return static_cast<char>(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xc0 | code >> 6), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xe0 | code >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xf0 | code >> 18), tail(12), tail(6), tail(0)};
}

TEST("every character is accepted, and surrogates and what lies behind U+10FFFF are not") {
  for (uint32_t code = 0; code < 0x200000; code++) {
    const bool is_character = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    EXPECT(is_utf8(encode(code)) == is_character);
  }
}

TEST("all sequences of up to three bytes are judged as the slow reading does") {
  Utf8Check empty;
  EXPECT(empty.feed("") && empty.is_complete() && empty.is_ascii() && is_utf8(""));
  for (uint32_t bits = 0; bits < 1u << 24; bits++) {
    const char text[] = {static_cast<char>(bits >> 16), static_cast<char>(bits >> 8 & 0xff),
                         static_cast<char>(bits & 0xff)};
    // Each length once: of two bytes those before a NUL, of one those before two.
    const size_t size_min = (bits & 0xffff) == 0 ? 1 : (bits & 0xff) == 0 ? 2 : 3;
    for (size_t size = size_min; size <= 3; size++) {
      const Verdict wanted = check_slowly(Bytes(text, size));
      Utf8Check check;
      EXPECT(check.feed(Bytes(text, size)) == (wanted.broken_at == kNone));
      EXPECT(check.is_complete() == wanted.is_complete && check.is_ascii() == wanted.is_ascii);
    }
  }
}

TEST("four bytes around every bound are judged the same alone and within a step of sixteen") {
  for (uint8_t a : kEdges) {
    for (uint8_t b : kEdges) {
      for (uint8_t c : kEdges) {
        for (uint8_t d : kEdges) {
          const char text[] = {'0',
                               '1',
                               '2',
                               '3',
                               '4',
                               '5',
                               '6',
                               '7',
                               '8',
                               '9',
                               'a',
                               'b',
                               static_cast<char>(a),
                               static_cast<char>(b),
                               static_cast<char>(c),
                               static_cast<char>(d)};
          const Bytes four(text + 12, 4);
          const Verdict wanted = check_slowly(four);
          const bool ok = wanted.broken_at == kNone && wanted.is_complete;
          EXPECT(is_utf8(four) == ok && is_utf8(Bytes(text, 16)) == ok);
        }
      }
    }
  }
}

TEST("broken text is found at the first impossible byte, at every split") {
  for (uint8_t a : kEdges) {
    for (uint8_t b : kEdges) {
      for (char c : {'\x00', '\x7f', '\x80', '\xbf', '\xc2', '\xff'}) {
        expect_everywhere(std::string{static_cast<char>(a), static_cast<char>(b), c});
      }
    }
  }
  struct {
    const char* text;
    size_t broken_at;
  } const rows[] = {
      {"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80", 6},
      {"\xed\xa0\x80", 1},
      {"\xf4\x90", 1},
      {"\xf5", 0},
      {"\xf8\x88\x80\x80\x80", 0},
      {"\xc0\xaf", 0},
      {"\xe0\x9f\xbf", 1},
      {"\xf0\x8f\xbf\xbf", 1},
      {"ab\x80", 2},
      {"\xe6\xb0z", 2},
      {"\xf0\x9f\x8c\xf0", 3},
      {"\xc3\xc3\xbc", 1},
      {"\xf4\x8f\xbf\xbf\xee\x80\x80\xed\x9f\xbf", kNone},
  };
  for (const auto& row : rows) {
    millrace::test::context = row.text;
    EXPECT(check_bytewise(row.text).broken_at == row.broken_at);
    expect_everywhere(row.text);
  }
  expect_everywhere(Bytes("\xee\xfe", 2));  // what ws-19 of the seed cases sends, unmasked
}

TEST("one character among ASCII is seen wherever it begins") {
  for (const char* character :
       {"\xc3\xbc", "\xe6\xb0\xb4", "\xf0\x9f\x8c\xbe", "\x80", "\xed\xa0\x80", "\xf0\x9f\x8c"}) {
    for (size_t at = 0; at <= 130; at++) {
      for (size_t behind : {size_t{0}, size_t{1}, size_t{13}, size_t{70}}) {
        const std::string text = std::string(at, 'a') + character + std::string(behind, 'z');
        const Verdict wanted = check_slowly(text);
        Utf8Check check;
        EXPECT(feed(check, text) == (wanted.broken_at == kNone));
        EXPECT(check.is_complete() == wanted.is_complete && !check.is_ascii());
      }
    }
    expect_everywhere(std::string(61, 'a') + character + std::string(40, 'z'));
  }
  for (size_t size = 0; size <= 200; size++) {
    Utf8Check check;
    EXPECT(feed(check, std::string(size, '\x7f')) && check.is_complete() && check.is_ascii());
  }
}

TEST("long texts of all kinds of characters are judged the same at every split") {
  uint64_t seed = 6455;
  const auto below = [&seed](uint32_t bound) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>((seed >> 33) % bound);
  };
  constexpr uint32_t kBounds[] = {0x80, 0x80, 0x800, 0xd800, 0x110000};
  for (int round = 0; round < 300; round++) {
    std::string text;
    const uint32_t kinds = 1 + below(5);
    while (text.size() < 200) {
      const uint32_t code = below(kBounds[below(kinds)]);
      text += encode(code >= 0xd800 && code <= 0xdfff ? 'x' : code);
    }
    EXPECT(is_utf8(text));
    expect_everywhere(text);
    text[below(200)] = static_cast<char>(kEdges[below(kEdges.size())]);
    expect_everywhere(text);
  }
}

TEST("after broken text nothing is accepted until it is reset") {
  Utf8Check check;
  EXPECT(!check.feed("\xff"));
  EXPECT(!check.feed("plain") && !check.feed("") && !check.is_complete() && !check.is_ascii());
  EXPECT(!check.feed(std::string(100, 'a')));
  check.reset();
  EXPECT(check.feed("plain") && check.is_complete() && check.is_ascii());
}

}  // namespace
