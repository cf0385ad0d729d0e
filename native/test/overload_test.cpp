// What a loop answers itself when its consumer does not keep up (limits.maxQueueDelay), over sim in
// virtual time. Nothing that was handed over is answered twice, nothing waits without an end.
#include <string>
#include <vector>

#include "test/fake_sink.h"
#include "test/loop_rig.h"

namespace millrace::test {
namespace {

constexpr Milliseconds kMost = 200;

Limits limits_of(int64_t in_flight_max = 100) {
  Limits limits;
  limits.queue_delay_max = kMost;
  limits.in_flight_max = in_flight_max;
  return limits;
}

bool is_shed(const std::string& answer) {
  return count_of(answer, "HTTP/1.1 503 ") == 1 &&
         count_of(answer, "\r\nRetry-After: 1\r\n") == 1 &&
         count_of(answer, "\r\nConnection: close\r\n") == 0;
}

// One request waits in the lane, for longer than it may.
ExchangeId block(Rig& rig, SimPeer& first) {
  first = rig.connect(get("/first"));
  rig.pass(kMost + 1);
  EXPECT(rig.stats().in_flight.get() == 1);
  return {0, 0};
}

TEST("requests are shed when the oldest event has waited for longer than limits.maxQueueDelay") {
  Rig rig(limits_of());
  SimPeer first = rig.connect(get("/first"));
  rig.pass(kMost);
  SimPeer second = rig.connect(get("/second"));
  EXPECT(rig.sim().read(second).empty());  // at the limit: handed over
  rig.pass(1);
  SimPeer third = rig.connect(get("/third"));
  EXPECT(is_shed(rig.sim().read(third)));
  EXPECT(rig.stats().shed.get() == 1);
  EXPECT(rig.stats().refusals[static_cast<size_t>(ErrorCode::Overloaded)].get() == 1);
  EXPECT(rig.stats().requests.get() == 3);

  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2);
  for (const Taken& each : taken) rig.respond(each.id, each.target);
  EXPECT(count_of(rig.sim().read(first), "/first") == 1);
  EXPECT(count_of(rig.sim().read(second), "/second") == 1);
}

TEST("a loop that sheds goes on with the connection, and serves again once its lane is taken") {
  Rig rig(limits_of());
  SimPeer first = 0;
  block(rig, first);
  SimPeer peer = rig.connect(get("/a") + get("/static") + get("/b"));
  std::string answers = rig.sim().read(peer);
  EXPECT(count_of(answers, "HTTP/1.1 503 ") == 2);
  EXPECT(count_of(answers, "HTTP/1.1 200 ") == 1);
  EXPECT(rig.take().size() == 1);
  rig.send(peer, get("/c"));
  Taken taken = rig.take_one();
  EXPECT(taken.target == "/c");
  rig.respond(taken.id, "served");
  EXPECT(count_of(rig.sim().read(peer), "served") == 1);
  EXPECT(rig.stats().shed.get() == 2);
}

TEST("static and ready routes are answered while requests are shed") {
  Rig rig(limits_of());
  SimPeer first = 0;
  block(rig, first);
  for (const char* path : {"/static", "/ready"}) {
    SimPeer peer = rig.connect(get(path));
    EXPECT(count_of(rig.sim().read(peer), "HTTP/1.1 200 ") == 1);
  }
  EXPECT(rig.stats().shed.get() == 0);
}

TEST("the body of a request that is shed is read to its end") {
  Rig rig(limits_of());
  SimPeer first = 0;
  block(rig, first);
  SimPeer peer = rig.connect(post("/a", 100'000).substr(0, 5000));
  EXPECT(rig.sim().read(peer).empty());  // behind its body only: clients read late
  rig.send(peer, post("/a", 100'000).substr(5000) + get("/static"));
  std::string answers = rig.sim().read(peer);
  EXPECT(count_of(answers, "HTTP/1.1 503 ") == 1);
  EXPECT(count_of(answers, "fixed") == 1);
}

TEST("a request whose body has come while the lane was not taken is shed") {
  Rig rig(limits_of());
  std::string text = post("/late", 100);
  SimPeer late = rig.connect(text.substr(0, text.size() - 1));
  SimPeer first = 0;
  block(rig, first);
  rig.send(late, text.substr(text.size() - 1));
  EXPECT(is_shed(rig.sim().read(late)));
  EXPECT(rig.take().size() == 1);
}

TEST("what asks to go on before a body is answered, and the connection ends") {
  Rig rig(limits_of());
  SimPeer first = 0;
  block(rig, first);
  SimPeer peer = rig.connect(
      "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  std::string answer = rig.sim().read(peer);
  EXPECT(count_of(answer, "HTTP/1.1 503 ") == 1);
  EXPECT(count_of(answer, "\r\nConnection: close\r\n") == 1);
  EXPECT(rig.sim().saw_half_close(peer));
}

TEST("a body beyond the limit does not make the answer of a shed request a 413") {
  Limits limits = limits_of();
  limits.body_bytes_max = 1000;
  Rig rig(limits);
  SimPeer first = 0;
  block(rig, first);
  SimPeer peer = rig.connect(post("/a", 1001));
  std::string answer = rig.sim().read(peer);
  EXPECT(count_of(answer, "HTTP/1.1 503 ") == 1);
  EXPECT(count_of(answer, "\r\nConnection: close\r\n") == 1);
}

TEST("a request that finds no place among limits.maxInFlight waits for maxQueueDelay at most") {
  Rig rig(limits_of(2));
  SimPeer one = rig.connect(get("/one"));
  SimPeer two = rig.connect(get("/two"));
  std::vector<Taken> taken = rig.take();  // and never answers
  EXPECT(taken.size() == 2);
  SimPeer third = rig.connect(get("/three") + get("/static"));
  rig.pass(kMost - 1);
  EXPECT(rig.sim().read(third).empty());
  rig.pass(1);
  std::string answers = rig.sim().read(third);
  EXPECT(is_shed(answers));
  EXPECT(count_of(answers, "fixed") == 1);

  // It waits anew with its next request, and is served when one of them is answered in time.
  rig.send(third, get("/four"));
  rig.pass(kMost - 1);
  rig.respond(taken[0].id, "done");
  Taken four = rig.take_one();
  EXPECT(four.target == "/four");
  rig.respond(four.id, "four");
  rig.respond(taken[1].id, "two");
  EXPECT(count_of(rig.sim().read(third), "four") == 1);
  EXPECT(count_of(rig.sim().read(one), "done") == 1);
  EXPECT(count_of(rig.sim().read(two), "two") == 1);
  EXPECT(rig.stats().shed.get() == 1);
}

TEST("a request that waited its time is served all the same where there is room by then") {
  Rig rig(limits_of(1));
  SimPeer one = rig.connect(get("/one"));
  Taken taken = rig.take_one();
  SimPeer two = rig.connect(get("/two"));
  // The loop sees both in one turn: the answer that frees the place, and the time.
  rig.sim().advance(kMost + 50);
  EXPECT(put_response(rig.lane(), taken.id, "one"));
  rig.turn();
  taken = rig.take_one();
  EXPECT(taken.target == "/two");
  rig.respond(taken.id, "two");
  EXPECT(count_of(rig.sim().read(two), "two") == 1);
  EXPECT(count_of(rig.sim().read(one), "one") == 1);
  EXPECT(rig.stats().shed.get() == 0);
}

TEST("a request with its body waits for a place no longer than others") {
  Rig rig(limits_of(1));
  std::string text = post("/late", 100);
  SimPeer late = rig.connect(text.substr(0, text.size() - 1));
  SimPeer one = rig.connect(get("/one"));
  Taken taken = rig.take_one();
  rig.send(late, text.substr(text.size() - 1));
  rig.pass(kMost - 1);
  EXPECT(rig.sim().read(late).empty());
  rig.pass(1);
  EXPECT(is_shed(rig.sim().read(late)));
  rig.respond(taken.id, "one");
  rig.send(late, get("/again"));
  taken = rig.take_one();
  EXPECT(taken.target == "/again");
  rig.respond(taken.id, "again");
  EXPECT(count_of(rig.sim().read(late), "again") == 1);
  EXPECT(count_of(rig.sim().read(one), "one") == 1);
}

TEST("a limit of 0 lets requests wait without an end") {
  Limits limits = limits_of(1);
  limits.queue_delay_max = 0;
  Rig rig(limits);
  SimPeer one = rig.connect(get("/one"));
  SimPeer two = rig.connect(get("/two"));
  rig.pass(10'000'000);
  Taken taken = rig.take_one();
  rig.respond(taken.id, "one");
  taken = rig.take_one();
  EXPECT(taken.target == "/two");
  rig.respond(taken.id, "two");
  EXPECT(count_of(rig.sim().read(one) + rig.sim().read(two), "HTTP/1.1 200 ") == 2);
  EXPECT(rig.stats().shed.get() == 0);
}

// As on an inline host whose JS thread was busy: they were sent meanwhile and are only read now.
TEST("requests that arrived while nobody ran the loop are not shed") {
  Rig rig(limits_of());
  SimPeer first = rig.connect(get("/first"));
  EXPECT(rig.take().size() == 1);  // in the handler that takes its time
  std::vector<SimPeer> peers;
  for (int i = 0; i < 20; i++) {
    peers.push_back(rig.sim().connect(0));
    rig.sim().write(peers.back(), get("/meanwhile"));
  }
  rig.pass(10 * kMost);
  EXPECT(rig.take().size() == 20);
  EXPECT(rig.stats().shed.get() == 0);
  EXPECT(rig.sim().read(first).empty());
}

// Peers that come and go while every place is taken must not make the loop's list of them grow.
TEST("whoever waits stands in the loop's list once, however often it gives up") {
  Rig rig(limits_of(1));
  SimPeer one = rig.connect(get("/one"));
  Taken taken = rig.take_one();
  SimPeer peer = rig.connect();
  for (int i = 0; i < 50; i++) {
    rig.send(peer, get("/more"));
    rig.pass(kMost + Timers::kTick);
    EXPECT(is_shed(rig.sim().read(peer)));
  }
  for (int i = 0; i < 50; i++) {
    SimPeer passer = rig.connect(get("/passing"));
    rig.sim().reset(passer);
    rig.turn();
  }
  EXPECT(rig.loop().waiting_for_exchanges() <= 2);
  rig.respond(taken.id, "one");
  EXPECT(count_of(rig.sim().read(one), "one") == 1);
}

// --- the session alone ---

std::string upgrade_of(const std::string& target) {
  return "GET " + target +
         " HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
}

TEST("a handshake is shed as a request is, and a request behind it is answered") {
  Limits limits;
  Router router;
  add_routes(router);
  FakeSink sink(limits, router);
  sink.overloaded = true;
  sink.feed(upgrade_of("/socket") + get("/static"));
  EXPECT(count_of(sink.written, "HTTP/1.1 503 ") == 1);
  EXPECT(count_of(sink.written, "HTTP/1.1 200 ") == 1);
  EXPECT(sink.events.empty());
  sink.overloaded = false;
  sink.feed(upgrade_of("/socket"));
  EXPECT(sink.events.size() == 1);
}

TEST("a streamed upload without a known end is answered at once, and the connection ends") {
  Limits limits;
  Router router;
  Route handler;
  handler.kind = RouteKind::Handler;
  handler.body = BodyMode::Stream;
  router.set_fallback(std::move(handler));
  router.seal();
  FakeSink sink(limits, router);
  sink.overloaded = true;
  sink.feed("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
  EXPECT(count_of(sink.written, "HTTP/1.1 503 ") == 1);
  EXPECT(count_of(sink.written, "\r\nConnection: close\r\n") == 1);
  EXPECT(!sink.is_open());
}

TEST("splitting what is shed at any byte changes nothing") {
  Limits limits;
  Router router;
  add_routes(router);
  std::string text = get("/a") + post("/b", 20) + get("/static");
  std::string whole;
  for (size_t cut = 0; cut < text.size(); cut++) {
    FakeSink sink(limits, router);
    sink.overloaded = true;
    sink.feed(text.substr(0, cut));
    sink.feed(text.substr(cut));
    if (cut == 0) whole = sink.written;
    EXPECT(sink.written == whole);
    EXPECT(sink.refusals.size() == 2);
  }
  EXPECT(count_of(whole, "HTTP/1.1 503 ") == 2);
}

}  // namespace
}  // namespace millrace::test
