// The Range field: RFC 9110 14.1.2 and 14.2, for the unit "bytes". Guards against requests that
// cost the server more than the whole file would (many, or overlapping ranges).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/base/bytes.h"

namespace millrace::files {

constexpr size_t kRangesMax = 16;        // after merging
constexpr size_t kRangeMembersMax = 64;  // in the field

struct ByteRange {
  uint64_t first = 0;
  uint64_t last = 0;  // inclusive
  [[nodiscard]] uint64_t length() const { return last - first + 1; }
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

// Ascending, with at least one byte between any two.
struct RangeSet {
  std::array<ByteRange, kRangesMax> ranges{};
  uint8_t count = 0;
  [[nodiscard]] std::span<const ByteRange> span() const& { return {ranges.data(), count}; }
  std::span<const ByteRange> span() const&& = delete;  // of a temporary it would dangle
};

enum class RangeVerdict : uint8_t {
  Whole,           // no such field, or one to be ignored: send everything with 200
  Partial,         // at least one range
  NotSatisfiable,  // well-formed, but nothing of it lies inside
};

// Ignored are: other units, anything malformed (a last before its first included), more members or
// ranges than the limits above, ranges that ask for more bytes than there are, and every Range for
// an empty file (14.2 allows it: a player that begins with "bytes=0-" gets its 200). Ranges that
// overlap or touch become one, and all are sorted: files are read forward, and 15.3.7.2 only
// wishes for the client's order.
[[nodiscard]] RangeVerdict parse_ranges(Bytes field, uint64_t size, RangeSet& out);

}  // namespace millrace::files
