// How a Connected event tells of a PROXY header: the one place that knows the layout of its body.
// Bytes: version, 1 when it is LOCAL, lengths of the destination's and of the proxy's own address
// text; ports of the two (16 bits each, little-endian); the two texts; the TLVs as they were sent.
#pragma once

#include <string>

#include "core/model/proxy.h"

namespace millrace {

constexpr size_t kProxyBodyFixed = 8;

// `own`: the address that the connection really came from.
[[nodiscard]] inline std::string proxy_body(const ProxyHeader& header, const Address& own) {
  auto byte = [](unsigned value) { return static_cast<char>(value & 0xff); };
  const Address& destination = header.destination;
  std::string body = {byte(header.version),     byte(header.is_local ? 1 : 0),
                      byte(destination.length), byte(own.length),
                      byte(destination.port),   byte(destination.port >> 8u),
                      byte(own.port),           byte(own.port >> 8u)};
  body.append(destination.view()).append(own.view()).append(header.tlvs);
  return body;
}

}  // namespace millrace
