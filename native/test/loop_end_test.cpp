// How connections and loops end, over sim: write stalls, refusals, resets, drain and close.
#include <string>
#include <vector>

#include "test/loop_rig.h"

namespace millrace::test {
namespace {

// --- peers that do not read ---

TEST("a peer that never reads is reset when the write timeout passes, and not before") {
  Limits limits;
  limits.write_timeout = 30'000;
  Rig rig(limits);
  SimPeer peer = rig.connect(get("/"));
  rig.sim().limit_window(peer, 1000);
  rig.respond(rig.take_one().id, std::string(100'000, 'x'));
  rig.pass(29'900);
  EXPECT(!rig.sim().saw_close(peer));
  rig.sim().limit_window(peer, 1);  // one byte of progress starts the time anew
  rig.turn();
  rig.pass(29'900);
  EXPECT(!rig.sim().saw_close(peer));
  rig.pass(150);
  EXPECT(rig.sim().saw_reset(peer));
  EXPECT(rig.stats().write_timeouts.get() == 1);
  EXPECT(rig.stats().connections.get() == 0);
}

TEST("a write timeout of 0 waits for ever") {
  Limits limits;
  limits.write_timeout = 0;
  Rig rig(limits);
  SimPeer peer = rig.connect(get("/"));
  rig.sim().limit_window(peer, 0);
  rig.respond(rig.take_one().id, "slow");
  rig.pass(80'000'000);
  EXPECT(!rig.sim().saw_close(peer));
  rig.sim().limit_window(peer, UINT64_MAX);
  rig.turn();
  EXPECT(rig.sim().read(peer).ends_with("slow"));
}

TEST("beyond buffered_bytes_max no further request is read until the peer takes what waits") {
  Limits limits;
  limits.buffered_bytes_max = 4096;
  Rig rig(limits);
  SimPeer peer = rig.connect(get("/1"));
  rig.sim().limit_window(peer, 0);
  rig.respond(rig.take_one().id, std::string(3000, 'x'));
  rig.send(peer, get("/below"));
  Taken below = rig.take_one();
  EXPECT(below.target == "/below");
  rig.respond(below.id, std::string(3000, 'y'));
  rig.send(peer, get("/beyond") + get("/more"));
  EXPECT(rig.take().empty());
  rig.sim().limit_window(peer, UINT64_MAX);
  rig.turn();
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2 && taken[0].target == "/beyond" && taken[1].target == "/more");
  EXPECT(count_of(rig.sim().read(peer), "HTTP/1.1 200 OK") == 2);
  for (const Taken& each : taken) rig.respond(each.id, "z");
  EXPECT(count_of(rig.sim().read(peer), "HTTP/1.1 200 OK") == 2);
}

// --- refusals ---

TEST("a refused client that goes on sending reads the refusal, and is closed when linger ends") {
  Rig rig;
  SimPeer peer = rig.connect("GET / HTTP/1.1\r\nbad header\r\n\r\n");
  EXPECT(rig.sim().read(peer).starts_with("HTTP/1.1 400 "));
  EXPECT(rig.sim().saw_half_close(peer));
  for (int i = 0; i < 9; i++) {
    rig.send(peer, get("/never parsed"));
    rig.pass(100);
    EXPECT(!rig.sim().saw_close(peer));
  }
  rig.pass(120);
  EXPECT(rig.sim().saw_close(peer));
  EXPECT(!rig.sim().saw_reset(peer));
  EXPECT(rig.stats().requests.get() == 0);
}

TEST("a gateway whose request was answered is closed at once, one that is refused is not") {
  Rig rig;
  EXPECT(rig.loop().listen(1, Fd(), find_protocol("scgi")).is_ok());
  SimPeer peer = rig.sim().connect(1);
  rig.send(peer, std::string("35:CONTENT_LENGTH\0"
                             "2\0SCGI\0"
                             "1\0X\0"
                             "12345678\0,ab",
                             41));
  rig.respond(rig.take_one().id, "whole");
  EXPECT(rig.sim().read(peer).ends_with("whole"));
  EXPECT(rig.sim().saw_close(peer) && !rig.sim().saw_reset(peer));
  SimPeer refused = rig.sim().connect(1);
  rig.send(refused, "12x");
  EXPECT(rig.sim().saw_half_close(refused) && !rig.sim().saw_close(refused));
}

// Why: a reset for what nobody read would take the answer with it.
TEST("a gateway that sends more than its request is lingered for") {
  const std::string request("24:CONTENT_LENGTH\0002\0SCGI\0001\0,ab", 30);
  for (bool before : {true, false}) {
    Rig rig;
    EXPECT(rig.loop().listen(1, Fd(), find_protocol("scgi")).is_ok());
    SimPeer peer = rig.sim().connect(1);
    rig.send(peer, before ? request + "x" : request);
    if (!before) rig.send(peer, "x");
    rig.respond(rig.take_one().id, "whole");
    EXPECT(rig.sim().read(peer).ends_with("whole"));
    EXPECT(rig.sim().saw_half_close(peer) && !rig.sim().saw_close(peer));
  }
}

TEST("a refused client that ends its side is closed at once") {
  Rig rig;
  SimPeer peer = rig.connect("GET / HTTP/9.9\r\n\r\n");
  EXPECT(rig.sim().saw_half_close(peer));
  EXPECT(!rig.sim().saw_close(peer));
  rig.sim().half_close(peer);
  rig.turn();
  EXPECT(rig.sim().saw_close(peer));
}

TEST("a refusal behind pipelined requests leaves after their answers") {
  Rig rig;
  SimPeer peer = rig.connect(get("/1") + "bad\n\n");
  EXPECT(rig.sim().read(peer).empty());
  rig.respond(rig.take_one().id, "one");
  std::string all = rig.sim().read(peer);
  EXPECT(all.find("one") < all.find("HTTP/1.1 400 "));
  EXPECT(rig.sim().saw_half_close(peer));
}

// --- peers that leave ---

TEST("a reset gives each exchange in flight exactly one Aborted, and late answers are counted") {
  Rig rig;
  SimPeer peer = rig.connect(get("/1") + get("/2") + get("/3"));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 3);
  rig.respond(taken[1].id, "answered, but not its turn");
  rig.sim().reset(peer);
  rig.turn();
  std::vector<Taken> ends = rig.take();
  EXPECT(ends.size() == 2);
  for (const Taken& end : ends) EXPECT(end.kind == EventKind::Aborted);
  EXPECT(ends[0].id == taken[0].id && ends[1].id == taken[2].id);
  rig.respond(taken[0].id, std::string(100'000, 'x'));  // a blob: freed, not leaked
  rig.respond(taken[2].id, "late");
  rig.respond(taken[0].id, "later");
  EXPECT(rig.stats().late_commands.get() == 3);
  EXPECT(rig.stats().aborted.get() == 2);
  EXPECT(rig.take().empty());
}

TEST("a half-close is told, and the answer still delivered") {
  Rig rig;
  SimPeer peer = rig.connect(get("/"));
  rig.sim().half_close(peer);
  rig.turn();
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2);
  EXPECT(taken[0].kind == EventKind::Request && taken[1].kind == EventKind::PeerClosed);
  EXPECT(taken[0].id == taken[1].id);
  rig.respond(taken[0].id, "still here");
  EXPECT(rig.sim().read(peer).ends_with("still here"));
  EXPECT(rig.sim().saw_close(peer));
  EXPECT(!rig.sim().saw_reset(peer));
}

TEST("a peer that vanishes under a write gives up the exchanges behind it") {
  Rig rig;
  SimPeer peer = rig.connect(get("/1") + get("/2"));
  std::vector<Taken> taken = rig.take();
  rig.sim().close(peer);
  rig.turn();
  for (const Taken& told : rig.take()) EXPECT(told.kind == EventKind::PeerClosed);
  rig.sim().reset(peer);
  EXPECT(put_response(rig.lane(), taken[0].id, "meets a reset"));
  static_cast<void>(rig.work());
  // Told in the turn that found out: a loop may sleep now.
  Taken end = rig.take_one();
  EXPECT(end.kind == EventKind::Aborted && end.id == taken[1].id);
}

TEST("Cut resets the connection of an exchange and aborts the others of it") {
  Rig rig;
  SimPeer peer = rig.connect(get("/1") + get("/2"));
  std::vector<Taken> taken = rig.take();
  Command cut;
  cut.kind = static_cast<uint16_t>(CommandKind::Cut);
  cut.exchange = taken[0].id;
  EXPECT(put_command(rig.lane(), cut));
  rig.turn();
  EXPECT(rig.sim().saw_reset(peer));
  EXPECT(rig.take().size() == 2);
}

TEST("notices wait for room in the lane and none is lost") {
  Rig rig;
  std::vector<SimPeer> peers;
  for (int i = 0; i < 10; i++) peers.push_back(rig.connect(get("/")));
  // No request waits, so nothing else asks for room.
  while (char* record = rig.lane().events.reserve(sizeof(Event))) {
    new (record) Event();
    reinterpret_cast<Event*>(record)->size = sizeof(Event);
    reinterpret_cast<Event*>(record)->kind = static_cast<uint16_t>(EventKind::Problem);
    rig.lane().events.commit(sizeof(Event));
  }
  for (SimPeer peer : peers) rig.sim().reset(peer);
  rig.turn();
  rig.control(CommandKind::Close);
  EXPECT(rig.stats().connections.get() == 0);
  EXPECT(rig.lane().loop_waits_for_room);
  size_t requests = 0;
  size_t aborted = 0;
  size_t drained = 0;
  for (const Taken& taken : rig.take_while_asleep(5)) {
    requests += taken.kind == EventKind::Request ? 1 : 0;
    aborted += taken.kind == EventKind::Aborted ? 1 : 0;
    drained += taken.kind == EventKind::Drained ? 1 : 0;
  }
  EXPECT(requests == 10);
  EXPECT(aborted == 10);
  EXPECT(drained == 1);
  EXPECT(!rig.lane().loop_waits_for_room);
}

// --- drain and close ---

TEST("close cuts who is idle, answers who is not, and reports both") {
  Rig rig;
  SimPeer idle = rig.connect(get("/static"));
  SimPeer busy = rig.connect(get("/"));
  Taken taken = rig.take_one();
  rig.control(CommandKind::Close, 10'000);
  EXPECT(rig.stats().listeners.get() == 0);
  SimPeer late = rig.connect(get("/"));
  EXPECT(rig.sim().read(late).empty());
  EXPECT(rig.sim().saw_half_close(idle));
  EXPECT(!rig.sim().saw_half_close(busy));
  rig.sim().half_close(idle);
  rig.turn();
  EXPECT(rig.sim().saw_close(idle));
  EXPECT(rig.take().empty());
  rig.respond(taken.id, "the last");
  std::string answer = rig.sim().read(busy);
  EXPECT(answer.find("Connection: close\r\n") != std::string::npos);
  EXPECT(answer.ends_with("the last"));
  rig.sim().half_close(busy);
  rig.turn();
  Taken drained = rig.take_one();
  EXPECT(drained.kind == EventKind::Drained);
  EXPECT(drained.head_a == 1 && drained.head_b == 0);
}

TEST("close forces what is left at its deadline") {
  Rig rig;
  SimPeer busy = rig.connect(get("/1") + get("/2"));
  SimPeer idle = rig.connect(get("/static"));
  EXPECT(rig.take().size() == 2);
  rig.control(CommandKind::Close, 2000);
  rig.pass(1990);
  EXPECT(rig.stats().connections.get() == 1);  // the idle one lingered for a second
  EXPECT(rig.sim().saw_close(idle) && !rig.sim().saw_reset(idle));
  EXPECT(rig.take().empty());
  rig.pass(10);
  EXPECT(rig.sim().saw_reset(busy));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 3);
  EXPECT(taken[0].kind == EventKind::Aborted && taken[1].kind == EventKind::Aborted);
  EXPECT(taken[2].kind == EventKind::Drained);
  EXPECT(taken[2].head_a == 0 && taken[2].head_b == 2);
}

TEST("close with a wait for idle connections: each may bring one more request, then it is ended") {
  Rig rig;
  SimPeer asking = rig.connect(get("/static"));
  SimPeer silent = rig.connect(get("/static"));
  SimPeer fresh = rig.connect();
  SimPeer busy = rig.connect(get("/busy"));
  Taken taken = rig.take_one();
  static_cast<void>(rig.sim().read(asking));
  rig.control(CommandKind::Close, 15'000, 5000);
  EXPECT(rig.stats().listeners.get() == 0);
  for (SimPeer peer : {asking, silent, fresh, busy}) EXPECT(!rig.sim().saw_half_close(peer));
  rig.pass(4900);
  rig.send(asking, get("/static"));
  std::string answer = rig.sim().read(asking);
  EXPECT(answer.starts_with("HTTP/1.1 200 "));
  EXPECT(answer.find("Connection: close\r\n") != std::string::npos);
  EXPECT(rig.sim().saw_half_close(asking));
  for (SimPeer peer : {silent, fresh, busy}) EXPECT(!rig.sim().saw_half_close(peer));
  rig.pass(200);
  for (SimPeer peer : {silent, fresh}) EXPECT(rig.sim().saw_half_close(peer));
  EXPECT(!rig.sim().saw_half_close(busy));
  rig.pass(9800);
  EXPECT(!rig.sim().saw_reset(busy));
  EXPECT(rig.take().empty());
  rig.pass(200);
  EXPECT(rig.sim().saw_reset(busy));
  std::vector<Taken> ends = rig.take();
  EXPECT(ends.size() == 2 && ends[0].id == taken.id && ends[1].kind == EventKind::Drained);
  EXPECT(ends[1].head_a == 0 && ends[1].head_b == 1);
}

TEST("a wait for idle connections is over when none is left") {
  Rig rig;
  SimPeer peer = rig.connect(get("/static"));
  rig.control(CommandKind::Close, 15'000, 5000);
  EXPECT(rig.take().empty());
  rig.sim().half_close(peer);
  rig.turn();
  EXPECT(rig.take_one().kind == EventKind::Drained);
}

TEST("a second close takes time away from the first, and adds none") {
  Rig rig;
  SimPeer idle = rig.connect(get("/static"));
  SimPeer busy = rig.connect(get("/busy"));
  static_cast<void>(rig.take_one());
  rig.control(CommandKind::Close, 15'000, 5000);
  rig.control(CommandKind::Close, 90'000, 80'000);
  rig.pass(100);
  EXPECT(!rig.sim().saw_half_close(idle));
  rig.control(CommandKind::Close, 2000, 0);
  rig.turn();
  EXPECT(rig.sim().saw_half_close(idle));
  EXPECT(!rig.sim().saw_reset(busy));
  rig.pass(2000);
  EXPECT(rig.sim().saw_reset(busy));
}

TEST("who stands in the backlog when the listener is closed is accepted and answered") {
  Rig rig;
  SimPeer asking = rig.sim().connect(0);
  rig.sim().write(asking, get("/static"));
  SimPeer silent = rig.sim().connect(0);
  rig.control(CommandKind::Close, 10'000);
  EXPECT(rig.sim().read(asking).starts_with("HTTP/1.1 200 "));
  EXPECT(!rig.sim().saw_half_close(silent));
  SimPeer late = rig.connect(get("/static"));
  EXPECT(rig.sim().read(late).empty());
  rig.pass(1100);
  EXPECT(rig.sim().saw_half_close(silent));
  rig.pass(1100);
  EXPECT(rig.take_one().kind == EventKind::Drained);
}

TEST("who leaves by itself while the loop closes is neither completed nor forced") {
  Rig rig;
  SimPeer peer = rig.connect(get("/"));
  EXPECT(rig.take().size() == 1);
  rig.control(CommandKind::Close, 2000);
  rig.sim().reset(peer);
  rig.turn();
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2);
  EXPECT(taken[1].kind == EventKind::Drained);
  EXPECT(taken[1].head_a == 0 && taken[1].head_b == 0);
}

TEST("close with a wait of 0 ends at once, unread answers included") {
  Rig rig;
  SimPeer peer = rig.connect(get("/"));
  rig.sim().limit_window(peer, 0);
  rig.respond(rig.take_one().id, std::string(50'000, 'x'));
  rig.control(CommandKind::Close, 0);
  EXPECT(rig.sim().saw_reset(peer));
  Taken drained = rig.take_one();
  EXPECT(drained.kind == EventKind::Drained);
}

TEST("a loop without connections is drained at once, and once only") {
  Rig rig;
  rig.control(CommandKind::Close, 1000);
  EXPECT(rig.take_one().kind == EventKind::Drained);
  rig.control(CommandKind::Close, 1000);
  rig.pass(2000);
  EXPECT(rig.take().empty());
}

TEST("draining still serves: each answer says close, and ready is 503") {
  Rig rig;
  SimPeer before = rig.connect(get("/ready"));
  EXPECT(rig.sim().read(before).starts_with("HTTP/1.1 200 "));
  SimPeer busy = rig.connect(get("/busy"));
  Taken taken = rig.take_one();
  rig.control(CommandKind::Drain);
  EXPECT(!rig.sim().saw_half_close(before));
  SimPeer probe = rig.connect(get("/ready"));
  EXPECT(rig.sim().read(probe).starts_with("HTTP/1.1 503 "));
  EXPECT(rig.sim().saw_half_close(probe));
  SimPeer fresh = rig.connect(get("/fresh"));
  rig.respond(rig.take_one().id, "served");
  std::string answer = rig.sim().read(fresh);
  EXPECT(answer.starts_with("HTTP/1.1 200 "));
  EXPECT(answer.find("Connection: close\r\n") != std::string::npos);
  rig.respond(taken.id, "served too");
  EXPECT(rig.sim().read(busy).find("Connection: close\r\n") != std::string::npos);
  rig.send(before, get("/static"));
  EXPECT(rig.sim().read(before).find("Connection: close\r\n") != std::string::npos);
  rig.pass(2000);
  EXPECT(rig.stats().connections.get() == 0);
  EXPECT(rig.stats().listeners.get() == 1);
  EXPECT(rig.take().empty());
}

TEST("a loop that ends without being closed frees what it holds") {
  Limits limits;
  Router router;
  add_routes(router);
  auto poller = std::make_unique<Sim>();
  Sim& sim = *poller;
  Disk disk;
  Loop loop(std::move(poller), limits, router, disk, 1);
  EXPECT(loop.listen(0, Fd(), find_protocol("http")).is_ok());
  SimPeer peer = sim.connect(0);
  sim.limit_window(peer, 0);
  sim.write(peer, post("/", 100'000) + get("/static") + "GET /unfinished");
  RoleScope role(loop_thread);
  for (int i = 0; i < 4; i++) loop.poll(loop.work());
  EXPECT(loop.stats_view().in_flight.get() == 1);
  Command command;
  command.kind = static_cast<uint16_t>(CommandKind::Respond);
  command.exchange = {99, 99};
  EXPECT(put_command(loop.lane(), command, "", std::string(100'000, 'x')));
}

}  // namespace
}  // namespace millrace::test
