// The client's opening handshake (RFC 6455 4.1): sends the request it was given, judges the answer,
// and makes room for a WsSession. Owned by: loop thread.
#pragma once

#include <memory>
#include <string>

#include "core/proto/session.h"

namespace millrace::ws {

struct ClientOptions {
  ExchangeId id;
  uint32_t ticket = 0;  // what JavaScript calls the attempt
  const SocketSettings& settings;
  std::string key;
  std::string request;
  Milliseconds deadline = kNever;  // of connection and handshake together
};

[[nodiscard]] std::unique_ptr<Session> make_client(ClientOptions options);

}  // namespace millrace::ws
