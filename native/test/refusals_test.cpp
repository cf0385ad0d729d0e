// What the application has given in place of the words that a session refuses with: head and body
// are its own, status, framing and the end of the connection are not.
#include <string>
#include <vector>

#include "test/fake_sink.h"
#include "test/harness.h"
#include "test/scgi_rig.h"

namespace millrace::test {
namespace {

constexpr Bytes kOwnLines = "Content-Type: application/json\r\n";
constexpr Bytes kOwnBody = "{\"error\":1}";
const std::string kOwnHead = "Date: *\r\n" + std::string(kOwnLines) + "Content-Length: 11\r\n";

Refusal own(ErrorCode code) {
  Refusal refusal;
  refusal.code = code;
  refusal.answer.kind = RouteKind::Static;
  refusal.answer.status = error_code_status(code);
  refusal.answer.headers = kOwnLines;
  refusal.answer.content = kOwnBody;
  return refusal;
}

struct HttpRig {
  Limits limits;
  FakeSink sink;

  explicit HttpRig(ErrorCode code, const Route& route = handler_route(), const Limits& wanted = {})
      : limits(wanted), sink(limits, router_of(route)) {
    sink.own_refusals.push_back(own(code));
  }
};

TEST("a request that is refused is answered in the words that were given for the error") {
  HttpRig rig(ErrorCode::BodyTooLarge);
  rig.sink.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n");
  EXPECT(rig.sink.written == "HTTP/1.1 413 Content Too Large\r\n" + kOwnHead +
                                 "Connection: close\r\n\r\n" + std::string(kOwnBody));
  EXPECT(rig.sink.refusals == std::vector{ErrorCode::BodyTooLarge} && !rig.sink.is_open());
}

TEST("another error keeps its own words") {
  HttpRig rig(ErrorCode::BodyTooLarge);
  rig.sink.feed("nonsense\r\n\r\n");
  EXPECT(rig.sink.written.find("\r\n\r\nERR_MILLRACE_BAD_REQUEST_LINE: ") != std::string::npos);
}

TEST("a HEAD that is refused gets the head only") {
  HttpRig rig(ErrorCode::BadHost);
  rig.sink.feed("HEAD / HTTP/1.1\r\n\r\n");
  EXPECT(rig.sink.written ==
         "HTTP/1.1 400 Bad Request\r\n" + kOwnHead + "Connection: close\r\n\r\n");
}

TEST("a client of HTTP/1.0 is refused alike") {
  HttpRig rig(ErrorCode::BadContentLength);
  rig.sink.feed("POST / HTTP/1.0\r\nContent-Length: x\r\n\r\n");
  EXPECT(rig.sink.written.starts_with("HTTP/1.1 400 Bad Request\r\n" + kOwnHead));
}

TEST("a refusal behind requests that are not answered yet waits for its turn") {
  HttpRig rig(ErrorCode::BadRequestLine);
  rig.sink.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n");
  EXPECT(rig.sink.written.empty() && rig.sink.events.size() == 1);
  rig.sink.answer(rig.sink.events[0].exchange, {.body = "ok"});
  EXPECT(rig.sink.written.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT(rig.sink.written.ends_with("\r\n\r\n" + std::string(kOwnBody)));
}

TEST("426 says what to upgrade to, whatever was given") {
  Route route = handler_route();
  route.is_socket = true;
  HttpRig rig(ErrorCode::WsRequired, route);
  rig.sink.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT(rig.sink.written.starts_with(
      "HTTP/1.1 426 Upgrade Required\r\nDate: *\r\n" + std::string(kOwnLines) +
      "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"));
  EXPECT(rig.sink.written.ends_with(kOwnBody));
}

TEST("a handler that is late, and a handshake while the server stops, are answered so too") {
  Limits limits;
  limits.handler_timeout = 1000;
  HttpRig late(ErrorCode::HandlerTimeout, handler_route(), limits);
  late.sink.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  late.sink.advance(1000);
  EXPECT(late.sink.written.starts_with("HTTP/1.1 503 Service Unavailable\r\n" + kOwnHead));
  EXPECT(late.sink.cause() == CloseCause::TimedOut);

  Route route = handler_route();
  route.is_socket = true;
  HttpRig stopping(ErrorCode::Unavailable, route);
  stopping.sink.start_draining();
  stopping.sink.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT(stopping.sink.written.starts_with("HTTP/1.1 503 Service Unavailable\r\n" + kOwnHead));
}

TEST("a request that is shed is answered so, at its head and behind its body") {
  HttpRig rig(ErrorCode::Overloaded);
  rig.sink.overloaded = true;
  rig.sink.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string answer =
      "HTTP/1.1 503 Service Unavailable\r\n" + kOwnHead + "\r\n" + std::string(kOwnBody);
  EXPECT(rig.sink.written == answer && rig.sink.is_open());
  rig.sink.overloaded = false;
  rig.sink.feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab");
  rig.sink.overloaded = true;
  rig.sink.feed("c");
  EXPECT(rig.sink.written == answer + answer && rig.sink.is_open());
}

TEST("a gateway is answered in CGI's form") {
  ScgiRig rig;
  rig.sink.own_refusals.push_back(own(ErrorCode::BadScgi));
  rig.sink.feed("3:abc,");
  EXPECT(rig.sink.written == "Status: 400 Bad Request\r\n" + std::string(kOwnLines) +
                                 "Content-Length: 11\r\n\r\n" + std::string(kOwnBody));
}

}  // namespace
}  // namespace millrace::test
