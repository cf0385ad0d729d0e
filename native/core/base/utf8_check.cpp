#include "core/base/utf8_check.h"

#include <array>
#include <cstddef>
#include <cstring>
#include <utility>

namespace millrace {
namespace {

// An automaton whose states are bit offsets into the row of a byte, where the next state lies: a
// step is one load and one shift, whatever the text. What no row names leads to Broken, for ever.
enum State : uint8_t {
  Broken = 0,
  Whole = 6,     // between characters
  OneMore = 12,  // continuation bytes that are due
  TwoMore = 18,
  ThreeMore = 24,
  BehindE0 = 30,  // leads whose next byte has narrower bounds
  BehindEd = 36,
  BehindF0 = 42,
  BehindF4 = 48,
};
constexpr uint64_t kStateMask = 63;

using Rows = std::array<uint64_t, 256>;

constexpr void add(Rows& rows, size_t first, size_t last, State from, State to) {
  for (size_t byte = first; byte <= last; byte++) rows[byte] |= uint64_t{to} << from;
}

// The syntax of RFC 3629 section 4.
constexpr Rows make_rows() {
  Rows rows{};
  add(rows, 0x00, 0x7f, Whole, Whole);
  add(rows, 0xc2, 0xdf, Whole, OneMore);
  add(rows, 0xe0, 0xe0, Whole, BehindE0);
  add(rows, 0xe1, 0xec, Whole, TwoMore);
  add(rows, 0xed, 0xed, Whole, BehindEd);
  add(rows, 0xee, 0xef, Whole, TwoMore);
  add(rows, 0xf0, 0xf0, Whole, BehindF0);
  add(rows, 0xf1, 0xf3, Whole, ThreeMore);
  add(rows, 0xf4, 0xf4, Whole, BehindF4);
  add(rows, 0x80, 0xbf, OneMore, Whole);
  add(rows, 0x80, 0xbf, TwoMore, OneMore);
  add(rows, 0x80, 0xbf, ThreeMore, TwoMore);
  add(rows, 0xa0, 0xbf, BehindE0, OneMore);
  add(rows, 0x80, 0x9f, BehindEd, OneMore);
  add(rows, 0x90, 0xbf, BehindF0, TwoMore);
  add(rows, 0x80, 0x8f, BehindF4, TwoMore);
  return rows;
}

constexpr Rows kRows = make_rows();

uint64_t run(uint64_t state, const char* at, size_t size) {
  for (size_t i = 0; i < size; i++) {
    state = kRows[static_cast<uint8_t>(at[i])] >> (state & kStateMask);
  }
  return state & kStateMask;
}

// The same for a size that is known, without a loop.
template <size_t... kAt>
uint64_t run_step(uint64_t state, const char* at, std::index_sequence<kAt...>) {
  ((state = kRows[static_cast<uint8_t>(at[kAt])] >> (state & kStateMask)), ...);
  return state & kStateMask;
}

// What GCC and clang have for SSE2 and NEON alike, so without intrinsics.
using Vector [[gnu::vector_size(16)]] = uint64_t;
constexpr uint64_t kHighBits = 0x8080808080808080u;

template <typename Word>
Word load(const char* from) {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

bool is_ascii(Vector bytes) { return ((bytes[0] | bytes[1]) & kHighBits) == 0; }

bool is_ascii_step(const char* at) { return is_ascii(load<Vector>(at)); }

bool is_ascii_stride(const char* at) {
  return is_ascii(load<Vector>(at) | load<Vector>(at + 16) | load<Vector>(at + 32) |
                  load<Vector>(at + 48));
}

constexpr size_t kStep = 16;
constexpr size_t kStride = 64;

bool is_ascii_short(Bytes bytes) {
  const char* end = bytes.data() + bytes.size();
  if (bytes.size() >= sizeof(uint64_t))
    return ((load<uint64_t>(bytes.data()) | load<uint64_t>(end - 8)) & kHighBits) == 0;
  uint8_t all = 0;
  for (char c : bytes) all |= static_cast<uint8_t>(c);
  return all < 0x80;
}

}  // namespace

bool Utf8Check::feed(Bytes bytes) {
  static_assert(kWhole == Whole);
  uint64_t state = state_;
  const char* at = bytes.data();
  const char* const end = at + bytes.size();
  const auto left = [&] { return static_cast<size_t>(end - at); };
  while (left() >= kStep) {
    if (state == Whole) {
      while (left() >= kStride && is_ascii_stride(at)) at += kStride;
      while (left() >= kStep && is_ascii_step(at)) at += kStep;
      if (left() < kStep) break;
    }
    ascii_ = false;
    state = run_step(state, at, std::make_index_sequence<kStep>());
    if (state == Broken) break;
    at += kStep;
  }
  if (state != Broken && left() > 0) {
    const Bytes rest(at, left());
    const bool is_plain = is_ascii_short(rest);
    if (!is_plain) ascii_ = false;
    if (!is_plain || state != Whole) state = run(state, at, rest.size());
  }
  state_ = static_cast<uint8_t>(state);
  return state != Broken;
}

bool is_utf8(Bytes text) {
  Utf8Check check;
  return check.feed(text) && check.is_complete();
}

}  // namespace millrace
