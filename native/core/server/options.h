// ServerOptions: everything a server is started with. Plain values, validated by whoever fills them
// in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/model/limits.h"
#include "core/model/observation.h"
#include "core/model/proxy.h"
#include "core/model/refusal.h"
#include "core/model/socket.h"
#include "core/poll/listen.h"
#include "core/route/router.h"

namespace millrace {

struct ListenerOptions {
  ListenRequest request;
  std::string protocol = "http";  // a name of protocols.h
  ProxyMode proxy = ProxyMode::Off;
};

// What requests are matched by.
struct RouteTable {
  std::vector<RouteRow> rows;
  std::optional<Route> fallback;
  std::optional<Route> method_not_allowed;
};

struct ServerOptions {
  uint32_t loops = 1;  // threads; with `is_inline` the one loop is run by the caller
  bool is_inline = false;
  const void* owner =
      nullptr;  // who may not listen twice on one address; others of this process share it
  Limits limits;
  std::vector<ListenerOptions> listeners;
  RouteTable routes;
  std::vector<Refusal> refusals;
  std::vector<SocketSettings> sockets;  // by the number that Upgrade and Connect commands name
  Observation observation;
  std::string topic_space;  // servers with the same one share their topics
};

}  // namespace millrace
