// Connections that are not served yet: behind a header of the PROXY protocol while the server ends,
// or before there is room to tell of them, over sim; and what close() of one leaves in the log.
#include <cstring>
#include <string>
#include <vector>

#include "test/connection_rig.h"

namespace millrace::test {
namespace {

// Why: the session behind the header takes over with the request unread, when nobody tells it of
// the end that began before.
TEST("a request behind a header is answered however the server's end meets it") {
  for (ProxyMode mode : {ProxyMode::Accept, ProxyMode::Require}) {
    for (uint32_t idle_ms : {0u, 5000u}) {
      for (bool in_backlog : {false, true}) {
        Rig rig;
        listen_proxied(rig, mode);
        SimPeer peer = rig.sim().connect(1);
        if (in_backlog) rig.sim().write(peer, kProxied + get("/static"));
        if (!in_backlog) rig.turn();
        // Accepted and silent, and nobody waits for it: over.
        if (!in_backlog && idle_ms == 0) continue;
        rig.control(CommandKind::Close, 10'000, idle_ms);
        if (!in_backlog) rig.sim().write(peer, kProxied + get("/static"));
        rig.turn(6);
        context = std::to_string(idle_ms) + (in_backlog ? " backlog" : " idle");
        const std::string answer = rig.sim().read(peer);
        EXPECT(answer.ends_with("fixed") && count_of(answer, "Connection: close") == 1);
      }
    }
  }
}

TEST("header and request in one turn with the server's end are answered, without a wait too") {
  for (ProxyMode mode : {ProxyMode::Accept, ProxyMode::Require}) {
    for (bool speaks : {true, false}) {
      Rig rig;
      listen_proxied(rig, mode);
      SimPeer peer = rig.sim().connect(1);
      rig.turn();
      rig.sim().write(peer, kProxied + (speaks ? get("/static") : ""));
      rig.poll(0);  // changes over; the request is unread yet
      EXPECT(put_control(rig.lane(), CommandKind::Close, 10'000));
      rig.turn(6);
      EXPECT(count_of(rig.sim().read(peer), "fixed") == (speaks ? 1 : 0));
      EXPECT(rig.sim().saw_half_close(peer));
    }
  }
}

TEST("a header without a request during the wait leaves its connection until the wait is over") {
  Rig rig;
  listen_proxied(rig, ProxyMode::Require);
  SimPeer peer = rig.sim().connect(1);
  rig.turn();
  rig.control(CommandKind::Close, 10'000, 2000);
  rig.send(peer, kProxied);
  rig.turn(6);
  EXPECT(!rig.sim().saw_half_close(peer));
  rig.pass(2100);
  EXPECT(rig.sim().saw_half_close(peer));
}

// --- waiting to be told, and for how long ---

Limits hasty(Milliseconds most) {
  Limits limits = roomy();
  limits.queue_delay_max = most;
  limits.headers_timeout = 3000;
  return limits;
}

TEST("who can't be told of in time is served without: natively, or with a 503") {
  for (Milliseconds most : {200, 0}) {
    for (bool proxied : {false, true}) {
      Rig rig(hasty(most), {}, {.connections = true});
      listen_proxied(rig, ProxyMode::Require);
      SimPeer filler = rig.connect();
      fill(rig, filler);
      auto connect = [&](const std::string& bytes) {
        return proxied ? connect_proxied(rig, kProxied + bytes) : rig.connect(bytes);
      };
      SimPeer fixed = connect(get("/static"));
      SimPeer shed = connect(get("/a"));
      SimPeer silent = connect("");
      SimPeer left = connect("");
      rig.sim().half_close(left);
      rig.turn();
      EXPECT(rig.sim().read(fixed).empty() && !rig.sim().saw_half_close(left));
      context = std::to_string(most) + (proxied ? " proxied" : "");
      rig.pass((most == 0 ? 3000 : most) + Timers::kTick);
      EXPECT(rig.sim().read(fixed).ends_with("fixed"));
      EXPECT(rig.sim().saw_close(left));
      rig.pass(most + Timers::kTick);
      if (most > 0) EXPECT(rig.sim().read(shed).starts_with("HTTP/1.1 503 "));
      EXPECT(!rig.sim().saw_close(silent));
      rig.pass(3000 + Timers::kTick);
      rig.pass(1100);
      EXPECT(rig.sim().saw_close(silent));
      // Each is told, once there is room: with the next request, or at its end.
      static_cast<void>(rig.take());
      rig.turn(6);
      static_cast<void>(rig.take());
      rig.send(fixed, get("/b"));
      rig.send(fixed, get("/c"));
      const std::string lines = lines_of(rig.take());
      const std::string name = proxied ? "203.0.113.7" : "192.0.2.1";
      EXPECT(lines == "connected 1/1 " + name + "; request 1/1 /b; request 1/1 /c");
    }
  }
}

TEST("who is told of in time has no deadline left of the wait") {
  Rig rig(hasty(200), {}, kAll);
  SimPeer filler = rig.connect();
  fill(rig, filler);
  SimPeer peer = rig.connect(get("/a"));
  rig.pass(100);
  static_cast<void>(rig.take());
  rig.turn(6);
  EXPECT(lines_of(rig.take()) == "connected 1/1 192.0.2.1; request 1/1 /a");
  rig.pass(5000);
  EXPECT(!rig.sim().saw_close(peer) && rig.take().empty());
}

TEST("the server's end does not drop what a connection sent that waits to be told") {
  Rig rig(roomy(), {}, kAll);
  SimPeer filler = rig.connect();
  fill(rig, filler);
  SimPeer peer = rig.connect(get("/static"));
  SimPeer late = rig.connect();
  SimPeer silent = rig.connect();
  rig.send(late, get("/static"));
  EXPECT(put_control(rig.lane(), CommandKind::Close, 10'000));
  rig.turn();
  EXPECT(rig.sim().saw_half_close(silent));
  static_cast<void>(rig.take());
  rig.turn(6);
  for (SimPeer each : {peer, late}) EXPECT(rig.sim().read(each).ends_with("fixed"));
}

TEST("a line of the log comes behind the word of its connection") {
  Rig rig(hasty(200), {}, {.connections = true, .access = true});
  SimPeer filler = rig.connect();
  fill(rig, filler);
  SimPeer peer = rig.connect();
  rig.pass(200 + Timers::kTick);
  static_cast<void>(rig.take());
  rig.turn(6);
  static_cast<void>(rig.take());
  rig.send(peer, get("/static"));
  EXPECT(lines_of(rig.take()) == "connected 1/1 192.0.2.1; access 1/1 200");
}

// --- close() and the log ---

TEST("close() of a connection leaves the line of an answer that still leaves") {
  Rig rig({}, {}, {.access = true});
  SimPeer peer = rig.connect(get("/a") + get("/b"));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2);
  EXPECT(put_response(rig.lane(), taken[0].id, "first"));
  EXPECT(put_named(rig, CommandKind::Disconnect, 0, 1));
  const std::string answer = rig.sim().read(peer);
  EXPECT(answer.ends_with("first"));
  taken = rig.take();
  EXPECT(lines_of(taken) == "aborted; access 0/1 0; access 0/1 200");
  if (taken.size() != 3) return;
  EXPECT((taken[1].flags & kEventAborted) != 0 && (taken[2].flags & kEventAborted) == 0);
  AccessFigures figures;
  std::memcpy(&figures, taken[2].body.data(), sizeof(figures));
  EXPECT(figures.bytes_out == static_cast<double>(answer.size()));
}

TEST("a connection of our own has no name to be closed by") {
  Rig rig;
  Command dial;
  dial.kind = static_cast<uint16_t>(CommandKind::Connect);
  dial.exchange = {1, 0};
  dial.status = 80;
  dial.amount = 1000;
  rig.sim().hold_answers(true);
  EXPECT(
      put_command(rig.lane(), dial, "192.0.2.9", std::string(24, 'k') + "GET / HTTP/1.1\r\n\r\n"));
  rig.turn();
  EXPECT(rig.sim().open_connections() == 1);
  EXPECT(put_named(rig, CommandKind::Disconnect, 0, 1));
  EXPECT(rig.sim().open_connections() == 1);
  EXPECT(put_named(rig, CommandKind::Watch, 0, 1));
  EXPECT(lines_of(rig.take()) == "disconnected 0/1 AlreadyClosed");
}

}  // namespace
}  // namespace millrace::test
