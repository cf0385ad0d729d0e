// What a header of the PROXY protocol says about the connection that a proxy makes for a client.
#pragma once

#include <cstdint>
#include <string>

#include "core/model/address.h"

namespace millrace {

enum class ProxyMode : uint8_t {
  Off,      // bytes are the protocol's own
  Accept,   // a header may come first
  Require,  // a header must
};

struct ProxyHeader {
  uint8_t version = 0;    // 1 or 2; 0: there was none
  bool is_local = false;  // LOCAL, UNKNOWN or UNSPEC: no client, the addresses are the connection's
  Address source;
  Address destination;
  std::string tlvs;  // as sent, well-formed: type, length (16 bits, big-endian), value, and so on
};

}  // namespace millrace
