// Accepting over sim: its limits, descriptors that run out; and a long run under faults.
#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "test/loop_rig.h"

namespace millrace::test {
namespace {

TEST("connections_max is never passed, and who waits is accepted when one closes") {
  Limits limits;
  limits.connections_max = 3;
  Rig rig(limits);
  std::vector<SimPeer> peers;
  for (int i = 0; i < 2; i++) peers.push_back(rig.connect(get("/static")));
  EXPECT(rig.stats().accept_pauses.get() == 0);
  for (int i = 0; i < 5; i++) peers.push_back(rig.sim().connect(0));  // in one wait
  rig.turn();
  EXPECT(rig.stats().connections.get() == 3);
  EXPECT(rig.stats().accept_pauses.get() == 1);
  rig.sim().write(peers[6], get("/static"));
  rig.pass(5000);  // time alone changes nothing
  EXPECT(rig.stats().connections.get() == 3);
  EXPECT(rig.sim().read(peers[6]).empty());
  for (size_t i = 0; i < 4; i++) {
    rig.sim().reset(peers[i]);
    rig.turn(6);  // reset, closed, accepted, read
  }
  EXPECT(rig.stats().connections.get() == 3);
  EXPECT(rig.sim().read(peers[6]).ends_with("fixed"));
  EXPECT(rig.take().empty());  // a limit of ours is no problem of the system's
}

TEST("accepting pauses when descriptors run out and goes on after a while") {
  Rig rig;
  rig.sim().fail_next_accept(EMFILE);
  SimPeer peer = rig.connect(get("/static"));
  Taken problem = rig.take_one();
  EXPECT(problem.kind == EventKind::Problem && problem.status == EMFILE);
  EXPECT(rig.stats().accept_pauses.get() == 1);
  EXPECT(rig.work() == 100);
  rig.pass(99);
  EXPECT(rig.stats().connections.get() == 0);
  rig.pass(1);
  EXPECT(rig.sim().read(peer).ends_with("fixed"));
  // The next one within ten seconds is not told again.
  rig.sim().fail_next_accept(EMFILE);
  rig.connect();
  EXPECT(rig.take().empty());
  rig.pass(100);
  EXPECT(rig.stats().connections.get() == 2);
}

TEST("accepting goes on at once when a connection closes") {
  Rig rig;
  SimPeer first = rig.connect();
  rig.sim().fail_next_accept(ENFILE);
  SimPeer second = rig.connect(get("/static"));
  EXPECT(rig.take_one().status == ENFILE);
  rig.sim().reset(first);
  rig.turn(6);
  EXPECT(rig.sim().read(second).ends_with("fixed"));
}

TEST("reserve_fds descriptors stay free even when many knock at once") {
  Limits limits;
  limits.reserve_fds = 5;
  Rig rig(limits);
  rig.sim().set_descriptors_left(8);
  for (int i = 0; i < 64; i++) rig.sim().connect(0);
  rig.poll(rig.work());
  EXPECT(rig.stats().connections.get() == 3);
  rig.sim().set_descriptors_left(5);
  rig.turn();
  EXPECT(rig.stats().connections.get() == 4);  // one to find out
  EXPECT(rig.stats().accept_pauses.get() == 1);
  EXPECT(rig.take_one().status == EMFILE);
  rig.pass(500);
  EXPECT(rig.stats().connections.get() == 4);
  rig.sim().set_descriptors_left(1000);
  rig.pass(100);
  EXPECT(rig.stats().connections.get() == 64);
}

TEST("reserve_fds of -1 uses the last descriptor") {
  Limits limits;
  limits.reserve_fds = -1;
  Rig rig(limits);
  rig.sim().set_descriptors_left(0);
  rig.connect();
  EXPECT(rig.stats().connections.get() == 1);
}

TEST("a closing loop does not try to accept again") {
  Rig rig;
  SimPeer peer = rig.connect(get("/"));
  EXPECT(rig.take_one().kind == EventKind::Request);
  rig.sim().fail_next_accept(EMFILE);
  rig.sim().set_descriptors_left(0);
  rig.connect();
  EXPECT(rig.take_one().kind == EventKind::Problem);
  EXPECT(put_control(rig.lane(), CommandKind::Close, 1000));
  static_cast<void>(rig.work());
  rig.sim().reset(peer);
  rig.turn();
  EXPECT(rig.take().size() == 2);  // Aborted, Drained
  rig.pass(200'000);
  EXPECT(rig.work() == kNever);
}

TEST("closing ends the tries of a loop that could not accept") {
  Rig rig;
  rig.sim().fail_next_accept(EMFILE);
  rig.connect();
  EXPECT(rig.take_one().kind == EventKind::Problem);
  rig.control(CommandKind::Close, 1000);
  EXPECT(rig.take_one().kind == EventKind::Drained);
  EXPECT(rig.work() == kNever);
}

// --- everything at once ---

struct Soak {
  uint64_t random;
  std::vector<SimPeer> peers = {};
  std::map<uint64_t, int> open = {};  // exchanges the consumer holds
  size_t requests = 0;
  size_t ends = 0;  // answered or aborted

  uint64_t draw(uint64_t below) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return (random >> 33) % below;
  }
};

uint64_t key_of(ExchangeId id) { return (uint64_t{id.slot} << 32) | id.generation; }

void act_as_peer(Rig& rig, Soak& soak) {
  if (soak.draw(4) == 0 || soak.peers.empty()) {
    soak.peers.push_back(rig.sim().connect(0));
    if (soak.draw(8) == 0) rig.sim().limit_window(soak.peers.back(), soak.draw(5000));
  }
  SimPeer peer = soak.peers[soak.draw(soak.peers.size())];
  switch (soak.draw(10)) {
    case 0: return rig.sim().half_close(peer);
    case 1: return rig.sim().close(peer);
    case 2: return rig.sim().reset(peer);
    case 3: return rig.sim().write(peer, "GET /cut");
    case 4: return rig.sim().write(peer, get("/static"));
    case 5: return rig.sim().write(peer, post("/", 1 + soak.draw(40'000)));
    default: return rig.sim().write(peer, get("/1") + get("/2") + get("/3"));
  }
}

void act_as_consumer(Rig& rig, Soak& soak) {
  for (const Taken& taken : rig.take(soak.draw(20))) {
    if (taken.kind == EventKind::Request) {
      EXPECT(soak.open.emplace(key_of(taken.id), 1).second);
      soak.requests++;
    } else if (taken.kind == EventKind::Aborted) {
      // An answer that was on its way may have crossed it, but then it is not in our books.
      soak.ends += soak.open.erase(key_of(taken.id));
    }
  }
  while (!soak.open.empty() && soak.draw(3) > 0) {
    auto each = soak.open.begin();
    std::advance(each, static_cast<std::ptrdiff_t>(soak.draw(soak.open.size())));
    ExchangeId id{static_cast<uint32_t>(each->first >> 32), static_cast<uint32_t>(each->first)};
    if (!put_response(rig.lane(), id, std::string(soak.draw(30'000), 'r'))) return;
    soak.open.erase(each);
    soak.ends++;
  }
}

void run_soak(uint64_t seed, bool closes) {
  context = "seed " + std::to_string(seed);
  Limits limits;
  limits.in_flight_max = 20;
  limits.pipeline_max = 4;
  limits.connections_max = 50;
  limits.buffered_bytes_max = 20'000;
  limits.write_timeout = 3000;
  limits.handler_timeout = seed % 2 == 0 ? 0 : 500;
  SimFaults faults{seed, 200, 200, 2, 50};
  Rig rig(limits, faults);
  Soak soak{seed};
  for (int i = 0; i < 3000; i++) {
    if (closes && i == 2500) EXPECT(put_control(rig.lane(), CommandKind::Close, 5000));
    act_as_peer(rig, soak);
    if (soak.draw(2) == 0) act_as_consumer(rig, soak);
    rig.sim().advance(static_cast<Milliseconds>(soak.draw(30)));
    rig.poll(rig.work());
    EXPECT(rig.stats().connections.get() <= 50);
    EXPECT(rig.stats().in_flight.get() <= 20);
  }
  rig.sim().set_faults({});
  // The consumer goes on until the loop has nothing more for it; the peers have all left.
  for (SimPeer peer : soak.peers) rig.sim().reset(peer);
  for (int i = 0; i < 200; i++) {
    act_as_consumer(rig, soak);
    rig.pass(50);
  }
  EXPECT(rig.stats().connections.get() == 0);
  EXPECT(soak.requests > 500);
  EXPECT(soak.requests == soak.ends + soak.open.size());
  EXPECT(soak.open.empty());
  context.clear();
}

TEST("under faults every exchange ends once and nothing is left behind") {
  for (uint64_t seed = 1; seed <= 20; seed++) run_soak(seed, false);
}

TEST("a loop that closes under faults ends too") {
  for (uint64_t seed = 21; seed <= 30; seed++) run_soak(seed, true);
}

}  // namespace
}  // namespace millrace::test
