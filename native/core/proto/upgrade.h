// Upgrade: how an HTTP connection goes on with another protocol (RFC 9110 7.8). The HTTP session
// keeps it with the request and knows nothing else of that protocol.
#pragma once

#include <memory>
#include <string>

#include "core/model/error.h"
#include "core/model/head.h"
#include "core/model/socket.h"
#include "core/proto/session.h"

namespace millrace {

class Upgrade {
 public:
  virtual ~Upgrade() = default;
  // What takes over behind the 101, whose header lines are appended to `lines`. `settings` live as
  // long as the loops.
  [[nodiscard]] virtual std::unique_ptr<Session> accept(ExchangeId id,
                                                        const SocketSettings& settings,
                                                        std::string& lines) = 0;
};

// Null when the head does not ask for a protocol of ours (WsRequired), or does so badly.
[[nodiscard]] std::unique_ptr<Upgrade> find_upgrade(const RequestHead& head, ErrorCode& error);

}  // namespace millrace
