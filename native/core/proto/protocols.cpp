#include "core/proto/protocols.h"

#include "core/proto/http1/session.h"
#include "core/proto/upgrade.h"
#include "core/proto/ws/handshake.h"
#include "core/proto/ws/upgrade.h"

namespace millrace {
namespace {

struct Row {
  Bytes name;
  ProtocolMaker make;
};

constexpr Row kRows[] = {
    {"http", &http1::make_session},
};

}  // namespace

ProtocolMaker find_protocol(Bytes name, ProxyMode) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.make;
  }
  return nullptr;
}

std::unique_ptr<Upgrade> find_upgrade(const RequestHead& head, ErrorCode& error) {
  if (ws::asks_for_websocket(head)) return ws::read_upgrade(head, error);
  error = ErrorCode::WsRequired;
  return nullptr;
}

}  // namespace millrace
