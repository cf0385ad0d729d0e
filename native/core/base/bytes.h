// Views over bytes and the small ASCII tools that parsers share. Does not own memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace millrace {

using Bytes = std::string_view;        // read-only bytes; not necessarily text
using MutableBytes = std::span<char>;  // writable bytes

// RFC 9110 5.6.2 tchar.
[[nodiscard]] bool is_token_char(unsigned char c);
[[nodiscard]] bool is_token(Bytes text);

[[nodiscard]] constexpr char ascii_lower(char c) {
  return (c >= 'A' && c <= 'Z') ? static_cast<char>(c + ('a' - 'A')) : c;
}
// `lower` must already be lower case.
[[nodiscard]] inline bool equals_folded(Bytes text, Bytes lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); i++) {
    if (ascii_lower(text[i]) != lower[i]) return false;
  }
  return true;
}
// True when the comma-separated list holds the (lower-case) token; RFC 9110 5.6.1.
[[nodiscard]] bool list_has_token(Bytes list, Bytes lower_token);
// Removes optional white space (SP, HTAB) at both ends; RFC 9110 5.6.3.
[[nodiscard]] Bytes trim_ows(Bytes text);

// Strict decimal: digits only, no sign, no overflow. Leading zeros are accepted.
[[nodiscard]] bool parse_decimal(Bytes text, uint64_t& value);
// Writes the shortest decimal form; returns its length (at most 20).
size_t write_decimal(uint64_t value, char* out);

}  // namespace millrace
