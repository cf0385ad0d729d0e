#include "core/base/bytes.h"

#include <array>
#include <limits>

namespace millrace {
namespace {

constexpr std::array<bool, 256> make_token_set() {
  std::array<bool, 256> set{};
  for (int c = '0'; c <= '9'; c++) set[static_cast<size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; c++) set[static_cast<size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; c++) set[static_cast<size_t>(c)] = true;
  for (char c : std::string_view("!#$%&'*+-.^_`|~")) set[static_cast<unsigned char>(c)] = true;
  return set;
}

constexpr std::array<bool, 256> kTokenSet = make_token_set();

}  // namespace

bool is_token_char(unsigned char c) { return kTokenSet[c]; }

bool is_token(Bytes text) {
  if (text.empty()) return false;
  for (char c : text) {
    if (!kTokenSet[static_cast<unsigned char>(c)]) return false;
  }
  return true;
}

bool list_has_token(Bytes list, Bytes lower_token) {
  while (!list.empty()) {
    size_t comma = list.find(',');
    Bytes item = trim_ows(list.substr(0, comma));
    if (!item.empty() && equals_folded(item, lower_token)) return true;  // RFC 9110 5.6.1.2
    if (comma == Bytes::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

Bytes trim_ows(Bytes text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool parse_decimal(Bytes text, uint64_t& value) {
  if (text.empty()) return false;
  uint64_t total = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    uint64_t digit = static_cast<uint64_t>(c - '0');
    if (total > (std::numeric_limits<uint64_t>::max() - digit) / 10) return false;
    total = total * 10 + digit;
  }
  value = total;
  return true;
}

size_t write_decimal(uint64_t value, char* out) {
  char reversed[20];
  size_t length = 0;
  do {
    reversed[length++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  for (size_t i = 0; i < length; i++) out[i] = reversed[length - 1 - i];
  return length;
}

}  // namespace millrace
