// ProxySession: what a connection is until its header of the PROXY protocol is read; then it
// becomes the session of its protocol. Owned by: loop thread.
#pragma once

#include <memory>

#include "core/proto/session.h"

namespace millrace::proxy {

// `mode`: Accept or Require. With Accept, first bytes that cannot begin a header are those of
// `inner`, untouched; and whoever reaches the listener can claim to be any client: it must not be
// reachable but for proxies.
[[nodiscard]] std::unique_ptr<Session> make_session(ProxyMode mode, std::unique_ptr<Session> inner);

}  // namespace millrace::proxy
