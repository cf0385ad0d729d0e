// CRC-32C (Castagnoli), as RFC 3720 B.4 and the PROXY protocol have it. Scalar: what it is asked
// about is short and rare.
#pragma once

#include <cstdint>

#include "core/base/bytes.h"

namespace millrace {

// Of all bytes so far, given that of those before: 0 to begin with.
[[nodiscard]] uint32_t crc32c(Bytes bytes, uint32_t before = 0);

}  // namespace millrace
