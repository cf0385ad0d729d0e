#include "core/route/pattern.h"

#include <algorithm>
#include <array>

#include "core/model/route.h"

namespace millrace {
namespace {

constexpr size_t kSegmentsMax = 256;  // of one pattern; bounds the recursion of a match

// '%' and every byte that may not stand in a path; RFC 3986 3.3.
constexpr std::array<bool, 256> make_special_set() {
  std::array<bool, 256> set{};
  set.fill(true);
  for (int c = '0'; c <= '9'; c++) set[static_cast<size_t>(c)] = false;
  for (int c = 'a'; c <= 'z'; c++) set[static_cast<size_t>(c)] = false;
  for (int c = 'A'; c <= 'Z'; c++) set[static_cast<size_t>(c)] = false;
  for (char c : Bytes("-._~!$&'()*+,;=:@/")) set[static_cast<unsigned char>(c)] = false;
  return set;
}

constexpr std::array<bool, 256> kSpecialSet = make_special_set();

bool is_special(char c) { return kSpecialSet[static_cast<unsigned char>(c)]; }

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  char lower = ascii_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool is_name(Bytes text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '$' ||
           static_cast<unsigned char>(c) >= 0x80;
  });
}

Segment parse_segment(Bytes text) {
  if (text == "*") return {.kind = SegmentKind::Star};
  if (text == "**") return {.kind = SegmentKind::Deep};
  if (text.empty()) return {};
  if (text.front() == ':' || text.front() == '@') {
    return {.kind = SegmentKind::Param, .text = text.substr(1)};
  }
  Segment segment{.text = text};
  segment.open_start = text.front() == '*';
  segment.open_end = text.back() == '*';
  if (!segment.open_start && !segment.open_end) return segment;
  segment.kind = SegmentKind::Partial;
  if (segment.open_start) segment.text.remove_prefix(1);
  if (segment.open_end) segment.text.remove_suffix(1);
  return segment;
}

const char* problem_with(const std::vector<Segment>& segments) {
  size_t params = 0;
  if (segments.size() > kSegmentsMax) return "has more than 256 segments";
  for (size_t i = 0; i < segments.size(); i++) {
    const Segment& segment = segments[i];
    if (segment.kind != SegmentKind::Literal) params++;
    if (i > 0 && segments[i - 1].kind == SegmentKind::Deep) {
      if (segment.kind == SegmentKind::Deep || segment.kind == SegmentKind::Star) {
        return "has a wildcard right after **; put literal text between them";
      }
      if (segment.kind == SegmentKind::Param) {
        return "has a parameter right after **; put literal text between them";
      }
    }
    if (segment.kind != SegmentKind::Param) continue;
    if (!is_name(segment.text)) {
      return "has a parameter whose name is not made of letters, digits, _, - and $";
    }
    for (size_t j = 0; j < i; j++) {
      if (segments[j].kind == SegmentKind::Param && segments[j].text == segment.text) {
        return "uses one parameter name twice";
      }
    }
  }
  static_assert(kRouteParamsMax == 8, "the sentence below says so");
  return params > kRouteParamsMax ? "has more than 8 parameters and wildcards" : nullptr;
}

}  // namespace

bool is_special(Bytes text) {
  bool special = false;
  for (char c : text) special |= is_special(c);  // no exit on the way: most texts are plain
  return special;
}

Unit unit_at(Bytes text, size_t at) {
  if (text[at] != '%') {
    uint32_t code = static_cast<unsigned char>(text[at]);
    return {is_special(text[at]) ? 256 + code : code, at + 1};
  }
  if (text.size() - at < 3) return {'%', at + 1};
  int high = hex_digit(text[at + 1]);
  int low = hex_digit(text[at + 2]);
  if (high < 0 || low < 0) return {'%', at + 1};
  return {static_cast<uint32_t>(256 + high * 16 + low), at + 3};
}

size_t end_of_units(Bytes text, size_t at, Bytes literal) {
  for (size_t i = 0; i < literal.size();) {
    if (at == text.size()) return Bytes::npos;
    Unit wanted = unit_at(literal, i);
    Unit found = unit_at(text, at);
    if (wanted.code != found.code) return Bytes::npos;
    i = wanted.next;
    at = found.next;
  }
  return at;
}

const char* parse_pattern(Bytes pattern, std::vector<Segment>& segments) {
  if (pattern.empty()) return "is empty; the shortest pattern is \"/\"";
  if (pattern.front() != '/') return "does not start with \"/\"";
  if (pattern.find_first_of("?#") != Bytes::npos) return "holds \"?\" or \"#\", which no path does";
  for (size_t start = 1; start != 0;) {
    size_t slash = pattern.find('/', start);
    segments.push_back(parse_segment(pattern.substr(start, slash - start)));
    start = slash + 1;
  }
  return problem_with(segments);
}

}  // namespace millrace
