// What the header fields of one request mean for framing and persistence (RFC 9112 6, 9.3; RFC
// 9110 7.2, 10.1.1). Pure; the head has been parsed already.
#pragma once

#include <cstdint>

#include "core/model/error.h"
#include "core/model/head.h"
#include "core/model/limits.h"
#include "core/model/route.h"

namespace millrace::http1 {

struct RequestRules {
  bool has_length = false;  // Content-Length is there
  bool chunked = false;
  uint64_t length = 0;           // of the body, when has_length
  bool close = false;            // the connection ends with this exchange
  bool says_keep_alive = false;  // an HTTP/1.0 client asked for persistence
  bool expects_continue = false;
  bool has_upgrade = false;  // an Upgrade field is there
};

// None, or why the request is refused.
[[nodiscard]] ErrorCode apply_rules(const RequestHead& head, RequestRules& rules);
// The limit that holds for a body on that route. An event counts the bytes of a body in 32 bits;
// one that is called early holds none.
[[nodiscard]] uint64_t body_bytes_max(const Route& route, const Limits& limits);
// RFC 9110 7.2, RFC 3986 3.2: host [":" port]; empty is allowed.
[[nodiscard]] bool is_valid_host(Bytes value);
// Fields that may not stand in a trailer section because framing, routing or control depend on
// them; RFC 9110 6.5.1.
[[nodiscard]] bool is_forbidden_trailer(Bytes name);

}  // namespace millrace::http1
