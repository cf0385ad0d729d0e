// RequestHead: what a head parser found, as views into the bytes it was given. Shared by HTTP and
// SCGI.
#pragma once

#include <cstdint>

#include "core/base/bytes.h"

namespace millrace {

struct HeaderField {
  Bytes name;   // as sent
  Bytes value;  // without the white space around it
};

// Known methods have a number so that neither JavaScript nor the router compares strings.
enum class Method : uint8_t { Other, Get, Head, Post, Put, Delete, Patch, Options, Connect, Trace };

[[nodiscard]] Method method_of(Bytes name);  // exact, case-sensitive; RFC 9110 9.1

struct RequestHead {
  Bytes method;
  Bytes target;               // as sent: origin, absolute, authority or asterisk form
  uint8_t minor_version = 1;  // HTTP/1.x
  const HeaderField* headers = nullptr;
  uint32_t header_count = 0;
};

}  // namespace millrace
