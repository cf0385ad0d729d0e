// What the tests of SCGI share: requests as a gateway sends them, and a connection that gets them.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "core/proto/scgi/session.h"
#include "test/fake_sink.h"
#include "test/harness.h"

namespace millrace::test {

using Variables = std::initializer_list<std::pair<Bytes, Bytes>>;

inline std::string block_of(Variables variables) {
  std::string block;
  for (const auto& [name, value] : variables) {
    block.append(name).append(1, '\0').append(value).append(1, '\0');
  }
  return block;
}

inline std::string netstring(const std::string& block) {
  return std::to_string(block.size()) + ":" + block + ",";
}

// With what every request has, then `more`, then the body.
inline std::string scgi_request(Variables more, const std::string& body = "") {
  const std::string length = std::to_string(body.size());
  return netstring(block_of({{"CONTENT_LENGTH", length}, {"SCGI", "1"}}) + block_of(more)) + body;
}

inline const Router& router_of(Route everything) {
  static std::vector<std::unique_ptr<Router>> kept;
  kept.push_back(std::make_unique<Router>());
  kept.back()->set_fallback(std::move(everything));
  kept.back()->seal();
  return *kept.back();
}

inline Route handler_route(BodyMode body = BodyMode::Buffer) {
  Route route;
  route.kind = RouteKind::Handler;
  route.body = body;
  return route;
}

// One connection; a handler that takes everything, unless another route does.
struct ScgiRig {
  Limits limits;
  FakeSink sink;

  explicit ScgiRig(const Limits& wanted = {}, const Route& route = handler_route())
      : limits(wanted), sink(limits, router_of(route), scgi::make_session()) {}

  // The one request that has come; an empty one with a failure where there is none.
  [[nodiscard]] SeenEvent request() {
    for (const SeenEvent& event : sink.events) {
      if (event.kind == EventKind::Request) return event;
    }
    const bool has_come = false;
    EXPECT(has_come);
    return {};
  }
  void answer(CommandText text) { sink.answer(request().exchange, text); }
};

}  // namespace millrace::test
