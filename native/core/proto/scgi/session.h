// SCGI session: one request per connection, in a gateway's variables; else the session of HTTP/1.
#pragma once

#include <memory>

#include "core/proto/session.h"

namespace millrace::scgi {

[[nodiscard]] std::unique_ptr<Session> make_session();

}  // namespace millrace::scgi
