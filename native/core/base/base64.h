// Base64 (RFC 4648 section 4): encodes, and judges what others have encoded.
#pragma once

#include <cstddef>

#include "core/base/bytes.h"

namespace millrace {

[[nodiscard]] constexpr size_t base64_size(size_t size) { return (size + 2) / 3 * 4; }
// Writes base64_size(bytes.size()) characters, padded.
void write_base64(Bytes bytes, char* out);

// True for whole groups of the alphabet, the last one padded where it must be; `size` gets the
// bytes that they stand for. Bits that padding leaves over may be anything (RFC 4648 3.5 lets
// decoders choose).
[[nodiscard]] bool is_base64(Bytes text, size_t& size);

}  // namespace millrace
