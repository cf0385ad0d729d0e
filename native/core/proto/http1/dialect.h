// Dialect: requests of HTTP in other words than HTTP's own, one per connection, answered in CGI's
// form (RFC 3875 6): what the session of HTTP/1 asks in place of its parser.
#pragma once

#include "core/base/bytes.h"
#include "core/model/error.h"
#include "core/model/head.h"
#include "core/model/limits.h"
#include "core/proto/http1/rules.h"

namespace millrace::http1 {

class Dialect {
 public:
  virtual ~Dialect() = default;
  // By the contract of parse_request_head(). What `head` shows lives until the next call, as long
  // as the input does; `fields` has room for header_count_max.
  [[nodiscard]] virtual int parse(Bytes input, const Limits& limits, RequestHead& head,
                                  HeaderField* fields, ErrorCode& error) = 0;
  // Of the head parsed last, in place of apply_rules().
  [[nodiscard]] virtual ErrorCode judge(RequestRules& rules) const = 0;
  // Of the head parsed last: "name\0value\0" each, as the event has them. Lives as long.
  [[nodiscard]] virtual Bytes variables() const = 0;
  // Of the head parsed last: as the gateway says it, or empty. Lives as long.
  [[nodiscard]] virtual Bytes client_address() const = 0;
};

}  // namespace millrace::http1
