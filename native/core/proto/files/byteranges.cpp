#include "core/proto/files/byteranges.h"

namespace millrace::files {
namespace {

constexpr Bytes kLineEnd = "\r\n";
constexpr Bytes kDashes = "--";
constexpr Bytes kContentType = "Content-Type: ";
constexpr Bytes kContentRange = "Content-Range: bytes ";

Bytes text_of(const Boundary& boundary) { return Bytes(boundary.data(), boundary.size()); }

void append_number(uint64_t value, std::string& out) {
  char digits[20];
  out.append(digits, write_decimal(value, digits));
}

size_t digit_count(uint64_t value) {
  char digits[20];
  return write_decimal(value, digits);
}

size_t content_range_line_size(const ByteRange& range, uint64_t size) {
  return kContentRange.size() + digit_count(range.first) + 1 + digit_count(range.last) + 1 +
         digit_count(size) + kLineEnd.size();
}

}  // namespace

Boundary make_boundary(uint64_t high, uint64_t low) {
  Boundary boundary;
  for (size_t i = 0; i < kBoundaryBytes; i++) {
    const uint64_t half = i < 16 ? high : low;
    boundary[i] = "0123456789abcdef"[(half >> (60 - 4 * (i % 16))) & 15];
  }
  return boundary;
}

void append_content_range_line(const ByteRange& range, uint64_t size, std::string& out) {
  out.append(kContentRange);
  append_number(range.first, out);
  out.append("-");
  append_number(range.last, out);
  out.append("/");
  append_number(size, out);
  out.append(kLineEnd);
}

void append_unsatisfied_range_line(uint64_t size, std::string& out) {
  out.append(kContentRange).append("*/");
  append_number(size, out);
  out.append(kLineEnd);
}

void append_multipart_type_line(const Boundary& boundary, std::string& out) {
  out.append("Content-Type: multipart/byteranges; boundary=");
  out.append(text_of(boundary)).append(kLineEnd);
}

void Byteranges::append_part_head(size_t index, std::string& out) const {
  if (index > 0) out.append(kLineEnd);  // belongs to the delimiter, RFC 2046 5.1.1
  out.append(kDashes).append(text_of(boundary)).append(kLineEnd);
  out.append(kContentType).append(content_type).append(kLineEnd);
  append_content_range_line(ranges.ranges[index], size, out);
  out.append(kLineEnd);
}

void Byteranges::append_end(std::string& out) const {
  out.append(kLineEnd).append(kDashes).append(text_of(boundary));
  out.append(kDashes).append(kLineEnd);
}

uint64_t Byteranges::content_length() const {
  const size_t delimiter = kDashes.size() + kBoundaryBytes + kLineEnd.size();
  uint64_t total = 0;
  for (const ByteRange& range : ranges.span()) {
    total += delimiter + kContentType.size() + content_type.size() + kLineEnd.size() +
             content_range_line_size(range, size) + kLineEnd.size();
    total += range.length() + kLineEnd.size();  // the next delimiter's
  }
  return total + delimiter + kDashes.size();
}

}  // namespace millrace::files
