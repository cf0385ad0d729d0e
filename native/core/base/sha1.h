// SHA-1 (FIPS 180-4), which the WebSocket handshake asks for. Good for nothing that must resist an
// attacker.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"

namespace millrace {

constexpr size_t kSha1DigestSize = 20;

[[nodiscard]] std::array<uint8_t, kSha1DigestSize> sha1_of(Bytes bytes);

}  // namespace millrace
