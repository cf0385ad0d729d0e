#include "core/proto/protocols.h"

#include "core/proto/http1/session.h"
#include "core/proto/proxy/session.h"
#include "core/proto/scgi/session.h"
#include "core/proto/upgrade.h"
#include "core/proto/ws/handshake.h"
#include "core/proto/ws/upgrade.h"

namespace millrace {
namespace {

template <ProtocolMaker make, ProxyMode mode>
std::unique_ptr<Session> make_behind_proxy() {
  return proxy::make_session(mode, make());
}

struct Row {
  Bytes name;
  ProtocolMaker makers[3];  // by ProxyMode
};

template <ProtocolMaker make>
constexpr Row row(Bytes name) {
  return {name,
          {make, &make_behind_proxy<make, ProxyMode::Accept>,
           &make_behind_proxy<make, ProxyMode::Require>}};
}

constexpr Row kRows[] = {
    row<&http1::make_session>("http"),
    row<&scgi::make_session>("scgi"),
};

}  // namespace

ProtocolMaker find_protocol(Bytes name, ProxyMode proxy) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.makers[static_cast<size_t>(proxy)];
  }
  return nullptr;
}

std::unique_ptr<Upgrade> find_upgrade(const RequestHead& head, ErrorCode& error) {
  if (ws::asks_for_websocket(head)) return ws::read_upgrade(head, error);
  error = ErrorCode::WsRequired;
  return nullptr;
}

}  // namespace millrace
