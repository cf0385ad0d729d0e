// Range: a table of fields, every limit, and random lists against a bitmap that knows what was
// asked.
#include "core/proto/files/ranges.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "test/harness.h"

namespace {

using namespace millrace::files;

// "whole", "416" or "0-1 5-9".
std::string parsed(const std::string& field, uint64_t size) {
  RangeSet set;
  const RangeVerdict verdict = parse_ranges(field, size, set);
  if (verdict != RangeVerdict::Partial) {
    EXPECT(set.count == 0);
    return verdict == RangeVerdict::Whole ? "whole" : "416";
  }
  std::string text;
  for (const ByteRange& range : set.span()) {
    if (!text.empty()) text += ' ';
    text += std::to_string(range.first) + "-" + std::to_string(range.last);
  }
  return text;
}

struct Row {
  const char* field;
  uint64_t size;
  const char* result;
};

void check(std::span<const Row> rows) {
  for (const Row& row : rows) {
    millrace::test::context = std::string(row.field) + " of " + std::to_string(row.size);
    EXPECT(parsed(row.field, row.size) == row.result);
  }
}

TEST("single ranges are clipped to the file") {
  constexpr Row kRows[] = {
      {"bytes=0-0", 10, "0-0"},         {"bytes=0-9", 10, "0-9"},   {"bytes=0-", 10, "0-9"},
      {"bytes=9-", 10, "9-9"},          {"bytes=10-", 10, "416"},   {"bytes=10-20", 10, "416"},
      {"bytes=9-20", 10, "9-9"},        {"bytes=2-5", 10, "2-5"},   {"bytes=-1", 10, "9-9"},
      {"bytes=-10", 10, "0-9"},         {"bytes=-11", 10, "0-9"},   {"bytes=-0", 10, "416"},
      {"bytes=-00", 10, "416"},         {"bytes=00-01", 10, "0-1"}, {"bytes=0-0", 1, "0-0"},
      {"bytes=-1", 1, "0-0"},           {"bytes=1-1", 1, "416"},    {"BYTES=0-0", 10, "0-0"},
      {"bYtEs=0-0", 10, "0-0"},         {"bytes= 0-0", 10, "0-0"},  {"bytes=\t0-0 ", 10, "0-0"},
      {"bytes=5-5", UINT64_MAX, "5-5"},
  };
  check(kRows);
}

TEST("malformed fields and other units are ignored") {
  constexpr Row kRows[] = {
      {"", 10, "whole"},
      {"bytes", 10, "whole"},
      {"bytes=", 10, "whole"},
      {"bytes=,", 10, "whole"},
      {"bytes= , ,", 10, "whole"},
      {"bytes=-", 10, "whole"},
      {"bytes=--1", 10, "whole"},
      {"bytes=0--1", 10, "whole"},
      {"bytes=0-1-2", 10, "whole"},
      {"bytes=5-4", 10, "whole"},
      {"bytes=20-19", 10, "whole"},
      {"bytes=0-1,5-4", 10, "whole"},
      {"bytes=5-4,20-", 10, "whole"},
      {"bytes=0 -1", 10, "whole"},
      {"bytes=0- 1", 10, "whole"},
      {"bytes=- 1", 10, "whole"},
      {"bytes=+0-1", 10, "whole"},
      {"bytes=0x0-1", 10, "whole"},
      {"bytes=a-b", 10, "whole"},
      {"bytes=0", 10, "whole"},
      {"bytes=0-1;2-3", 10, "whole"},
      {"bytes=0-1 2-3", 10, "whole"},
      {"bytes=0-1,x", 10, "whole"},
      {"bytes=x,0-1", 10, "whole"},
      {"bytes=\"0-1\"", 10, "whole"},
      {"bytes =0-1", 10, "whole"},
      {" bytes=0-1", 10, "whole"},
      {"byte=0-1", 10, "whole"},
      {"octets=0-1", 10, "whole"},
      {"bytes:0-1", 10, "whole"},
      {"bytes 0-1/10", 10, "whole"},
      {"none", 10, "whole"},
      {"=0-1", 10, "whole"},
  };
  check(kRows);
}

TEST("numbers beyond 64 bits lie behind the end") {
  constexpr Row kRows[] = {
      {"bytes=18446744073709551615-", 10, "416"},
      {"bytes=18446744073709551616-", 10, "416"},
      {"bytes=0-18446744073709551615", 10, "0-9"},
      {"bytes=0-18446744073709551616", 10, "0-9"},
      {"bytes=0-99999999999999999999999999999999", 10, "0-9"},
      {"bytes=-99999999999999999999999999999999", 10, "0-9"},
      {"bytes=99999999999999999999-99999999999999999998", 10, "416"},
      {"bytes=99999999999999999999-1", 10, "whole"},
      {"bytes=0-", UINT64_MAX, "0-18446744073709551614"},
      {"bytes=18446744073709551614-", UINT64_MAX, "18446744073709551614-18446744073709551614"},
      {"bytes=18446744073709551615-", UINT64_MAX, "416"},
      {"bytes=0-,0-", UINT64_MAX, "whole"},
      {"bytes=000000000000000000000000000000000001-2", 10, "1-2"},
  };
  check(kRows);
}

TEST("lists are sorted, joined where they overlap or touch, and rid of what lies outside") {
  constexpr Row kRows[] = {
      {"bytes=0-1,4-5", 10, "0-1 4-5"},   {"bytes=4-5,0-1", 10, "0-1 4-5"},
      {"bytes=0-1 , 4-5", 10, "0-1 4-5"}, {"bytes=,0-1,,\t4-5,", 10, "0-1 4-5"},
      {"bytes=0-1,2-3", 10, "0-3"},       {"bytes=0-1,3-4", 10, "0-1 3-4"},
      {"bytes=2-3,0-1", 10, "0-3"},       {"bytes=0-4,2-5", 10, "0-5"},
      {"bytes=0-4,1-2", 10, "0-4"},       {"bytes=1-2,1-2", 10, "1-2"},
      {"bytes=0-0,2-2,1-1", 10, "0-2"},   {"bytes=0-0,-1", 10, "0-0 9-9"},
      {"bytes=0-0,20-", 10, "0-0"},       {"bytes=20-,30-40", 10, "416"},
      {"bytes=20-,-0", 10, "416"},        {"bytes=-0,0-0", 10, "0-0"},
      {"bytes=0-4,5-9", 10, "0-9"},       {"bytes=0-4,-5", 10, "0-9"},
  };
  check(kRows);
}

TEST("ranges that together ask for more than the file are ignored") {
  constexpr Row kRows[] = {
      {"bytes=0-4,0-4", 10, "0-4"},    {"bytes=0-4,0-5", 10, "whole"},
      {"bytes=0-,0-0", 10, "whole"},   {"bytes=-1,0-", 10, "whole"},
      {"bytes=0-8,9-", 10, "0-9"},     {"bytes=0-8,8-", 10, "whole"},
      {"bytes=0-,0-,0-", 10, "whole"},
  };
  check(kRows);
}

TEST("an empty file has no ranges: every Range is ignored") {
  constexpr Row kRows[] = {
      {"bytes=0-", 0, "whole"}, {"bytes=0-0", 0, "whole"}, {"bytes=-1", 0, "whole"},
      {"bytes=-0", 0, "whole"}, {"bytes=5-", 0, "whole"},  {"x", 0, "whole"},
  };
  check(kRows);
}

// `count` single bytes, `step` apart.
std::string bytes_apart(size_t count, size_t step) {
  std::string field = "bytes=";
  for (size_t i = 0; i < count; i++) {
    if (i > 0) field += ',';
    field += std::to_string(i * step) + "-" + std::to_string(i * step);
  }
  return field;
}

TEST("16 ranges are sent, 17 are not") {
  RangeSet set;
  EXPECT(parse_ranges(bytes_apart(kRangesMax - 1, 2), 1000, set) == RangeVerdict::Partial);
  EXPECT(set.count == kRangesMax - 1);
  EXPECT(parse_ranges(bytes_apart(kRangesMax, 2), 1000, set) == RangeVerdict::Partial);
  EXPECT(set.count == kRangesMax);
  EXPECT(parse_ranges(bytes_apart(kRangesMax + 1, 2), 1000, set) == RangeVerdict::Whole);
  EXPECT(set.count == 0);
  EXPECT(parse_ranges(bytes_apart(kRangesMax, 2) + ",1000-,31-31", 1000, set) ==
         RangeVerdict::Partial);
}

TEST("64 members are read, 65 are not") {
  EXPECT(parsed(bytes_apart(kRangeMembersMax - 1, 1), 1000) == "0-62");
  EXPECT(parsed(bytes_apart(kRangeMembersMax, 1), 1000) == "0-63");
  EXPECT(parsed(bytes_apart(kRangeMembersMax + 1, 1), 1000) == "whole");
  EXPECT(parsed(bytes_apart(kRangeMembersMax, 1) + ",,, ,", 1000) == "0-63");
  EXPECT(parsed(bytes_apart(kRangeMembersMax, 1) + ",5000-", 1000) == "whole");
}

TEST("a thousand overlapping ranges, as in CVE-2011-3192, are one answer with the whole file") {
  std::string field = "bytes=0-";
  for (int i = 0; i < 1300; i++) field += ",5-" + std::to_string(i);
  EXPECT(parsed(field, 100000) == "whole");
}

// What a list asks for, told from how it was made and not from its text.
struct Asked {
  std::string field = "bytes=";
  std::vector<bool> wanted;
  uint64_t bytes = 0;
  size_t members = 0;

  void add(uint64_t first, uint64_t end) {  // end exclusive, may lie outside
    for (uint64_t i = first; i < end && i < wanted.size(); i++) {
      wanted[i] = true;
      bytes++;
    }
  }
  [[nodiscard]] std::string result() const {
    if (members == 0 || wanted.empty() || members > kRangeMembersMax || bytes > wanted.size()) {
      return "whole";
    }
    std::string text;
    size_t runs = 0;
    for (size_t i = 0; i < wanted.size(); i++) {
      if (!wanted[i] || (i > 0 && wanted[i - 1])) continue;
      size_t last = i;
      while (last + 1 < wanted.size() && wanted[last + 1]) last++;
      if (runs++ > 0) text += ' ';
      text += std::to_string(i) + "-" + std::to_string(last);
    }
    if (runs == 0) return "416";
    return runs > kRangesMax ? "whole" : text;
  }
};

TEST("random lists give what a bitmap gives") {
  std::mt19937 dice(20261121);
  const auto below = [&dice](uint32_t bound) { return static_cast<uint32_t>(dice() % bound); };
  size_t seen[3] = {};  // whole, 416, ranges
  for (int round = 0; round < 60000; round++) {
    Asked asked;
    const uint32_t size = below(3) == 0 ? below(8) : below(120);
    asked.wanted.resize(size);
    const uint32_t longest = 1 + below(size + 3);
    for (uint32_t count = below(below(8) == 0 ? 70 : 6); count > 0; count--) {
      asked.members++;
      asked.field += std::string(below(3), ' ');
      const uint32_t first = below(size + 4);
      switch (below(5)) {
        case 0:
          asked.field += std::to_string(first) + "-";
          asked.add(first, size);
          break;
        case 1: {
          const uint32_t suffix = below(longest);
          asked.field += "-" + std::to_string(suffix);
          asked.add(suffix > size ? 0 : size - suffix, size);
          break;
        }
        default: {
          const uint32_t last = first + below(longest) / (1 + below(8));
          asked.field += std::to_string(first) + "-" + std::to_string(last);
          asked.add(first, last + 1);
          break;
        }
      }
      asked.field += below(3) == 0 ? ", ," : ",";
    }
    const std::string result = asked.result();
    seen[result == "whole" ? 0 : result == "416" ? 1 : 2]++;
    millrace::test::context = asked.field + " of " + std::to_string(size);
    if (!EXPECT(parsed(asked.field, size) == result)) return;
  }
  EXPECT(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 1000);
}

}  // namespace
