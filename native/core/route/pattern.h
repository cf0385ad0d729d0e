// A pattern cut into its segments and checked, and the units in which texts of patterns and paths
// are compared. What patterns may hold and what they match is said in router.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/bytes.h"

namespace millrace {

[[nodiscard]] constexpr bool is_letter(char c) {
  return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z';
}
[[nodiscard]] constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Whether the text holds '%' or a byte that may not stand in a path; RFC 3986 3.3. Only then does
// comparing its units differ from comparing its bytes.
[[nodiscard]] bool is_special(Bytes text);

// An escape ("%C3", or a byte that should have been one) is 256 and its value; any other byte is
// itself.
struct Unit {
  uint32_t code;
  size_t next;  // where the unit after it starts
};
[[nodiscard]] Unit unit_at(Bytes text, size_t at);

// Where `literal` ends in `text` when it stands at `at`, or npos.
[[nodiscard]] size_t end_of_units(Bytes text, size_t at, Bytes literal);

enum class SegmentKind : uint8_t { Literal, Param, Partial, Star, Deep };

struct Segment {
  SegmentKind kind = SegmentKind::Literal;
  Bytes text{};             // of Literal and Partial; the name of Param
  bool open_start = false;  // Partial: "*text"
  bool open_end = false;    // Partial: "text*"
};

// Appends the segments, which point into `pattern`. Returns what is wrong with it, as the second
// half of a sentence, or nullptr.
[[nodiscard]] const char* parse_pattern(Bytes pattern, std::vector<Segment>& segments);

}  // namespace millrace
