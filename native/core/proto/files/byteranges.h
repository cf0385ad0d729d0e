// The text around ranges: Content-Range, and the parts of multipart/byteranges with their exact
// length. RFC 9110 14.4, 14.6. Does not move the file's bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/base/bytes.h"
#include "core/proto/files/ranges.h"

namespace millrace::files {

constexpr size_t kBoundaryBytes = 32;
using Boundary = std::array<char, kBoundaryBytes>;

// From 128 random bits: nobody can put a boundary that he does not know into a file.
[[nodiscard]] Boundary make_boundary(uint64_t high, uint64_t low);

// "Content-Range: bytes 0-9/100\r\n", for a 206 of one range.
void append_content_range_line(const ByteRange& range, uint64_t size, std::string& out);
// "Content-Range: bytes */100\r\n", for a 416.
void append_unsatisfied_range_line(uint64_t size, std::string& out);
// "Content-Type: multipart/byteranges; boundary=…\r\n", for a 206 of more than one.
void append_multipart_type_line(const Boundary& boundary, std::string& out);

// A 206 of several ranges. The body is, for each range, its part head and its bytes of the file;
// then the end. The references outlive the object; sizes are those of files (below 2^63).
struct Byteranges {
  const RangeSet& ranges;
  uint64_t size = 0;   // of the whole representation
  Bytes content_type;  // of the parts
  const Boundary& boundary;

  void append_part_head(size_t index, std::string& out) const;
  void append_end(std::string& out) const;
  [[nodiscard]] uint64_t content_length() const;
};

}  // namespace millrace::files
