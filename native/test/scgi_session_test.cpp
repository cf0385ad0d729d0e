// SCGI's session: what variables become, what answers look like to a gateway, how it ends.
#include "core/model/request_event.h"
#include "test/scgi_rig.h"

namespace millrace::test {

namespace {

constexpr Bytes kTypeLine = "Content-Type: text/plain;charset=utf-8\r\n";

// The refusal that a request gets; None when it was handed over.
ErrorCode refusal_of(const std::string& request, const Limits& limits = {}) {
  ScgiRig rig(limits);
  rig.sink.feed(request);
  if (rig.sink.refusals.empty()) return ErrorCode::None;
  EXPECT(rig.sink.events.empty() && !rig.sink.is_open());
  const std::string code = std::to_string(error_code_status(rig.sink.refusals[0]));
  EXPECT(rig.sink.written.starts_with("Status: " + code + " "));
  EXPECT(rig.sink.written.find("Connection") == std::string::npos);
  return rig.sink.refusals[0];
}

SeenEvent request_of(Variables variables, const std::string& body = "") {
  ScgiRig rig;
  rig.sink.feed(scgi_request(variables, body));
  return rig.request();
}

std::string target_of(Variables variables) { return request_of(variables).target; }

TEST("variables become method, target, version and fields, and are handed on as they are") {
  const Variables variables = {{"REQUEST_METHOD", "PATCH"},       {"REQUEST_URI", "/a%20b?c=d"},
                               {"SERVER_PROTOCOL", "HTTP/1.0"},   {"CONTENT_TYPE", "text/plain"},
                               {"HTTP_ACCEPT_LANGUAGE", " de\t"}, {"HTTP_X_\xc4", "x"},
                               {"REMOTE_ADDR", "203.0.113.9"}};
  EXPECT(refusal_of(scgi_request(variables)) == ErrorCode::BadScgi);  // no token
  const SeenEvent event = request_of({{"REQUEST_METHOD", "PATCH"},
                                      {"REQUEST_URI", "/a%20b?c=d"},
                                      {"SERVER_PROTOCOL", "HTTP/1.0"},
                                      {"CONTENT_TYPE", "text/plain"},
                                      {"HTTP_ACCEPT_LANGUAGE", " de\t"},
                                      {"REMOTE_ADDR", "203.0.113.9"}},
                                     "hello");
  EXPECT(event.method == "PATCH" && event.target == "/a%20b?c=d" && event.body == "hello");
  EXPECT(event.http10 && (event.flags & kEventScgi) != 0);
  const std::string nul(1, '\0');
  EXPECT(event.headers == "\ncontent-length" + nul + "5\ncontent-type" + nul +
                              "text/plain\naccept-language" + nul + "de\n");
  EXPECT(event.trailers == block_of({{"CONTENT_LENGTH", "5"},
                                     {"SCGI", "1"},
                                     {"REQUEST_METHOD", "PATCH"},
                                     {"REQUEST_URI", "/a%20b?c=d"},
                                     {"SERVER_PROTOCOL", "HTTP/1.0"},
                                     {"CONTENT_TYPE", "text/plain"},
                                     {"HTTP_ACCEPT_LANGUAGE", " de\t"},
                                     {"REMOTE_ADDR", "203.0.113.9"}}));
}

TEST("without variables of its own a request is a GET of the root by HTTP/1.1") {
  const SeenEvent event = request_of({});
  EXPECT(event.method == "GET" && event.target == "/" && !event.http10);
  EXPECT(event.headers == "\n" && event.body.empty());
}

TEST("the connection's generation goes with the request") {
  ScgiRig rig;
  rig.sink.feed(scgi_request({}));
  EXPECT(rig.request().status == 7 && rig.sink.connection_generation() == 7);
}

TEST("a method is a token, and no gateway has tunnels to give") {
  EXPECT(request_of({{"REQUEST_METHOD", "M-SEARCH"}}).method == "M-SEARCH");
  EXPECT(request_of({{"REQUEST_METHOD", std::string(255, 'M')}}).method.size() == 255);
  for (const std::string& method : {std::string(), std::string("G T"), std::string("GET\n"),
                                    std::string("CONNECT"), std::string(256, 'M')}) {
    EXPECT(refusal_of(scgi_request({{"REQUEST_METHOD", method}})) == ErrorCode::BadScgi);
  }
}

TEST("the target is what the client sent, where the gateway says so") {
  const auto uri = [](Bytes text) { return target_of({{"REQUEST_URI", text}}); };
  EXPECT(uri("/") == "/" && uri("/a?b") == "/a?b" && uri("//a") == "//a");
  EXPECT(uri("http://a.test/b") == "http://a.test/b");
  ScgiRig rig;  // of the server as a whole: answered on the loop
  rig.sink.feed(scgi_request({{"REQUEST_METHOD", "OPTIONS"}, {"REQUEST_URI", "*"}}));
  EXPECT(rig.sink.written.starts_with("Status: 204 No Content\r\n") && rig.sink.events.empty());
  for (const char* text : {"/a b", "/a#b", "/\r\n", "/\xc3\xa4", "/\x7f"}) {
    EXPECT(refusal_of(scgi_request({{"REQUEST_URI", text}})) == ErrorCode::BadScgi);
  }
}

TEST("else the target is put together and encoded") {
  EXPECT(target_of({{"SCRIPT_NAME", "/app"}, {"PATH_INFO", "/a b"}}) == "/app/a%20b");
  EXPECT(target_of({{"PATH_INFO", "/50%?#\n\xc3\xa4/~:@"}}) == "/50%25%3F%23%0A%C3%A4/~:@");
  EXPECT(target_of({{"PATH_INFO", "a"}, {"QUERY_STRING", "x=%41&y=? z"}}) == "/a?x=%41&y=?%20z");
  EXPECT(target_of({{"QUERY_STRING", "q"}}) == "/?q");
  EXPECT(target_of({{"REQUEST_URI", ""}, {"PATH_INFO", "/p"}}) == "/p");
  EXPECT(target_of({{"REQUEST_URI", "no"}, {"PATH_INFO", "/p"}}) == "/p");
}

TEST("fields that would say something about framing, or pose as settings, are left out") {
  const SeenEvent event = request_of({{"HTTP_CONTENT_LENGTH", "0"},
                                      {"HTTP_CONTENT-LENGTH", "none"},
                                      {"HTTP_Content_Type", "a/b"},
                                      {"HTTP_TRANSFER_ENCODING", "chunked"},
                                      {"HTTP_PROXY", "evil"},
                                      {"HTTP_EXPECT", "100-continue"},
                                      {"CONTENT_TYPE", ""}},
                                     "");
  EXPECT(event.headers == "\nexpect" + std::string(1, '\0') + "100-continue\n");
}

TEST("of CONTENT_LENGTH and the client's own field the larger counts") {
  const auto lengths = [](Bytes gateway, Bytes client) {
    return netstring(
        block_of({{"CONTENT_LENGTH", gateway}, {"SCGI", "1"}, {"HTTP_CONTENT_LENGTH", client}}));
  };
  const std::pair<Bytes, Bytes> cases[] = {{"0", "5"}, {"2", "5"}, {"5", " 5\t"}, {"5", "2"},
                                           {"5", "0"}, {"5", ""},  {"5", "x"},    {"5", "+9"}};
  for (const auto& [gateway, client] : cases) {
    context = std::string(gateway) + " and " + std::string(client);
    ScgiRig rig;
    rig.sink.feed(lengths(gateway, client) + "hell");
    EXPECT(rig.sink.events.empty());
    rig.sink.feed("o");
    std::string value;
    EXPECT(rig.request().header("content-length", value) && value == "5");
    EXPECT(rig.request().body == "hello");
    EXPECT(rig.request().headers.find("content-length") ==
           rig.request().headers.rfind("content-length"));
  }
  context.clear();
  Limits limits;
  limits.body_bytes_max = 4;
  EXPECT(refusal_of(lengths("4", "4") + "four", limits) == ErrorCode::None);
  EXPECT(refusal_of(lengths("4", "5"), limits) == ErrorCode::BodyTooLarge);
  EXPECT(refusal_of(lengths("0", "9007199254740992")) == ErrorCode::BodyTooLarge);
  limits.header_count_max = 1;
  EXPECT(refusal_of(netstring(block_of({{"CONTENT_LENGTH", "0"},
                                        {"SCGI", "1"},
                                        {"HTTP_CONTENT_LENGTH", "1"},
                                        {"HTTP_A", "1"}})),
                    limits) == ErrorCode::HeadersTooLarge);
}

TEST("a field's value holds no control characters, and its name is a token") {
  for (const char* value : {"a\nb", "a\r", "a\r\nx: y", "a\x01", "\x7f"}) {
    EXPECT(refusal_of(scgi_request({{"HTTP_A", value}})) == ErrorCode::BadScgi);
    EXPECT(refusal_of(scgi_request({{"CONTENT_TYPE", value}})) == ErrorCode::BadScgi);
    EXPECT(refusal_of(scgi_request({{"DOCUMENT_URI", value}})) == ErrorCode::None);
  }
  for (const char* name : {"HTTP_", "HTTP_A B", "HTTP_A:", "HTTP_\n"}) {
    EXPECT(refusal_of(scgi_request({{name, "x"}})) == ErrorCode::BadScgi);
  }
  std::string value;
  EXPECT(request_of({{"HTTP_A", "b\tc \xe9"}}).header("a", value) && value == "b\tc \xe9");
}

TEST("a host is judged as HTTP does, but may be missing") {
  std::string value;
  EXPECT(request_of({{"HTTP_HOST", "a.test:80"}}).header("host", value) && value == "a.test:80");
  EXPECT(refusal_of(scgi_request({{"HTTP_HOST", "a b"}})) == ErrorCode::BadHost);
  EXPECT(refusal_of(scgi_request({{"HTTP_HOST", "a"}, {"HTTP_Host", "a"}})) == ErrorCode::BadHost);
}

TEST("limits of fields, variables, the line and the block are reached at one more") {
  Limits limits;
  limits.header_count_max = 3;
  const Variables three = {{"HTTP_A", "1"}, {"HTTP_B", "1"}, {"CONTENT_TYPE", "c"}};
  EXPECT(refusal_of(scgi_request(three), limits) == ErrorCode::None);
  EXPECT(refusal_of(scgi_request(three, "x"), limits) == ErrorCode::HeadersTooLarge);
  std::string block = block_of({{"CONTENT_LENGTH", "0"}, {"SCGI", "1"}});
  for (int i = 2; i < 3 + 64; i++) block += block_of({{"V" + std::to_string(i), ""}});
  EXPECT(refusal_of(netstring(block), limits) == ErrorCode::None);
  EXPECT(refusal_of(netstring(block + block_of({{"W", ""}})), limits) ==
         ErrorCode::HeadersTooLarge);

  limits = {};
  limits.request_line_bytes_max = 64;
  const std::string target = "/" + std::string(64 - Bytes("GET / HTTP/1.1").size(), 'x');
  EXPECT(refusal_of(scgi_request({{"REQUEST_URI", target}}), limits) == ErrorCode::None);
  EXPECT(refusal_of(scgi_request({{"REQUEST_URI", target + "x"}}), limits) ==
         ErrorCode::UriTooLong);
  EXPECT(refusal_of(scgi_request({{"PATH_INFO", "/" + std::string(20, '%')}}), limits) ==
         ErrorCode::UriTooLong);

  limits = {};
  limits.header_bytes_max = 256;
  const size_t rest = 256 - block_of({{"CONTENT_LENGTH", "0"}, {"SCGI", "1"}, {"A", ""}}).size();
  EXPECT(refusal_of(scgi_request({{"A", std::string(rest, 'x')}}), limits) == ErrorCode::None);
  EXPECT(refusal_of(scgi_request({{"A", std::string(rest + 1, 'x')}}), limits) ==
         ErrorCode::HeadersTooLarge);
}

TEST("variables that say nearly all twice still fit an event, or are refused") {
  Limits limits;
  const std::string most = block_of({{"CONTENT_LENGTH", "0"}, {"SCGI", "1"}});
  const size_t rest = 16384 - most.size() - block_of({{"HTTP_A", ""}}).size();
  for (const size_t body : {size_t{0}, size_t{16384}}) {
    ScgiRig rig(limits);
    const std::string length = std::to_string(body);
    const std::string value(rest + 1 - length.size(), 'v');
    rig.sink.feed(scgi_request({{"HTTP_A", value}}, std::string(body, 'b')));
    std::string seen;
    EXPECT(rig.request().header("a", seen) && seen == value);
    EXPECT(rig.request().body.size() == body);
    // No larger than an event that HTTP's limits allow.
    EXPECT(rig.sink.largest_event <= sizeof(Event) + 16384 + 8192 + kInlineBodyMax + 64);
  }
  limits.trailer_bytes_max = 0;
  limits.header_bytes_max = 65536;
  const auto with = [](size_t size) { return scgi_request({{"HTTP_A", std::string(size, 'v')}}); };
  EXPECT(refusal_of(with(40000), limits) == ErrorCode::None);
  EXPECT(refusal_of(with(65000), limits) == ErrorCode::HeadersTooLarge);
}

TEST("an answer has CGI's form, and the connection closes behind it") {
  ScgiRig rig;
  rig.sink.feed(scgi_request({{"REQUEST_METHOD", "POST"}}, "hello") + "more");
  rig.answer({.header_lines = "X: y\r\n", .body = "ok"});
  EXPECT(rig.sink.written == "Status: 200 OK\r\nX: y\r\nContent-Length: 2\r\n\r\nok");
  EXPECT(!rig.sink.is_open() && !rig.sink.was_aborted());
  EXPECT(rig.sink.cause() == CloseCause::CloseCalled && rig.sink.unread() == 0);
  EXPECT(rig.sink.events.size() == 1 && rig.sink.refusals.empty());
}

TEST("a handler's own Date stays, and statuses without a reason are written") {
  ScgiRig rig;
  rig.sink.feed(scgi_request({}));
  rig.answer({.status = 299, .flags = kCommandHasDate, .header_lines = "Date: x\r\n"});
  EXPECT(rig.sink.written == "Status: 299 \r\nDate: x\r\nContent-Length: 0\r\n\r\n");
}

TEST("HEAD, 204 and 304 have no body") {
  ScgiRig head;
  head.sink.feed(scgi_request({{"REQUEST_METHOD", "HEAD"}}));
  head.answer({.body = "four"});
  EXPECT(head.sink.written == "Status: 200 OK\r\nContent-Length: 4\r\n\r\n");
  for (const uint16_t status : {uint16_t{204}, uint16_t{304}}) {
    ScgiRig rig;
    rig.sink.feed(scgi_request({}));
    rig.answer({.status = status});
    EXPECT(rig.sink.written.starts_with("Status: " + std::to_string(status)));
    EXPECT(rig.sink.written.find("Content-Length") == std::string::npos && !rig.sink.is_open());
  }
}

TEST("pieces without a length end with the connection, those with one say it") {
  for (const bool has_length : {false, true}) {
    ScgiRig rig;
    rig.sink.feed(scgi_request({}));
    const Bytes line = has_length ? Bytes("Content-Length: 2\r\n") : Bytes();
    const uint16_t flags = has_length ? kCommandHasLength : uint16_t{0};
    rig.answer({.kind = CommandKind::Informational, .status = 103});
    rig.answer({.kind = CommandKind::Begin, .flags = flags, .header_lines = line});
    rig.answer({.kind = CommandKind::Write, .body = "a"});
    EXPECT(rig.sink.is_open());
    rig.answer({.kind = CommandKind::Write, .body = "b"});
    rig.answer({.kind = CommandKind::End, .header_lines = "X-Sum: 1\r\n"});
    EXPECT(rig.sink.written == "Status: 200 OK\r\n" + std::string(line) + "\r\nab");
    EXPECT(!rig.sink.is_open() && !rig.sink.was_aborted());
  }
}

TEST("a streamed request body comes under credit, with the variables at its head") {
  ScgiRig rig({}, handler_route(BodyMode::Stream));
  const std::string request = scgi_request({{"REQUEST_METHOD", "PUT"}}, "hello");
  rig.sink.feed(Bytes(request).substr(0, request.size() - 3));
  const SeenEvent event = rig.request();
  EXPECT(event.body_follows && (event.flags & kEventScgi) != 0);
  EXPECT(event.trailers ==
         block_of({{"CONTENT_LENGTH", "5"}, {"SCGI", "1"}, {"REQUEST_METHOD", "PUT"}}));
  rig.sink.answer(event.exchange, {.kind = CommandKind::Read, .amount = 1000});
  rig.sink.feed("llo");
  std::string body;
  for (const SeenEvent& each : rig.sink.events) {
    if (each.kind == EventKind::Body) body += each.body;
  }
  EXPECT(body == "hello");
  EXPECT(rig.sink.events.back().kind == EventKind::BodyEnd);
  EXPECT(rig.sink.events.back().headers.empty() && rig.sink.events.back().trailers.empty());
  rig.answer({.body = "ok"});
  EXPECT(rig.sink.written == "Status: 200 OK\r\nContent-Length: 2\r\n\r\nok");
  EXPECT(!rig.sink.is_open());
}

TEST("bodies are bounded, and routes say whether they take one") {
  Limits limits;
  limits.body_bytes_max = 4;
  EXPECT(refusal_of(scgi_request({}, "four"), limits) == ErrorCode::None);
  EXPECT(refusal_of(scgi_request({}, "fivey"), limits) == ErrorCode::BodyTooLarge);
  Route without = handler_route(BodyMode::None);
  ScgiRig none({}, without);
  none.sink.feed(scgi_request({}, "x"));
  EXPECT(none.request().body.empty());
  without.body_bytes_max = 0;
  ScgiRig refusing({}, without);
  refusing.sink.feed(scgi_request({}, "x"));
  EXPECT(refusing.sink.written.starts_with("Status: 413 Content Too Large\r\n"));
  ScgiRig sized({}, handler_route(BodyMode::Sized));
  sized.sink.feed(scgi_request({{"REQUEST_METHOD", "POST"}}));
  EXPECT(sized.request().method == "POST");  // a length of 0 is one
}

TEST("what is answered on the loop has the form too") {
  Route route;
  route.kind = RouteKind::Static;
  route.headers = "A: b\r\n";
  route.content = "static";
  ScgiRig rig({}, route);
  rig.sink.feed(scgi_request({}, "taken and dropped"));
  EXPECT(rig.sink.written == "Status: 200 OK\r\nA: b\r\nContent-Length: 6\r\n\r\nstatic");
  EXPECT(!rig.sink.is_open() && rig.sink.events.empty());
}

TEST("a route for sockets answers 426, and says nothing of the connection") {
  Route route = handler_route();
  route.is_socket = true;
  ScgiRig rig({}, route);
  rig.sink.feed(scgi_request({{"HTTP_UPGRADE", "websocket"},
                              {"HTTP_CONNECTION", "Upgrade"},
                              {"HTTP_SEC_WEBSOCKET_VERSION", "13"},
                              {"HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ=="}}));
  EXPECT(rig.sink.events.empty());
  EXPECT(rig.sink.written.starts_with("Status: 426 Upgrade Required\r\n" + std::string(kTypeLine) +
                                      "Content-Length: "));
  EXPECT(rig.sink.refusals == std::vector{ErrorCode::WsRequired} && !rig.sink.is_open());
}

TEST("elsewhere the wish to upgrade is a field as any") {
  EXPECT((request_of({{"HTTP_UPGRADE", "websocket"}}).flags & kEventUpgrade) == 0);
}

TEST("a gateway that stalls is refused in time, one that says nothing is left alone") {
  for (const size_t size : {size_t{3}, size_t{20}}) {
    ScgiRig rig;
    rig.sink.feed(Bytes(scgi_request({})).substr(0, size));
    rig.sink.advance(rig.limits.headers_timeout + 1);
    EXPECT(rig.sink.refusals == std::vector{ErrorCode::HeadersTimeout});
    EXPECT(rig.sink.written.starts_with("Status: 408 ") && !rig.sink.is_open());
    EXPECT(rig.sink.cause() == CloseCause::TimedOut);
  }
  ScgiRig silent;
  silent.sink.advance(silent.limits.headers_timeout + 1);
  EXPECT(silent.sink.written.empty() && !silent.sink.is_open());
  ScgiRig body;
  const std::string request = scgi_request({}, "hello");
  body.sink.feed(Bytes(request).substr(0, request.size() - 1));
  body.sink.advance(body.limits.receive_timeout + 1);
  EXPECT(body.sink.written.starts_with("Status: 408 ") && body.sink.events.empty());
}

TEST("a gateway that leaves in the middle reaches no handler") {
  const std::string request = scgi_request({}, "hello");
  for (size_t size = 0; size < request.size(); size++) {
    ScgiRig rig;
    rig.sink.feed(Bytes(request).substr(0, size));
    rig.sink.half_close();
    EXPECT(rig.sink.events.empty() && !rig.sink.is_open());
    EXPECT(size == 0 ? rig.sink.written.empty() : rig.sink.written.starts_with("Status: 400 "));
  }
}

TEST("a gateway that half-closes behind its request is answered") {
  ScgiRig rig;
  rig.sink.feed(scgi_request({}));
  rig.sink.half_close();
  EXPECT(rig.sink.events.back().kind == EventKind::PeerClosed);
  rig.answer({.body = "ok"});
  EXPECT(rig.sink.written.ends_with("\r\n\r\nok") && !rig.sink.is_open());
}

// The same at every split, while the lane has no room at the piece before the last.
TEST("splits and a full lane change nothing but timing") {
  const std::string request =
      scgi_request({{"REQUEST_URI", "/x"}, {"HTTP_A_B", "c"}}, std::string(20, 'b'));
  const std::string variables =
      block_of({{"CONTENT_LENGTH", "20"}, {"SCGI", "1"}, {"REQUEST_URI", "/x"}, {"HTTP_A_B", "c"}});
  for (const BodyMode mode : {BodyMode::Buffer, BodyMode::Stream}) {
    for (size_t cut = 1; cut <= request.size(); cut++) {
      context = "cut at " + std::to_string(cut);
      ScgiRig rig({}, handler_route(mode));
      rig.sink.lane_is_full = true;
      rig.sink.feed(Bytes(request).substr(0, cut));
      rig.sink.lane_is_full = cut % 2 == 0;
      rig.sink.feed(Bytes(request).substr(cut));
      rig.sink.lane_is_full = false;
      rig.sink.settle_now();
      const SeenEvent event = rig.request();
      if (mode == BodyMode::Stream) {
        rig.sink.answer(event.exchange, {.kind = CommandKind::Read, .amount = 1000});
      }
      std::string value;
      EXPECT(event.target == "/x" && event.header("a-b", value) && value == "c");
      EXPECT(event.trailers == variables);
      rig.answer({.body = "ok"});
      EXPECT(rig.sink.written == "Status: 200 OK\r\nContent-Length: 2\r\n\r\nok");
      EXPECT(!rig.sink.is_open() && rig.sink.open_exchanges() == 0);
    }
  }
  context.clear();
}

TEST("while the server stops, a connection that came is answered once and an idle one ends") {
  ScgiRig idle;
  idle.sink.stop();
  EXPECT(!idle.sink.is_open() && idle.sink.written.empty());
  ScgiRig rig;
  rig.sink.start_draining();
  rig.sink.feed(scgi_request({}));
  rig.answer({.body = "ok"});
  EXPECT(rig.sink.written.starts_with("Status: 200 OK\r\n") && !rig.sink.is_open());
}

TEST("a late handler is answered for") {
  Limits limits;
  limits.handler_timeout = 1000;
  ScgiRig rig(limits);
  rig.sink.feed(scgi_request({}));
  rig.sink.advance(1001);
  EXPECT(rig.sink.written.starts_with("Status: 503 Service Unavailable\r\n"));
  EXPECT(rig.sink.written.find("Date") == std::string::npos && !rig.sink.is_open());
}

}  // namespace

}  // namespace millrace::test
