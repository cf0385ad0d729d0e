// What the tests by subject and the corpora do not run, as coverage names it: rare, and reachable.
#include <string>

#include "core/proto/protocols.h"
#include "core/route/router.h"
#include "test/fake_sink.h"
#include "test/harness.h"

namespace millrace {
namespace {

using test::FakeSink;

constexpr Bytes kRequest = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

RouteRow handler_row(const char* method, std::string pattern) {
  RouteRow row;
  row.method = method;
  row.pattern = std::move(pattern);
  row.route.kind = RouteKind::Handler;
  return row;
}

std::string answer_of(const std::string& headers, const std::string& body) {
  return "Date: *\r\n" + headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

TEST("a peer that is always one request ahead is answered in order, however long it goes on") {
  const Limits limits;
  Router router;
  EXPECT(router.add(handler_row("GET", "/a")).empty());
  router.seal();
  FakeSink sink(limits, router);
  std::string expected;
  sink.feed(kRequest);
  for (size_t i = 0; i < 1000; i++) {
    sink.feed(kRequest);
    if (!EXPECT(sink.events.size() == i + 2)) return;
    const std::string body = std::to_string(i);
    sink.answer(sink.events[i].exchange, {.body = body});
    expected += "HTTP/1.1 200 OK\r\n" + answer_of("", body);
    EXPECT(sink.open_exchanges() == 1);
  }
  EXPECT(sink.written == expected);
}

TEST("a 405 that JavaScript answers carries the Allow line of its path") {
  const Limits limits;
  Router router;
  EXPECT(router.add(handler_row("GET", "/a")).empty());
  Route refused;
  refused.kind = RouteKind::Handler;
  router.set_method_not_allowed(refused);
  router.seal();
  FakeSink sink(limits, router);
  sink.feed("DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n");
  if (!EXPECT(sink.events.size() == 1)) return;
  const test::CommandText text{.status = 405, .header_lines = "X-Own: 1\r\n", .body = "no"};
  sink.answer(sink.events[0].exchange, text);
  EXPECT(sink.written.find("X-Own: 1\r\nAllow: GET, HEAD, OPTIONS\r\n") != std::string::npos);
}

TEST("a router takes patterns with several ** up to a bound and refuses the next in a sentence") {
  Router router;
  std::string problem;
  size_t taken = 0;
  for (; problem.empty() && taken < 10'000; taken++) {
    problem = router.add(handler_row("GET", "/p" + std::to_string(taken) + "/**/a/**/b"));
  }
  EXPECT(problem.find("beyond what one router takes") != std::string::npos);
  EXPECT(taken > 1000);
  EXPECT(router.add(handler_row("GET", "/one/**")).empty());
}

TEST("a protocol has a session, and an unknown name has none") {
  EXPECT(find_protocol("http") != nullptr);
  EXPECT(find_protocol("gopher") == nullptr);
  EXPECT(find_protocol("") == nullptr);
}

}  // namespace
}  // namespace millrace
