// IP addresses as bytes and as text, without the system: forms read strictly (RFC 4291 2.2), texts
// written as inet_ntop writes them, so that an Address looks the same wherever it comes from.
#pragma once

#include <array>
#include <cstdint>

#include "core/base/bytes.h"
#include "core/model/address.h"

namespace millrace::proxy {

using Ipv4Bytes = std::array<uint8_t, 4>;
using Ipv6Bytes = std::array<uint8_t, 16>;

// Four decimal numbers without leading zeros.
[[nodiscard]] bool read_ipv4(Bytes text, Ipv4Bytes& out);
// Groups of one to four hexadecimal digits, one "::" at most, maybe an IPv4 address in the last
// two; no zone.
[[nodiscard]] bool read_ipv6(Bytes text, Ipv6Bytes& out);

[[nodiscard]] Address address_of(const Ipv4Bytes& bytes, uint16_t port);
// One that is mapped (::ffff:0:0/96) is the IPv4 address that it stands for.
[[nodiscard]] Address address_of(const Ipv6Bytes& bytes, uint16_t port);

}  // namespace millrace::proxy
