#include "core/proto/files/ranges.h"

#include <algorithm>

namespace millrace::files {
namespace {

constexpr Bytes kUnit = "bytes=";

enum class Member : uint8_t { Malformed, Outside, Inside };

// A number too large for 64 bits is well-formed, and lies behind the end of any file.
bool parse_position(Bytes text, uint64_t& value) {
  if (text.empty() || text.find_first_not_of("0123456789") != Bytes::npos) return false;
  if (!parse_decimal(text, value)) value = UINT64_MAX;
  return true;
}

// `size` is not 0.
Member read_member(Bytes text, uint64_t size, ByteRange& range) {
  const size_t dash = text.find('-');
  if (dash == Bytes::npos) return Member::Malformed;
  const Bytes before = text.substr(0, dash);
  const Bytes after = text.substr(dash + 1);
  if (before.empty()) {
    uint64_t suffix = 0;
    if (!parse_position(after, suffix)) return Member::Malformed;
    if (suffix == 0) return Member::Outside;
    range = {size - std::min(suffix, size), size - 1};
    return Member::Inside;
  }
  uint64_t first = 0;
  uint64_t last = UINT64_MAX;
  if (!parse_position(before, first)) return Member::Malformed;
  if (!after.empty() && !parse_position(after, last)) return Member::Malformed;
  if (last < first) return Member::Malformed;
  if (first >= size) return Member::Outside;
  range = {first, std::min(last, size - 1)};
  return Member::Inside;
}

// Sorts, and joins what overlaps or touches. False when too many are left.
bool merge(std::span<ByteRange> found, RangeSet& out) {
  std::sort(found.begin(), found.end(),
            [](const ByteRange& one, const ByteRange& other) { return one.first < other.first; });
  for (const ByteRange& range : found) {
    if (out.count > 0 && range.first <= out.ranges[out.count - 1u].last + 1) {
      uint64_t& last = out.ranges[out.count - 1u].last;
      last = std::max(last, range.last);
    } else if (out.count == kRangesMax) {
      return false;
    } else {
      out.ranges[out.count++] = range;
    }
  }
  return true;
}

}  // namespace

RangeVerdict parse_ranges(Bytes field, uint64_t size, RangeSet& out) {
  out.count = 0;
  if (size == 0 || !equals_folded(field.substr(0, kUnit.size()), kUnit)) return RangeVerdict::Whole;
  std::array<ByteRange, kRangeMembersMax> found;
  size_t found_count = 0;
  size_t members = 0;
  uint64_t left = size;
  for (Bytes rest = field.substr(kUnit.size()); !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const Bytes text = trim_ows(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (text.empty()) continue;  // RFC 9110 5.6.1.2
    if (++members > kRangeMembersMax) return RangeVerdict::Whole;
    ByteRange range;
    const Member member = read_member(text, size, range);
    if (member == Member::Malformed) return RangeVerdict::Whole;
    if (member == Member::Outside) continue;
    if (range.length() > left) return RangeVerdict::Whole;
    left -= range.length();
    found[found_count++] = range;
  }
  if (members == 0) return RangeVerdict::Whole;
  if (found_count == 0) return RangeVerdict::NotSatisfiable;
  if (merge({found.data(), found_count}, out)) return RangeVerdict::Partial;
  out.count = 0;
  return RangeVerdict::Whole;
}

}  // namespace millrace::files
