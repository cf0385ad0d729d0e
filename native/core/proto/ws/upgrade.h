// What a server keeps of a WebSocket handshake until JavaScript has accepted it.
#pragma once

#include <memory>

#include "core/proto/upgrade.h"

namespace millrace::ws {

// Null, with the error that the request is refused with, when the handshake is not valid.
[[nodiscard]] std::unique_ptr<Upgrade> read_upgrade(const RequestHead& head, ErrorCode& error);

}  // namespace millrace::ws
