// What JavaScript hears of connections, over sim: that they are there, once and first, and why they
// ended, once and last, whatever the lane and the peers do.
#include <cerrno>
#include <string>
#include <vector>

#include "core/model/proxy_body.h"
#include "test/connection_rig.h"
#include "test/ws_rig.h"

namespace millrace::test {
namespace {

// --- beginnings and ends ---

TEST("nobody hears of connections who has not asked") {
  Rig rig;
  SimPeer peer = rig.connect(get("/a"));
  rig.sim().reset(peer);
  rig.turn();
  EXPECT(lines_of(rig.take()) == "request 0/1 /a; aborted");
}

TEST("a connection is told before its first request and when it is over") {
  Rig rig({}, {}, kAll);
  SimPeer peer = rig.connect();
  EXPECT(lines_of(rig.take()) == "connected 0/1 192.0.2.1");
  rig.send(peer, get("/a"));
  Taken request = rig.take_one();
  EXPECT(line_of(request) == "request 0/1 /a");
  rig.respond(request.id, "x");
  EXPECT(rig.take().empty());
  rig.sim().half_close(peer);
  rig.turn(6);
  EXPECT(lines_of(rig.take()) == "disconnected 0/1 ClosedByClient");
  // The same place, another connection.
  rig.connect(get("/b"));
  EXPECT(lines_of(rig.take()) == "connected 0/2 192.0.2.1; request 0/2 /b");
}

// Ends one connection in some way; what is told of it from its request on.
std::string end_of(void (*end)(Rig& rig, SimPeer peer, ExchangeId id), const Limits& limits = {}) {
  Rig rig(limits, {}, kAll);
  SimPeer peer = rig.connect(get("/"));
  ExchangeId id = last_request(rig);
  end(rig, peer, id);
  rig.turn(6);
  return lines_of(rig.take());
}

template <int error>
void reset(Rig& rig, SimPeer peer, ExchangeId id) {
  rig.respond(id, "x");
  rig.sim().reset(peer, error);
}

template <int error>
void fail_send(Rig& rig, SimPeer peer, ExchangeId id) {
  rig.sim().reset(peer, error);
  EXPECT(put_response(rig.lane(), id, "x"));
  static_cast<void>(rig.work());  // meets it before the poller says so
}

template <ErrorCode kCode>
void cut_for(Rig& rig, SimPeer, ExchangeId id) {
  Command command;
  command.kind = static_cast<uint16_t>(CommandKind::Cut);
  command.exchange = id;
  command.status = static_cast<uint16_t>(CloseCause::Excepted);
  command.amount = static_cast<uint32_t>(kCode);
  EXPECT(put_command(rig.lane(), command));
}

TEST("the errno of the end says who ended it") {
  EXPECT(end_of(&reset<ECONNRESET>) == "disconnected 0/1 ClosedByClient ECONNRESET");
  EXPECT(end_of(&reset<EPIPE>) == "disconnected 0/1 ConnectionLost EPIPE");
  EXPECT(end_of(&reset<ETIMEDOUT>) == "disconnected 0/1 ConnectionLost ETIMEDOUT");
  EXPECT(end_of(&reset<EHOSTUNREACH>) == "disconnected 0/1 NetErrored EHOSTUNREACH");
  EXPECT(end_of(&fail_send<ECONNRESET>) == "disconnected 0/1 ClosedByClient ECONNRESET");
  EXPECT(end_of(&fail_send<EPIPE>) == "disconnected 0/1 ConnectionLost EPIPE");
  EXPECT(end_of(&fail_send<ENETDOWN>) == "disconnected 0/1 NetErrored ENETDOWN");
}

TEST("what the peer owes for too long ends it as timed out, and says which limit it was") {
  EXPECT(end_of([](Rig& rig, SimPeer, ExchangeId id) {
           rig.respond(id, "x");
           rig.pass(75'100);
           rig.pass(1100);
         }) == "disconnected 0/1 TimedOut ERR_MILLRACE_KEEP_ALIVE_TIMEOUT");
  EXPECT(end_of([](Rig& rig, SimPeer peer, ExchangeId id) {
           rig.sim().limit_window(peer, 10);
           rig.respond(id, "x");
           rig.pass(30'100);
         }) == "disconnected 0/1 TimedOut ERR_MILLRACE_WRITE_TIMEOUT");
  Limits limits;
  limits.handler_timeout = 700;
  EXPECT(end_of(
             [](Rig& rig, SimPeer, ExchangeId) {
               rig.pass(800);
               rig.pass(1100);
             },
             limits) == "aborted; disconnected 0/1 TimedOut ERR_MILLRACE_HANDLER_TIMEOUT");
  Rig rig({}, {}, kAll);
  rig.connect();
  rig.pass(10'100);
  rig.pass(1100);
  EXPECT(lines_of(rig.take()) ==
         "connected 0/1 192.0.2.1; disconnected 0/1 TimedOut ERR_MILLRACE_HEADERS_TIMEOUT");
}

TEST("a peer's mistake is told with its code, also when it resets us for the answer") {
  EXPECT(end_of([](Rig& rig, SimPeer peer, ExchangeId id) {
           rig.respond(id, "x");
           rig.send(peer, "nonsense\r\n\r\n");
           rig.pass(1100);
         }) == "disconnected 0/1 ProtocolViolated ERR_MILLRACE_BAD_REQUEST_LINE");
  EXPECT(end_of([](Rig& rig, SimPeer peer, ExchangeId id) {
           rig.respond(id, "x");
           rig.send(peer, "nonsense\r\n\r\n");
           rig.sim().reset(peer);
         }) == "disconnected 0/1 ProtocolViolated ERR_MILLRACE_BAD_REQUEST_LINE");
  EXPECT(end_of([](Rig& rig, SimPeer peer, ExchangeId id) {
           rig.respond(id, "x");
           rig.send(peer, post("/", 100).substr(0, 90));
           rig.sim().half_close(peer);
         }) == "disconnected 0/1 ClosedByClient ERR_MILLRACE_INCOMPLETE");
}

TEST("what ends on our side is told as that") {
  EXPECT(end_of([](Rig& rig, SimPeer, ExchangeId id) {
           Command command;
           command.kind = static_cast<uint16_t>(CommandKind::Respond);
           command.flags = kCommandClose;
           command.exchange = id;
           command.status = 200;
           EXPECT(put_command(rig.lane(), command));
           rig.pass(1100);
           rig.pass(1100);
         }) == "disconnected 0/1 CloseCalled");
  EXPECT(end_of([](Rig& rig, SimPeer, ExchangeId id) {
           rig.respond(id, "x");
           rig.control(CommandKind::Close, 5000);
           rig.pass(1100);
         }) == "disconnected 0/1 CloseCalled ERR_MILLRACE_CLOSED; other 3");
  EXPECT(end_of([](Rig& rig, SimPeer, ExchangeId) {
           rig.control(CommandKind::Close, 500);
           rig.pass(600);
         }) == "aborted; disconnected 0/1 CloseCalled ERR_MILLRACE_CLOSED; other 3");
  EXPECT(end_of(&cut_for<ErrorCode::None>) == "aborted; disconnected 0/1 Excepted");
  EXPECT(end_of(&cut_for<ErrorCode::SourceFailed>) ==
         "aborted; disconnected 0/1 Excepted ERR_MILLRACE_SOURCE_FAILED");
  EXPECT(end_of(&cut_for<ErrorCode::Count>) == "aborted; disconnected 0/1 Excepted");
}

TEST("a server that is cut off on the spot tells of every connection first") {
  Rig rig({}, {}, kAll);
  rig.connect(get("/"));
  static_cast<void>(rig.take());
  {
    RoleScope role(loop_thread);
    rig.loop().cut();
  }
  rig.turn();
  EXPECT(lines_of(rig.take()) ==
         "aborted; disconnected 0/1 CloseCalled ERR_MILLRACE_CLOSED; other 3");
}

// --- being asked ---

TEST("a connection that is watched is told when it is over, and no other") {
  Rig rig;
  SimPeer watched = rig.connect(get("/a"));
  Taken request = rig.take_one();
  SimPeer other = rig.connect(get("/b"));
  Taken unwatched = rig.take_one();
  EXPECT(request.head_a == 0 && request.status == 1 && unwatched.head_a == 1);
  EXPECT(put_named(rig, CommandKind::Watch, request.head_a, request.status));
  rig.sim().reset(other);
  rig.sim().reset(watched);
  rig.turn(6);
  EXPECT(lines_of(rig.take()) == "aborted; aborted; disconnected 0/1 ClosedByClient ECONNRESET");
}

TEST("watching what is over is answered at once, and leaves its successor alone") {
  Rig rig;
  SimPeer peer = rig.connect(get("/a"));
  rig.sim().reset(peer);
  rig.turn(6);
  SimPeer next = rig.connect(get("/b"));
  EXPECT(lines_of(rig.take()) == "request 0/1 /a; aborted; request 0/2 /b");
  EXPECT(put_named(rig, CommandKind::Watch, 0, 1));
  EXPECT(lines_of(rig.take()) == "disconnected 0/1 AlreadyClosed");
  EXPECT(put_named(rig, CommandKind::Watch, 70'000, 7));
  EXPECT(lines_of(rig.take()) == "disconnected 70000/7 AlreadyClosed");
  rig.sim().reset(next);
  rig.turn(6);
  EXPECT(lines_of(rig.take()) == "aborted");
}

TEST("ends of some causes are told of connections that nobody has heard of") {
  Observation some;
  some.causes = bit(CloseCause::ProtocolViolated);
  Rig rig({}, {}, some);
  SimPeer fine = rig.connect(get("/static"));
  SimPeer bad = rig.connect("nonsense\r\n\r\n");
  rig.sim().reset(fine);
  rig.sim().half_close(bad);
  rig.turn(6);
  EXPECT(lines_of(rig.take()) ==
         "connected 1/1 192.0.2.1; disconnected 1/1 ProtocolViolated "
         "ERR_MILLRACE_BAD_REQUEST_LINE");
}

TEST("close() of a connection lets out what was answered and gives up the rest") {
  Rig rig({}, {}, kAll);
  SimPeer peer = rig.connect(get("/a") + get("/b"));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 3);
  rig.sim().limit_window(peer, 5);
  rig.respond(taken[1].id, "first");
  EXPECT(put_named(rig, CommandKind::Disconnect, 0, 1, CloseCause::SecurityThreatened));
  EXPECT(lines_of(rig.take()) == "aborted");
  rig.sim().limit_window(peer, UINT64_MAX);
  rig.turn(6);
  EXPECT(rig.sim().read(peer).ends_with("first"));
  EXPECT(rig.sim().saw_half_close(peer) && !rig.sim().saw_reset(peer));
  rig.pass(1100);
  EXPECT(lines_of(rig.take()) == "disconnected 0/1 SecurityThreatened");
  EXPECT(put_named(rig, CommandKind::Disconnect, 0, 1, CloseCause::EFault));  // over: nothing
  EXPECT(rig.take().empty());
}

TEST("the cause that the application gives stays, whatever the peer does then") {
  Rig rig({}, {}, kAll);
  SimPeer peer = rig.connect(get("/a"));
  ExchangeId id = last_request(rig);
  rig.sim().limit_window(peer, 5);
  rig.respond(id, "first");
  EXPECT(put_named(rig, CommandKind::Disconnect, 0, 1));
  rig.sim().reset(peer, EPIPE);
  rig.turn(6);
  EXPECT(lines_of(rig.take()) == "disconnected 0/1 CloseCalled EPIPE");
}

TEST("close() of a connection in the middle of a response does not let it look whole") {
  Rig rig({}, {}, kAll);
  SimPeer peer = rig.connect("GET / HTTP/1.0\r\n\r\n");  // the end of the connection ends it
  ExchangeId id = last_request(rig);
  for (CommandKind kind : {CommandKind::Begin, CommandKind::Write}) {
    Command command;
    command.kind = static_cast<uint16_t>(kind);
    command.exchange = id;
    command.status = 200;
    EXPECT(put_command(rig.lane(), command, "", kind == CommandKind::Write ? "half" : ""));
  }
  rig.turn();
  static_cast<void>(rig.take());
  EXPECT(put_named(rig, CommandKind::Disconnect, 0, 1));
  EXPECT(rig.sim().read(peer).ends_with("half"));
  EXPECT(rig.sim().saw_reset(peer));
  EXPECT(lines_of(rig.take()) == "aborted; disconnected 0/1 CloseCalled");
}

TEST("close() with a reset drops what is written") {
  Rig rig({}, {}, kAll);
  SimPeer peer = rig.connect(get("/a"));
  ExchangeId id = last_request(rig);
  rig.sim().limit_window(peer, 0);
  rig.respond(id, "first");
  EXPECT(put_named(rig, CommandKind::Disconnect, 0, 1, CloseCause::EFault, true));
  EXPECT(rig.sim().saw_reset(peer) && rig.sim().read(peer).empty());
  EXPECT(lines_of(rig.take()) == "disconnected 0/1 EFault");
}

TEST("a WebSocket has ended before its connection has") {
  for (bool reset : {false, true}) {
    Rig rig({}, {}, kAll);
    rig.connect(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    Command command;
    command.kind = static_cast<uint16_t>(CommandKind::Upgrade);
    command.exchange = last_request(rig);
    EXPECT(put_command(rig.lane(), command));
    rig.turn();
    EXPECT(lines_of(rig.take()) == "opened");
    EXPECT(put_named(rig, CommandKind::Disconnect, 0, 1, CloseCause::SecurityThreatened, reset));
    rig.pass(1100);
    EXPECT(lines_of(rig.take()) == "ended; disconnected 0/1 SecurityThreatened");
  }
}

// --- a lane without room ---

TEST("without room in the lane a connection waits unread, and loses nothing") {
  Rig rig(roomy(), {}, kAll);
  SimPeer filler = rig.connect();
  size_t filled = fill(rig, filler);
  // Its bytes and its last one are there before JavaScript can hear of it.
  SimPeer half = rig.connect(get("/half"));
  rig.sim().half_close(half);
  SimPeer fixed = rig.connect(get("/static"));
  rig.turn(6);
  EXPECT(rig.sim().read(fixed).empty() && !rig.sim().saw_half_close(half));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == filled + 1);  // the filler's
  rig.turn(6);
  EXPECT(rig.sim().read(fixed).ends_with("fixed"));
  taken = rig.take();
  EXPECT(lines_of(taken) ==
         "connected 1/1 192.0.2.1; request 1/1 /half; connected 2/1 192.0.2.1; half-closed");
  if (taken.size() > 2) rig.respond(taken[1].id, "answer");
  EXPECT(rig.sim().read(half).ends_with("answer"));
}

TEST("who leaves before there was room to tell of it is told once") {
  Rig rig(roomy(), {}, kAll);
  SimPeer filler = rig.connect();
  fill(rig, filler);
  SimPeer gone = rig.connect(get("/gone"));
  rig.sim().reset(gone);
  rig.turn(6);
  std::string lines = lines_of(rig.take());
  EXPECT(count_of(lines, "connected 1/1") == 1 &&
         lines.ends_with("disconnected 1/1 ClosedByClient ECONNRESET"));
  rig.turn(6);
  lines = lines_of(rig.take());
  EXPECT(count_of(lines, "onnected") == 0);
}

TEST("while too many ends wait to be told nobody is accepted, and none of them is lost") {
  Rig rig(roomy(), {}, kAll);
  SimPeer filler = rig.connect();
  fill(rig, filler);
  // Not even a notice fits.
  while (rig.lane().events.has_room(sizeof(Event))) {
    Event* event = rig.loop().begin_event(sizeof(Event));
    event->kind = static_cast<uint16_t>(EventKind::Problem);
    rig.loop().end_event(event);
  }
  uint32_t accepted = 0;
  for (int round = 0; round < 40; round++) {
    std::vector<SimPeer> peers;
    for (int i = 0; i < 100; i++) peers.push_back(rig.sim().connect(0));
    rig.turn();
    for (SimPeer peer : peers) rig.sim().reset(peer);
    rig.turn(4);
  }
  accepted = static_cast<uint32_t>(rig.stats().accepted.get()) - 1;
  EXPECT(accepted > 1024 && accepted <= 1024 + 200);
  EXPECT(rig.stats().accept_pauses.get() == 1);
  std::string lines;
  for (int i = 0; i < 10; i++) {
    lines += lines_of(rig.take()) + ";";
    rig.turn(8);
  }
  // The others were accepted then.
  EXPECT(rig.stats().accepted.get() == 4001);
  EXPECT(count_of(lines, "disconnected ") == 4000);
}

// --- the PROXY protocol ---

TEST("whom a proxy speaks for is told always, as what the header says") {
  Rig rig;
  listen_proxied(rig, ProxyMode::Require);
  SimPeer peer = connect_proxied(rig, kProxied);
  Taken connected = rig.take_one();
  EXPECT(line_of(connected) == "connected 0/1 203.0.113.7");
  const std::string& body = connected.body;
  EXPECT(body.size() == kProxyBodyFixed + 12 + 9 && body.ends_with("198.51.100.1192.0.2.1"));
  EXPECT(body[0] == 1 && body[1] == 0 && body[2] == 12 && body[3] == 9);
  rig.send(peer, get("/a"));
  Taken request = rig.take_one();
  EXPECT(line_of(request) == "request 0/1 /a" && request.peer == "203.0.113.7");
  rig.sim().reset(peer);
  rig.turn(6);
  EXPECT(lines_of(rig.take()) == "aborted; disconnected 0/1 ClosedByClient ECONNRESET");
}

TEST("without a header it is a connection like others") {
  for (bool all : {false, true}) {
    Rig rig({}, {}, {.connections = all});
    listen_proxied(rig, ProxyMode::Accept);
    SimPeer peer = connect_proxied(rig, "");
    EXPECT(rig.take().empty());
    rig.send(peer, get("/a"));
    rig.sim().half_close(peer);
    rig.turn(6);
    const std::string lines = lines_of(rig.take());
    EXPECT(lines ==
           std::string(all ? "connected 0/1 192.0.2.1; " : "") + "request 0/1 /a; half-closed");
  }
}

TEST("what follows a header is kept when the peer has sent its last byte with it") {
  for (bool drains : {false, true}) {
    Rig rig;
    listen_proxied(rig, ProxyMode::Require);
    if (drains) rig.control(CommandKind::Drain);
    SimPeer peer = rig.sim().connect(1);
    rig.sim().write(peer, kProxied + get("/static"));
    rig.sim().half_close(peer);
    rig.turn(8);
    EXPECT(rig.sim().read(peer).ends_with("fixed"));
  }
}

TEST("a header that is none ends the connection, which is told where all are") {
  for (bool all : {false, true}) {
    Rig rig({}, {}, {.connections = all});
    listen_proxied(rig, ProxyMode::Require);
    connect_proxied(rig, get("/a"));
    EXPECT(lines_of(rig.take()) == (all ? "connected 0/1 192.0.2.1; disconnected 0/1 "
                                          "ProtocolViolated ERR_MILLRACE_BAD_PROXY_HEADER"
                                        : ""));
  }
}

TEST("a header that the lane has no room for holds the request behind it back") {
  Rig rig(roomy());
  listen_proxied(rig, ProxyMode::Require);
  SimPeer filler = rig.connect();
  fill(rig, filler);
  SimPeer peer = connect_proxied(rig, kProxied + get("/static"));
  EXPECT(rig.sim().read(peer).empty());
  static_cast<void>(rig.take());
  rig.turn(6);
  EXPECT(rig.sim().read(peer).ends_with("fixed"));
  EXPECT(lines_of(rig.take()).starts_with("connected 1/1 203.0.113.7"));
}

}  // namespace
}  // namespace millrace::test
