// Address of a peer or a listener, as text made once per connection.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/base/bytes.h"

namespace millrace {

enum class Family : uint8_t { Unix, IPv4, IPv6 };

struct Address {
  Family family = Family::Unix;
  uint16_t port = 0;
  uint8_t length = 0;
  char text[46] = {};  // INET6_ADDRSTRLEN; empty for a unix peer

  [[nodiscard]] Bytes view() const { return Bytes(text, length); }
};

}  // namespace millrace
