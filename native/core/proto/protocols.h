// The table of protocols: name → how to make a session. A new protocol is a row here and a folder
// beside http1.
#pragma once

#include <memory>

#include "core/base/bytes.h"
#include "core/proto/session.h"

namespace millrace {

using ProtocolMaker = std::unique_ptr<Session> (*)();

// Null when no protocol has that name. `proxy`: whether a header of the PROXY protocol comes first.
[[nodiscard]] ProtocolMaker find_protocol(Bytes name, ProxyMode proxy = ProxyMode::Off);

}  // namespace millrace
