// The access log: one line for every answer of an HTTP session, when its last byte has left or its
// connection has ended, with figures that are those of the wire.
#include <string>
#include <vector>

#include "test/disk_rig.h"
#include "test/fake_sink.h"
#include "test/harness.h"
#include "test/loop_rig.h"
#include "test/scgi_rig.h"

namespace millrace::test {
namespace {

constexpr uint16_t kNoRoute = 0xffff;

void add_route(Router& router, const char* pattern, RouteKind kind, BodyMode body, uint16_t id) {
  RouteRow row{"", pattern, {}};
  row.route.kind = kind;
  row.route.content = "fixed";
  row.route.body = body;
  row.route.body_bytes_max = id == 9 ? 0 : -1;
  row.route.id = id;
  EXPECT(router.add(std::move(row)).empty());
}

// "/static" is answered on the loop, "/stream" streams its bodies, "/drop" and "/small" drop them,
// "/small" all of length 0; all else is buffered.
const Router& logged_router() {
  static const Router& made = []() -> const Router& {
    static Router routes;
    add_route(routes, "/static", RouteKind::Static, BodyMode::Buffer, 0);
    add_route(routes, "/stream", RouteKind::Handler, BodyMode::Stream, 8);
    add_route(routes, "/small", RouteKind::Handler, BodyMode::None, 9);
    add_route(routes, "/drop", RouteKind::Handler, BodyMode::None, 10);
    Route everything;
    everything.kind = RouteKind::Handler;
    everything.id = 7;
    routes.set_fallback(everything);
    routes.seal();
    return routes;
  }();
  return made;
}

using Line = FakeSink::LoggedLine;

std::string shown(const Line& line) {
  std::string text = line.method + " " + line.target + " " + std::to_string(line.status);
  if (line.route != kNoRoute) text += " to " + std::to_string(line.route);
  if ((line.flags & kEventAborted) != 0) text += " aborted";
  if ((line.flags & kEventHttp10) != 0) text += " 1.0";
  return text;
}

// One connection whose requests are logged.
class Logged final {
 public:
  explicit Logged(const Limits& limits = {})
      : limits_(limits),
        sink_(std::make_unique<FakeSink>(limits_, logged_router(), http1::make_session(), true)) {}
  FakeSink& sink() { return *sink_; }
  void feed(Bytes bytes) { sink_->feed(bytes); }
  // The exchange of the nth request.
  [[nodiscard]] ExchangeId request(size_t n) {
    for (const SeenEvent& event : sink_->events) {
      if (event.kind == EventKind::Request && n-- == 0) return event.exchange;
    }
    EXPECT(false);
    return {};
  }
  void respond(size_t n, Bytes body, uint16_t status = 200) {
    sink_->answer(request(n), {.status = status, .body = body});
  }
  std::string lines() {
    std::string all;
    for (const Line& line : sink_->log) all += (all.empty() ? "" : "; ") + shown(line);
    return all;
  }
  // Of all lines together.
  [[nodiscard]] double bytes_in() {
    double sum = 0;
    for (const Line& line : sink_->log) sum += line.figures.bytes_in;
    return sum;
  }
  [[nodiscard]] double bytes_out() {
    double sum = 0;
    for (const Line& line : sink_->log) sum += line.figures.bytes_out;
    return sum;
  }

 private:
  Limits limits_;
  std::unique_ptr<FakeSink> sink_;
};

// Every byte of the wire belongs to one line.
void expect_all_bytes(Logged& logged, size_t sent) {
  EXPECT(logged.bytes_in() == static_cast<double>(sent));
  EXPECT(logged.bytes_out() == static_cast<double>(logged.sink().written.size()));
}

// --- lines ---

TEST("a handler's answer is a line with its route, its exchange and how long it waited") {
  Logged logged;
  const std::string request = get("/a?b=1");
  logged.feed(request);
  logged.sink().advance(30);
  logged.sink().delay = 12;
  EXPECT(logged.sink().log.empty());
  logged.respond(0, "hello", 201);
  EXPECT(logged.lines() == "GET /a?b=1 201 to 7");
  expect_all_bytes(logged, request.size());
  const Line& line = logged.sink().log[0];
  EXPECT(line.exchange == logged.request(0));
  EXPECT(line.figures.queue_ms == 12 && line.figures.duration_ms == 30);
  EXPECT(line.figures.began == 1'700'000'000.0 * 1000);
}

TEST("what is answered on the loop is a line without a route") {
  Logged logged;
  const std::string request = get("/static");
  logged.feed(request);
  EXPECT(logged.lines() == "GET /static 200");
  expect_all_bytes(logged, request.size());
  EXPECT(!logged.sink().log[0].exchange.is_valid());
  EXPECT(logged.sink().log[0].figures.queue_ms == -1);
}

TEST("nothing is kept of requests where no log is wanted") {
  const Limits limits;
  FakeSink sink(limits, logged_router());
  sink.feed(get("/static") + get("/a"));
  sink.answer(sink.events[0].exchange, {.body = "x"});
  EXPECT(sink.log.empty());
}

TEST("the fields that are logged are those that tell who asked, cut where they are long") {
  Logged logged;
  logged.feed("GET /" + std::string(2000, 't') +
              " HTTP/1.0\r\nHost: a\r\nUser-Agent: curl\r\nAccept: */*\r\nCookie: secret\r\n"
              "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2\r\nForwarded: for=b\r\n"
              "Traceparent: 00-1\r\nReferer: " +
              std::string(1025, 'r') + "\r\nX-Request-ID: 5\r\n\r\n");
  logged.respond(0, "x");
  EXPECT(logged.sink().log.size() == 1);
  const Line& line = logged.sink().log[0];
  EXPECT(line.flags == kEventHttp10);
  EXPECT(line.target == "/" + std::string(kAccessTextMax - 1, 't'));
  EXPECT(line.fields ==
         "user-agent: curl\nx-forwarded-for: 1.1.1.1\nx-forwarded-for: 2.2.2.2\nforwarded: for=b\n"
         "traceparent: 00-1\nreferer: " +
             std::string(kAccessTextMax, 'r') + "\nx-request-id: 5\n");
}

TEST("of a field that comes very often the last eight are logged") {
  Logged logged;
  std::string request = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 20; i++) request += "X-Forwarded-For: " + std::to_string(i) + "\r\n";
  logged.feed(request + "\r\n");
  logged.respond(0, "x");
  std::string last;
  for (int i = 12; i < 20; i++) last += "x-forwarded-for: " + std::to_string(i) + "\n";
  EXPECT(logged.sink().log[0].fields == last);
}

TEST("what a client sends itself does not crowd out what the nearest hop says") {
  Logged logged;
  std::string request = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 20; i++) request += "User-Agent: u\r\nRemote_Addr: 6.6.6.6\r\n";
  const std::string list(1020, '6');
  logged.feed(request + "Forwarded: " + std::string(1025, 'f') + "\r\nX-Forwarded-For: " + list +
              ", 1.1.1.1, 2.2.2.2\r\nX-Real-IP: 3.3.3.3\r\n\r\n");
  logged.respond(0, "x");
  std::string agents;
  for (int i = 0; i < 8; i++) agents += "user-agent: u\n";
  EXPECT(logged.sink().log[0].fields ==
         agents + "forwarded: \nx-forwarded-for:  1.1.1.1, 2.2.2.2\nx-real-ip: 3.3.3.3\n");
}

TEST("no field of a hop takes another's place: a proxy's may stand in front of the client's") {
  Logged logged;
  std::string request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n";
  for (const char* name :
       {"Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"}) {
    for (int i = 0; i < 9; i++) request += std::string(name) + ": " + std::to_string(i) + "\r\n";
  }
  logged.feed(request + "X-Real-IP: " + std::string(1025, '3') + ",6.6.6.6\r\n\r\n");
  logged.respond(0, "x");
  std::string forwarded;
  for (int i = 1; i < 9; i++) forwarded += "forwarded: " + std::to_string(i) + "\n";
  EXPECT(logged.sink().log[0].fields ==
         "x-forwarded-for: 1.1.1.1\n" + forwarded +
             "x-forwarded-proto: 8\nx-forwarded-host: 8\nx-forwarded-port: 8\nx-real-ip: " +
             std::string(kAccessTextMax, '3') + "\n");
}

TEST("of a request by SCGI the client's address is logged as the gateway says it") {
  const auto fields_of = [](Variables variables) {
    const Limits limits;
    FakeSink sink(limits, logged_router(), scgi::make_session(), true);
    sink.feed(scgi_request(variables));
    for (const SeenEvent& event : sink.events) {
      if (event.kind == EventKind::Request) sink.answer(event.exchange, {.body = "x"});
    }
    EXPECT(sink.log.size() == 1 && (sink.log[0].flags & kEventScgi) != 0);
    return sink.log[0].fields;
  };
  EXPECT(fields_of({{"REMOTE_ADDR", "203.0.113.9"}, {"HTTP_USER_AGENT", "u"}}) ==
         "remote_addr: 203.0.113.9\nuser-agent: u\n");
  EXPECT(fields_of({{"REMOTE_ADDR", std::string(1025, '1')}}) ==
         "remote_addr: " + std::string(kAccessTextMax, '1') + "\n");
  EXPECT(fields_of({{"HTTP_REMOTE_ADDR", "6.6.6.6"}}).empty());
  EXPECT(fields_of({{"REMOTE_ADDR", ""}}).empty());
  EXPECT(fields_of({{"REMOTE_ADDR", "a\nuser-agent"}}).empty());
}

TEST("refusals are lines, with what was understood of the request") {
  const struct {
    const char* bytes;
    const char* line;
  } cases[] = {
      {"nonsense\r\n\r\n", "  400"},
      {"GET / HTTP/1.1\r\n\r\n", "GET / 400"},  // no Host
      {"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "POST /small 413"},
      {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "POST /a 400"},
  };
  for (const auto& each : cases) {
    context = each.line;
    Logged logged;
    logged.feed(each.bytes);
    EXPECT(logged.lines() == each.line);
    EXPECT(logged.bytes_out() == static_cast<double>(logged.sink().written.size()));
    EXPECT(logged.bytes_in() > 0);
  }
  context.clear();
  Logged late;
  late.feed("GET / HT");
  late.sink().advance(10'000);
  EXPECT(late.lines() == "  408");
  EXPECT(late.bytes_in() == 8 && late.sink().log[0].figures.duration_ms == 10'000);
}

TEST("pipelined requests are lines in their order, whatever the order of the answers") {
  Logged logged;
  const std::string bytes = get("/a") + get("/static") + post("/b", 100) + get("/c");
  logged.feed(bytes);
  logged.respond(2, "third");
  logged.respond(1, "second");
  EXPECT(logged.sink().log.empty());
  logged.respond(0, "first");
  EXPECT(logged.lines() == "GET /a 200 to 7; GET /static 200; POST /b 200 to 7; GET /c 200 to 7");
  expect_all_bytes(logged, bytes.size());
}

TEST("bodies that are dropped are counted as far as they are read") {
  const std::string chunked =
      "POST /drop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  for (const size_t cut : {size_t{0}, size_t{60}}) {
    Logged logged;
    const std::string sized = post("/drop", 100);
    if (cut > 0) logged.feed(Bytes(sized).substr(0, cut));
    logged.feed(Bytes(sized).substr(cut));
    logged.respond(0, "ok");
    EXPECT(logged.lines() == "POST /drop 200 to 10");
    expect_all_bytes(logged, sized.size());
  }
  Logged logged;
  logged.feed(chunked);
  logged.respond(0, "ok");
  EXPECT(logged.lines() == "POST /drop 200 to 10");
  EXPECT(logged.bytes_in() > 0 && logged.bytes_in() <= static_cast<double>(chunked.size()));
}

TEST("bodies that are streamed either way are counted as they are framed") {
  Logged logged;
  const std::string bytes =
      "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5;ext=1\r\nhello\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
  logged.feed(Bytes(bytes).substr(0, 90));
  const ExchangeId id = logged.request(0);
  logged.sink().answer(id, {.kind = CommandKind::Read, .amount = 1 << 20});
  for (char byte : bytes.substr(90)) logged.feed(Bytes(&byte, 1));
  logged.sink().answer(id, {.kind = CommandKind::Begin, .status = 200});
  const std::string large(5000, 'l');
  for (Bytes piece : {Bytes("piece"), Bytes(large)})
    logged.sink().answer(id, {.kind = CommandKind::Write, .body = piece});
  EXPECT(logged.sink().log.empty());
  logged.sink().answer(id, {.kind = CommandKind::End, .header_lines = "X-End: 1\r\n"});
  EXPECT(logged.lines() == "POST /stream 200 to 8");
  expect_all_bytes(logged, bytes.size());
}

TEST("a request is the same line wherever it is split") {
  const std::string bytes = get("/static") +
                            "POST /a HTTP/1.1\r\nHost: a\r\nUser-Agent: u\r\nTransfer-Encoding: "
                            "chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n" +
                            post("/b", 10);
  for (size_t at = 0; at <= bytes.size(); at++) {
    context = std::to_string(at);
    Logged logged;
    logged.feed(Bytes(bytes).substr(0, at));
    logged.feed(Bytes(bytes).substr(at));
    logged.respond(0, "one");
    logged.respond(1, "two");
    EXPECT(logged.lines() == "GET /static 200; POST /a 200 to 7; POST /b 200 to 7");
    expect_all_bytes(logged, bytes.size());
  }
  context.clear();
}

TEST("a file is counted as it is sent") {
  TempFolder folder;
  folder.write("a.txt", std::string(100'000, 'f'));
  Router routes;
  RouteRow row{"GET", "/file", {}};
  row.route.kind = RouteKind::File;
  row.route.file = FileSource{};
  row.route.file->path = folder.at("a.txt");
  EXPECT(routes.add(std::move(row)).empty());
  routes.seal();
  for (const char* range : {"", "Range: bytes=5-9\r\n", "Range: bytes=0-1,5-9,50-60\r\n",
                            "If-None-Match: *\r\n", "Range: bytes=200000-\r\n"}) {
    context = range;
    const Limits limits;
    FakeSink sink(limits, routes, http1::make_session(), true);
    sink.feed("GET /file HTTP/1.1\r\nHost: a\r\n" + std::string(range) + "\r\n");
    sink.wait_for_disk();
    EXPECT(sink.log.size() == 1);
    EXPECT(sink.log[0].figures.bytes_out == static_cast<double>(sink.written.size()));
  }
  context.clear();
}

// --- when ---

TEST("a line waits until the answer has left") {
  Logged logged;
  logged.sink().peer_is_stuck = true;
  logged.feed(get("/static"));
  logged.sink().advance(50);
  EXPECT(logged.sink().log.empty());
  logged.sink().unstick();
  EXPECT(logged.lines() == "GET /static 200");
  EXPECT(logged.sink().log[0].figures.duration_ms == 50);
}

TEST("the last answer of a connection is a line when it has left too") {
  Logged logged;
  logged.sink().peer_is_stuck = true;
  logged.feed("GET /static HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT(!logged.sink().is_open() && logged.sink().log.empty());
  logged.sink().unstick();
  EXPECT(logged.lines() == "GET /static 200");
}

TEST("when the connection ends, what has not left is a line that says so") {
  Logged logged;
  logged.feed(get("/static"));
  logged.sink().peer_is_stuck = true;
  const size_t before = logged.sink().written.size();
  logged.feed(get("/static") + get("/a") + get("/b") + post("/c", 10).substr(0, 55));
  logged.respond(1, "ahead of its turn");
  logged.sink().lose();
  EXPECT(logged.lines() ==
         "GET /static 200; GET /static 200 aborted; GET /a 0 to 7 aborted; GET /b 200 to 7 "
         "aborted; POST /c 0 aborted");
  // Not one byte of the others was taken.
  EXPECT(logged.bytes_out() == static_cast<double>(before));
}

TEST("a response that breaks off is counted as far as it came") {
  Logged logged;
  logged.feed(get("/a"));
  const ExchangeId id = logged.request(0);
  logged.sink().answer(id, {.kind = CommandKind::Begin, .status = 200});
  logged.sink().answer(id, {.kind = CommandKind::Write, .body = "left"});
  const size_t left = logged.sink().written.size();
  logged.sink().peer_is_stuck = true;
  logged.sink().answer(id, {.kind = CommandKind::Write, .body = "not left"});
  logged.sink().lose();
  EXPECT(logged.lines() == "GET /a 200 to 7 aborted");
  EXPECT(logged.bytes_out() == static_cast<double>(left));
}

TEST("lines that wait count against limits.maxPipelined") {
  Limits limits;
  limits.pipeline_max = 3;
  Logged logged(limits);
  logged.sink().peer_is_stuck = true;
  std::string bytes;
  for (int i = 0; i < 10; i++) bytes += get("/static");
  logged.feed(bytes);
  EXPECT(count_of(logged.sink().written, "HTTP/1.1 200") == 3);
  logged.sink().unstick();
  EXPECT(logged.sink().log.size() == 10);
  expect_all_bytes(logged, bytes.size());
}

TEST("a handshake is a line when the connection changes over") {
  Logged logged;
  const std::string bytes =
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
  logged.feed(bytes);
  logged.sink().answer(logged.request(0), {.kind = CommandKind::Upgrade});
  EXPECT(logged.lines() == "GET /ws 101 to 7");
  expect_all_bytes(logged, bytes.size());
  logged.sink().lose();
  EXPECT(logged.sink().log.size() == 1);
}

TEST("a handler that is late is a line with what was answered for it") {
  Limits limits;
  limits.handler_timeout = 500;
  Logged logged(limits);
  logged.feed(get("/a"));
  logged.sink().delay = 500;
  logged.sink().advance(500);
  EXPECT(logged.lines() == "GET /a 503 to 7");
  EXPECT(logged.sink().log[0].figures.queue_ms == 500);
}

// --- in the lane ---

constexpr Observation kAccess{.access = true};

AccessFigures figures_of(const Taken& taken) {
  AccessFigures figures;
  EXPECT(taken.body.size() == sizeof(figures));
  if (taken.body.size() == sizeof(figures))
    std::memcpy(&figures, taken.body.data(), sizeof(figures));
  return figures;
}

TEST("a line is an event with the texts of a request and the figures for a body") {
  Rig rig({}, {}, kAccess);
  rig.sim().advance(1234);
  const std::string request = "GET /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: Me\r\n\r\n";
  SimPeer peer = rig.connect(request);
  ExchangeId id = rig.take_one().id;
  rig.sim().advance(20);
  rig.respond(id, "x");
  Taken line = rig.take_one();
  EXPECT(line.kind == EventKind::Access && line.id == id && line.head_b == 200);
  EXPECT(line.head_a == 0 && line.status == 1 && line.route == 0 && line.flags == 0);
  EXPECT(line.method == "GET" && line.target == "/a?b" && line.peer == "192.0.2.1");
  EXPECT(line.headers == std::string("\nuser-agent\0Me\n", 15));
  AccessFigures figures = figures_of(line);
  EXPECT(figures.began == 784111778234.0 && figures.duration_ms == 20);
  EXPECT(figures.bytes_in == static_cast<double>(request.size()));
  EXPECT(figures.bytes_out == static_cast<double>(rig.sim().read(peer).size()));
}

TEST("lines come before the end of their connection, with the bytes that left") {
  Rig rig({}, {}, {.connections = true, .access = true});
  SimPeer peer = rig.connect(get("/a") + get("/b"));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 3);
  rig.sim().limit_window(peer, 0);
  rig.respond(taken[1].id, "one");
  rig.sim().reset(peer);
  rig.turn(6);
  taken = rig.take();
  EXPECT(taken.size() == 4);
  if (taken.size() < 4) return;
  EXPECT(taken[0].kind == EventKind::Access && taken[0].target == "/a");
  EXPECT(taken[0].flags == kEventAborted && figures_of(taken[0]).bytes_out == 0);
  EXPECT(taken[1].kind == EventKind::Aborted);
  EXPECT(taken[2].kind == EventKind::Access && taken[2].target == "/b" && taken[2].head_b == 0);
  EXPECT(taken[3].kind == EventKind::Disconnected);
}

TEST("a request that waited for room took that time, and its wait counts as queue time") {
  Limits limits;
  limits.in_flight_max = 1;
  Rig rig(limits, {}, kAccess);
  rig.connect(get("/one"));
  ExchangeId one = rig.take_one().id;
  rig.sim().advance(50);
  rig.connect(get("/static") + get("/two"));
  static_cast<void>(rig.take());
  rig.sim().advance(300);
  rig.respond(one, "x");
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2 && taken[0].kind == EventKind::Request);
  rig.sim().advance(40);
  rig.respond(taken[0].id, "y");
  Taken line = rig.take_one();
  EXPECT(line.kind == EventKind::Access && line.target == "/two");
  AccessFigures figures = figures_of(line);
  EXPECT(figures.duration_ms == 340 && figures.queue_ms >= 300 && figures.queue_ms <= 340);
  EXPECT(figures.began == 784111777050.0);
}

TEST("a line that the lane has no room for is dropped and counted") {
  Limits limits;
  limits.buffered_bytes_max = int64_t{1} << 30;
  limits.pipeline_max = 1024;
  Rig rig(limits, {}, kAccess);
  SimPeer filler = rig.connect();
  while (rig.loop().can_emit()) rig.send(filler, post("/fill", 16'000));
  SimPeer peer = rig.connect(get("/static"));
  EXPECT(rig.sim().read(peer).ends_with("fixed"));
  EXPECT(rig.stats().access_dropped.get() == 1);
  static_cast<void>(rig.take());
  rig.send(peer, get("/static"));
  EXPECT(rig.take_one().kind == EventKind::Access);
  EXPECT(rig.stats().access_dropped.get() == 1);
}

}  // namespace
}  // namespace millrace::test
