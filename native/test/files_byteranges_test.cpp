// multipart/byteranges byte for byte, and its length against what is written.
#include "core/proto/files/byteranges.h"

#include <random>
#include <string>

#include "test/harness.h"

namespace {

using namespace millrace::files;

const Boundary kBoundary = make_boundary(0x0123456789abcdef, 0xfedcba9876543210);

TEST("a boundary is the digits of 128 bits") {
  EXPECT(std::string(kBoundary.data(), kBoundary.size()) == "0123456789abcdeffedcba9876543210");
  const Boundary zero = make_boundary(0, 1);
  EXPECT(std::string(zero.data(), zero.size()) == "00000000000000000000000000000001");
}

TEST("Content-Range says what is sent, or only how much there is") {
  std::string out;
  append_content_range_line({0, 9}, 100, out);
  append_content_range_line({0, UINT64_MAX - 1}, UINT64_MAX, out);
  append_unsatisfied_range_line(0, out);
  append_unsatisfied_range_line(100, out);
  EXPECT(out ==
         "Content-Range: bytes 0-9/100\r\n"
         "Content-Range: bytes 0-18446744073709551614/18446744073709551615\r\n"
         "Content-Range: bytes */0\r\n"
         "Content-Range: bytes */100\r\n");
}

TEST("the type of a multipart answer carries the boundary") {
  std::string out;
  append_multipart_type_line(kBoundary, out);
  EXPECT(out ==
         "Content-Type: multipart/byteranges; boundary=0123456789abcdeffedcba9876543210\r\n");
}

std::string body_of(const Byteranges& parts, const std::string& file) {
  std::string body;
  for (size_t i = 0; i < parts.ranges.count; i++) {
    parts.append_part_head(i, body);
    const ByteRange& range = parts.ranges.ranges[i];
    body += file.substr(range.first, range.length());
  }
  parts.append_end(body);
  return body;
}

TEST("the parts of two ranges stand between delimiters") {
  const std::string file = "0123456789";
  RangeSet ranges;
  EXPECT(parse_ranges("bytes=0-1,-2", file.size(), ranges) == RangeVerdict::Partial);
  const Byteranges parts{ranges, file.size(), "text/plain", kBoundary};
  const std::string body = body_of(parts, file);
  EXPECT(body ==
         "--0123456789abcdeffedcba9876543210\r\n"
         "Content-Type: text/plain\r\n"
         "Content-Range: bytes 0-1/10\r\n"
         "\r\n"
         "01\r\n"
         "--0123456789abcdeffedcba9876543210\r\n"
         "Content-Type: text/plain\r\n"
         "Content-Range: bytes 8-9/10\r\n"
         "\r\n"
         "89\r\n"
         "--0123456789abcdeffedcba9876543210--\r\n");
  EXPECT(parts.content_length() == body.size());
}

TEST("the length is that of what is written, for any ranges") {
  std::mt19937_64 dice(7);
  for (int round = 0; round < 3000; round++) {
    RangeSet ranges;
    uint64_t wanted = 0;
    uint64_t at = 0;
    for (size_t count = 1 + dice() % kRangesMax; count > 0; count--) {
      const uint64_t first = at + (dice() >> (6 + dice() % 58));
      const uint64_t last = first + (dice() >> (6 + dice() % 58));
      ranges.ranges[ranges.count++] = {first, last};
      wanted += last - first + 1;
      at = last + 2;
    }
    const std::string type(dice() % 40, 't');
    const Byteranges parts{ranges, at, type, kBoundary};
    std::string text;
    for (size_t i = 0; i < ranges.count; i++) parts.append_part_head(i, text);
    parts.append_end(text);
    if (!EXPECT(parts.content_length() == text.size() + wanted)) return;
  }
}

}  // namespace
