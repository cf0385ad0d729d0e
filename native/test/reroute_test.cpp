// Another router for a loop that runs: what it matches, and what the former one has matched.
#include <string>

#include "test/loop_rig.h"

namespace millrace::test {
namespace {

Router& static_router(Router& router, const char* pattern, std::string content) {
  RouteRow row{"GET", pattern, {}};
  row.route.kind = RouteKind::Static;
  row.route.content = std::move(content);
  EXPECT(router.add(std::move(row)).empty());
  router.seal();
  return router;
}

void reroute(Rig& rig, const Router& router) {
  Command command;
  command.kind = static_cast<uint16_t>(CommandKind::Reroute);
  command.blob = reinterpret_cast<uintptr_t>(&router);
  EXPECT(put_command(rig.lane(), command));
  rig.turn();
  EXPECT(rig.take_one().kind == EventKind::Rerouted);
}

TEST("a loop matches by the router that it was given last") {
  Router router;  // outlives the loop
  Rig rig;
  SimPeer peer = rig.connect(get("/static"));
  EXPECT(rig.sim().read(peer).ends_with("fixed"));
  reroute(rig, static_router(router, "/static", "other"));
  rig.sim().write(peer, get("/static"));
  rig.turn();
  EXPECT(rig.sim().read(peer).ends_with("other"));
  rig.sim().write(peer, get("/ready"));
  rig.turn();
  EXPECT(rig.sim().read(peer).starts_with("HTTP/1.1 404"));
}

TEST("a request whose body was coming goes to the route that matched its head") {
  Router router;
  Rig rig;
  SimPeer peer = rig.connect("POST /before HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo");
  EXPECT(rig.take().empty());
  reroute(rig, static_router(router, "/before", "after"));
  rig.sim().write(peer, "dy");
  rig.turn();
  Taken taken = rig.take_one();
  EXPECT(taken.kind == EventKind::Request);
  EXPECT(taken.target == "/before" && taken.body == "body");
  EXPECT(put_response(rig.lane(), taken.id, "answered"));
  rig.turn();
  EXPECT(rig.sim().read(peer).ends_with("answered"));
}

}  // namespace
}  // namespace millrace::test
