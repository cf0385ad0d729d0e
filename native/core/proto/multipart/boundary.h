// The boundary of a multipart/form-data body, from its Content-Type (RFC 2046 5.1.1, RFC 7578 4.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"
#include "core/model/error.h"

namespace millrace {

struct MultipartBoundary {
  static constexpr size_t kLengthMax = 70;  // RFC 2046 5.1.1

  std::array<char, kLengthMax> bytes{};
  uint8_t length = 0;

  [[nodiscard]] Bytes text() const { return {bytes.data(), length}; }
};

// 1 to 70 bytes of RFC 2046's bchars or of RFC 9110's tchar, which clients use too, and not ending
// in a space.
[[nodiscard]] bool is_multipart_boundary(Bytes text);

// UnsupportedMediaType when the value is not of multipart/form-data; BadMultipart when its boundary
// is missing, repeated or not one.
[[nodiscard]] ErrorCode parse_multipart_boundary(Bytes content_type, MultipartBoundary& boundary);

}  // namespace millrace
