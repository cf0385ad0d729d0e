// The turn of a loop over sim: requests to the lane and answers back, and what happens when either
// is full.
#include "core/loop/loop.h"

#include <string>
#include <vector>

#include "test/loop_rig.h"

namespace millrace::test {
namespace {

TEST("a request reaches the consumer and its answer the peer") {
  Rig rig;
  SimPeer peer = rig.connect(post("/path", 3));
  Taken taken = rig.take_one();
  EXPECT(taken.kind == EventKind::Request);
  EXPECT(taken.target == "/path");
  EXPECT(taken.body == "bbb");
  EXPECT(rig.stats().in_flight.get() == 1);
  EXPECT(rig.stats().idle.get() == 0);
  rig.respond(taken.id, "hello");
  std::string answer = rig.sim().read(peer);
  EXPECT(answer.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT(answer.ends_with("\r\n\r\nhello"));
  EXPECT(rig.stats().in_flight.get() == 0);
  EXPECT(rig.stats().idle.get() == 1);
  EXPECT(rig.stats().connections.get() == 1);
}

TEST("a large body travels as a blob, both ways") {
  Rig rig;
  SimPeer peer = rig.connect(post("/", 100'000));
  Taken taken = rig.take_one();
  EXPECT(taken.body == std::string(100'000, 'b'));
  rig.respond(taken.id, std::string(200'000, 'c'));
  EXPECT(rig.sim().read(peer).ends_with(std::string(200'000, 'c')));
}

TEST("a static route is answered without the consumer") {
  Rig rig;
  SimPeer peer = rig.connect(get("/static"));
  EXPECT(rig.take().empty());
  EXPECT(rig.sim().read(peer).ends_with("fixed"));
  EXPECT(rig.stats().native_responses.get() == 1);
}

// Fills the lane: each request carries a body that travels inside its event.
std::vector<SimPeer> overfill(Rig& rig, size_t peers, size_t requests_each) {
  std::vector<SimPeer> all;
  for (size_t i = 0; i < peers; i++) {
    SimPeer peer = rig.sim().connect(0);
    for (size_t k = 0; k < requests_each; k++) {
      rig.sim().write(peer,
                      post("/" + std::to_string(peer) + "/" + std::to_string(k), kInlineBodyMax));
    }
    all.push_back(peer);
  }
  for (int i = 0; i < 20; i++) rig.turn();
  return all;
}

// Many requests of one connection at a time, although nobody knows how large their answers are.
Limits roomy() {
  Limits limits;
  limits.buffered_bytes_max = int64_t{1} << 30;
  return limits;
}

TEST("a full lane holds requests back and loses none") {
  Rig rig(roomy());
  constexpr size_t kPeers = 20;
  constexpr size_t kEach = 10;
  std::vector<SimPeer> peers = overfill(rig, kPeers, kEach);
  auto held = static_cast<size_t>(rig.stats().in_flight.get());
  EXPECT(held >= 40 && held <= Lane::kEventBytes / kInlineBodyMax);
  EXPECT(rig.work() == kNever || rig.work() > 0);  // no spinning while there is no room
  std::vector<size_t> next(kPeers, 0);
  size_t seen = 0;
  // Nothing is answered: taking events alone has to bring the rest.
  for (const Taken& taken : rig.take_while_asleep(7)) {
    size_t slash = taken.target.find('/', 1);
    auto peer = static_cast<size_t>(std::stoul(taken.target.substr(1, slash - 1)));
    EXPECT(std::stoul(taken.target.substr(slash + 1)) == next[peer]++);
    EXPECT(taken.body.size() == kInlineBodyMax);
    seen++;
  }
  EXPECT(seen == kPeers * kEach);
}

void count_ring(void* rings) { ++*static_cast<int*>(rings); }

TEST("taking events wakes a loop that holds requests back, and no other") {
  Rig rig(roomy());
  int rings = 0;
  rig.lane().loop_bell.set_wake(&count_ring, &rings);
  rig.connect(get("/"));
  rig.lane().loop_bell.fall_asleep();
  EXPECT(rig.take().size() == 1);
  EXPECT(rings == 0);
  rig.lane().loop_bell.stay_awake();

  overfill(rig, 20, 10);
  rig.lane().loop_bell.fall_asleep();
  EXPECT(!rig.take(1).empty());
  EXPECT(rings == 1);
  for (int i = 0; i < 40; i++) {
    static_cast<void>(rig.take());
    rig.turn();
  }
  rig.lane().loop_bell.fall_asleep();
  rig.connect();
  EXPECT(rig.take().empty());
  EXPECT(!rig.lane().loop_waits_for_room);
}

TEST("a loop does not sleep when room has come since it looked") {
  Rig rig(roomy());
  overfill(rig, 20, 10);
  EXPECT(rig.work() != 0);
  rig.poll(1000);
  EXPECT(rig.sim().allowed_sleep() == 1000);
  EXPECT(rig.work() != 0);
  // Between the look and the flag nobody is asleep, so the bell stays silent.
  static_cast<void>(rig.take());
  rig.poll(1000);
  EXPECT(rig.sim().allowed_sleep() == 0);
}

TEST("a loop does not sleep over a command that came since it looked") {
  Rig rig;
  rig.connect(get("/"));
  Taken taken = rig.take_one();
  static_cast<void>(rig.work());
  EXPECT(put_response(rig.lane(), taken.id, "x"));
  rig.poll(kNever);
  EXPECT(rig.sim().allowed_sleep() == 0);
  static_cast<void>(rig.work());
  rig.poll(kNever);
  EXPECT(rig.sim().allowed_sleep() == kNever);
}

TEST("beyond in_flight_max requests wait, one below does not") {
  Limits limits;
  limits.in_flight_max = 2;
  Rig rig(limits);
  rig.connect(get("/1"));
  SimPeer second = rig.connect(get("/2"));
  SimPeer third = rig.connect(get("/3"));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2);
  EXPECT(rig.stats().in_flight.get() == 2);
  rig.respond(taken[1].id, "two");
  EXPECT(rig.sim().read(second).ends_with("two"));
  Taken last = rig.take_one();
  EXPECT(last.target == "/3");
  rig.respond(last.id, "three");
  EXPECT(rig.sim().read(third).ends_with("three"));
  rig.respond(taken[0].id, "one");
}

TEST("what needs no exchange is answered while none can be opened") {
  Limits limits;
  limits.in_flight_max = 1;
  Rig rig(limits);
  rig.connect(get("/1"));
  Taken first = rig.take_one();
  SimPeer waiting = rig.connect(get("/2"));
  SimPeer fixed = rig.connect(get("/static"));
  SimPeer broken = rig.connect("GET /a\r\n\r\n");
  rig.turn();
  EXPECT(rig.sim().read(fixed).ends_with("fixed"));
  EXPECT(rig.sim().read(broken).starts_with("HTTP/1.1 400 "));
  EXPECT(rig.sim().read(waiting).empty());
  EXPECT(rig.stats().requests.get() == 2);
  rig.respond(first.id, "");
  Taken second = rig.take_one();
  EXPECT(second.target == "/2");
  rig.respond(second.id, "");
}

TEST("a connection that pipelines does not keep the others out when exchanges are scarce") {
  Limits limits;
  limits.in_flight_max = 1;
  Rig rig(limits);
  std::string many;
  for (int i = 0; i < 20; i++) many += get("/greedy");
  rig.connect(many);
  rig.connect(get("/modest"));
  rig.connect(get("/modest"));
  int modest_at = 0;
  for (int i = 1; i <= 22; i++) {
    Taken taken = rig.take_one();
    if (taken.target == "/modest") modest_at = i;
    rig.respond(taken.id, "");
  }
  EXPECT(modest_at > 0 && modest_at <= 5);
}

TEST("in-flight room that an abort frees goes to who waits") {
  Limits limits;
  limits.in_flight_max = 1;
  Rig rig(limits);
  SimPeer first = rig.connect(get("/1"));
  rig.connect(get("/2"));
  EXPECT(rig.take_one().target == "/1");
  rig.sim().reset(first);
  rig.turn();
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2);
  EXPECT(taken[0].kind == EventKind::Aborted);
  EXPECT(taken[1].target == "/2");
}

TEST("in-flight room that a failed write frees is not slept over") {
  Limits limits;
  limits.in_flight_max = 2;
  Rig rig(limits);
  SimPeer first = rig.connect(get("/1") + get("/2"));
  rig.connect(get("/3"));
  rig.connect(get("/4"));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2);
  rig.sim().reset(first);
  EXPECT(put_response(rig.lane(), taken[0].id, "meets a reset"));
  EXPECT(rig.work() == 0);
  EXPECT(rig.work() != 0);
  EXPECT(rig.take().size() == 3);  // 3, the end of 2, and 4
}

TEST("beyond pipeline_max a connection waits for its own answers") {
  Limits limits;
  limits.pipeline_max = 2;
  Rig rig(limits);
  SimPeer peer = rig.connect(get("/1") + get("/2") + get("/3"));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2);
  rig.respond(taken[1].id, "two");  // not its turn yet
  EXPECT(rig.sim().read(peer).empty());
  EXPECT(rig.take().empty());
  rig.respond(taken[0].id, "one");
  Taken last = rig.take_one();
  EXPECT(last.target == "/3");
  rig.respond(last.id, "three");
  std::string all = rig.sim().read(peer);
  EXPECT(count_of(all, "HTTP/1.1 200 OK") == 3);
  EXPECT(all.find("one") < all.find("two") && all.find("two") < all.find("three"));
}

TEST("a full command ring refuses, and has room again after a turn") {
  Rig rig;
  SimPeer peer = rig.connect(get("/"));
  Taken taken = rig.take_one();
  size_t put = 0;
  while (put_response(rig.lane(), {4000, 7}, std::string(8000, 'x'))) put++;
  EXPECT(put == Lane::kCommandBytes / (sizeof(Command) + 8000));
  rig.turn();
  EXPECT(static_cast<size_t>(rig.stats().late_commands.get()) == put);
  rig.respond(taken.id, "fits");
  EXPECT(rig.sim().read(peer).ends_with("fits"));
}

TEST("an inline host's commands see the time of now, not of the last poll") {
  Rig rig;
  rig.connect(get("/"));
  EXPECT(rig.take_one().kind == EventKind::Request);
  rig.sim().advance(5000);  // JavaScript took its time
  EXPECT(put_control(rig.lane(), CommandKind::Close, 1000));
  static_cast<void>(rig.work());
  rig.poll(0);
  EXPECT(rig.stats().in_flight.get() == 1);
  rig.pass(1100);
  EXPECT(rig.stats().in_flight.get() == 0);
}

}  // namespace
}  // namespace millrace::test
