// limits.maxConnectionsPerAddress over sim: who is counted as whom, what one too many is told, and
// that each way to end gives back exactly what was counted.
#include <string>
#include <vector>

#include "test/connection_rig.h"
#include "test/scgi_rig.h"

namespace millrace::test {
namespace {

constexpr PeerKey kClient{.prefix = 0xc0000201, .is_ipv6 = false};  // 192.0.2.1
constexpr const char* kTold = "ERR_MILLRACE_TOO_MANY_CONNECTIONS: ";

// Outlives the loop, and is empty behind it.
struct EmptyInTheEnd final {
  PeerCounts counts;

  explicit EmptyInTheEnd(uint32_t most) : counts(most) {}
  EmptyInTheEnd(const EmptyInTheEnd&) = delete;
  EmptyInTheEnd& operator=(const EmptyInTheEnd&) = delete;
  ~EmptyInTheEnd() { EXPECT(counts.addresses() == 0); }
};

// A loop that takes `most` connections of an address.
struct Guarded final {
  EmptyInTheEnd peers;
  Rig rig;

  explicit Guarded(uint32_t most, const Limits& limits = {}, const Observation& observation = {})
      : peers(most), rig(limits, {}, observation) {
    rig.loop().set_peer_counts(peers.counts);
  }
  [[nodiscard]] uint32_t count(PeerStanding standing, const PeerKey& key = kClient) {
    return peers.counts.count(key, standing);
  }
  [[nodiscard]] uint32_t admitted(const PeerKey& key = kClient) {
    return count(PeerStanding::Admitted, key);
  }
  [[nodiscard]] uint32_t refused() { return count(PeerStanding::Refused); }

  SimPeer connect_from(Bytes host, ListenerId listener = 0) {
    SimPeer peer = rig.sim().connect(listener);
    rig.sim().set_host(peer, host);
    rig.turn();
    return peer;
  }
  // Whether the connection was answered so, and half-closed behind it.
  [[nodiscard]] bool was_turned_away(SimPeer peer) {
    std::string answer = rig.sim().read(peer);
    return answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n") &&
           count_of(answer, "\r\nConnection: close\r\n") == 1 && count_of(answer, kTold) == 1 &&
           rig.sim().saw_half_close(peer) && !rig.sim().saw_reset(peer);
  }
  [[nodiscard]] bool is_served(SimPeer peer) {
    rig.send(peer, get("/static"));
    return rig.sim().read(peer).ends_with("fixed");
  }
  [[nodiscard]] int64_t refusals() {
    return rig.stats().refusals[static_cast<size_t>(ErrorCode::TooManyConnections)].get();
  }
};

TEST("one connection too many is answered at once, and those that are there go on") {
  Guarded guarded(2);
  SimPeer first = guarded.rig.connect();
  SimPeer second = guarded.rig.connect();
  EXPECT(guarded.refusals() == 0 && guarded.admitted() == 2);
  SimPeer third = guarded.rig.connect();  // has not sent a byte
  EXPECT(guarded.was_turned_away(third));
  EXPECT(guarded.refusals() == 1 && guarded.rig.stats().responses_5xx.get() == 1);
  EXPECT(guarded.admitted() == 2 && guarded.refused() == 1);
  EXPECT(guarded.is_served(first) && guarded.is_served(second));
  // What it sends meanwhile is no request.
  guarded.rig.send(third, get("/static"));
  EXPECT(guarded.rig.sim().read(third).empty());
  EXPECT(guarded.rig.stats().requests.get() == 2);
  guarded.rig.sim().close(third);
  guarded.rig.turn();
  EXPECT(guarded.rig.sim().saw_close(third) && guarded.refused() == 0);
}

TEST("an address may have as many as the limit says, however they come") {
  for (uint32_t most : {1u, 3u, 7u}) {
    Guarded guarded(most);
    std::vector<SimPeer> peers;
    for (uint32_t i = 0; i < most + 2; i++) peers.push_back(guarded.rig.sim().connect(0));
    guarded.rig.turn();
    for (uint32_t i = 0; i < most; i++) EXPECT(guarded.is_served(peers[i]));
    EXPECT(guarded.was_turned_away(peers[most]) && guarded.was_turned_away(peers[most + 1]));
    EXPECT(guarded.refusals() == 2);
  }
}

TEST("without a limit nothing is counted") {
  Rig rig;
  EXPECT(rig.loop().peer_counts() == nullptr);
  for (int i = 0; i < 20; i++) EXPECT(!rig.sim().saw_half_close(rig.connect()));
}

TEST("an IPv4 address is one, of IPv6 the first 64 bits are, unix sockets are nobody") {
  struct Pair {
    const char* one;
    const char* other;
    bool are_one;
  };
  const Pair pairs[] = {
      {"192.0.2.1", "192.0.2.1", true},
      {"192.0.2.1", "192.0.2.2", false},
      {"192.0.2.1", "193.0.2.1", false},
      {"2001:db8::1", "2001:db8::1", true},
      {"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
      {"2001:db8:0:1::1", "2001:db8::1", false},
      {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", true},
      {"2001:db8:1:2:3:4:5:6", "2001:db8:1:3:3:4:5:6", false},
      {"1:0:0:3:4:5:6:7", "1::3:4:5:6:7", true},
      {"::1", "::2", true},
      {"::c000:201", "192.0.2.1", false},
      {"", "", false},
  };
  for (const Pair& pair : pairs) {
    context = std::string(pair.one) + " and " + pair.other;
    Guarded guarded(1);
    SimPeer one = guarded.connect_from(pair.one);
    SimPeer other = guarded.connect_from(pair.other);
    EXPECT(guarded.is_served(one));
    EXPECT(pair.are_one ? guarded.was_turned_away(other) : guarded.is_served(other));
  }
}

// --- giving back ---

void outlast(Guarded& guarded, int64_t timeout) { guarded.rig.pass(timeout + Timers::kTick); }

struct Ending {
  const char* name;
  void (*end)(Guarded&, SimPeer);
};

constexpr const char* kUpgradeRequest =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

void become_socket(Guarded& guarded, SimPeer peer) {
  guarded.rig.send(peer, kUpgradeRequest);
  Command upgrade;
  upgrade.kind = static_cast<uint16_t>(CommandKind::Upgrade);
  upgrade.exchange = last_request(guarded.rig);
  EXPECT(put_command(guarded.rig.lane(), upgrade));
  guarded.rig.turn();
  EXPECT(guarded.rig.sim().read(peer).starts_with("HTTP/1.1 101 "));
  EXPECT(guarded.rig.stats().sockets.get() == 1);
  EXPECT(guarded.admitted() == 1);  // it is the same connection
  static_cast<void>(guarded.rig.take());
}

void cut(Guarded& guarded, SimPeer peer) {
  guarded.rig.send(peer, get("/handler"));
  Command command;
  command.kind = static_cast<uint16_t>(CommandKind::Cut);
  command.exchange = last_request(guarded.rig);
  EXPECT(put_command(guarded.rig.lane(), command));
  guarded.rig.turn();
  static_cast<void>(guarded.rig.take());
}

const Ending kEndings[] = {
    {"closed", [](Guarded& g, SimPeer peer) { g.rig.sim().close(peer); }},
    {"half-closed", [](Guarded& g, SimPeer peer) { g.rig.sim().half_close(peer); }},
    {"reset", [](Guarded& g, SimPeer peer) { g.rig.sim().reset(peer); }},
    {"silent", [](Guarded& g, SimPeer) { outlast(g, g.rig.loop().limits().headers_timeout); }},
    {"silent behind a request",
     [](Guarded& g, SimPeer peer) {
       EXPECT(g.is_served(peer));
       outlast(g, g.rig.loop().limits().keep_alive_timeout);
     }},
    {"slow with its head",
     [](Guarded& g, SimPeer peer) {
       g.rig.send(peer, "GET / HT");
       outlast(g, g.rig.loop().limits().headers_timeout);
       EXPECT(g.rig.sim().read(peer).starts_with("HTTP/1.1 408 "));
     }},
    {"not reading",
     [](Guarded& g, SimPeer peer) {
       g.rig.sim().limit_window(peer, 10);
       g.rig.send(peer, get("/static"));
       outlast(g, g.rig.loop().limits().write_timeout);
     }},
    {"malformed", [](Guarded& g, SimPeer peer) { g.rig.send(peer, "nonsense\r\n\r\n"); }},
    {"answered with Connection: close",
     [](Guarded& g, SimPeer peer) {
       g.rig.send(peer, "GET /static HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
     }},
    {"cut", &cut},
    {"disconnected",
     [](Guarded& g, SimPeer peer) {
       EXPECT(g.is_served(peer));
       EXPECT(put_named(g.rig, CommandKind::Disconnect, 0, 1));
     }},
    {"a WebSocket that is closed",
     [](Guarded& g, SimPeer peer) {
       become_socket(g, peer);
       g.rig.sim().close(peer);
     }},
    {"a WebSocket that is reset",
     [](Guarded& g, SimPeer peer) {
       become_socket(g, peer);
       g.rig.sim().reset(peer);
     }},
};

TEST("whatever ends a connection gives it back once, and its address gets another one") {
  for (const Ending& ending : kEndings) {
    context = ending.name;
    Guarded guarded(1);
    SimPeer peer = guarded.rig.connect();
    EXPECT(guarded.admitted() == 1);
    ending.end(guarded, peer);
    guarded.rig.turn();
    outlast(guarded, guarded.rig.loop().limits().linger_timeout);
    static_cast<void>(guarded.rig.take());
    EXPECT(guarded.rig.sim().saw_close(peer));
    EXPECT(guarded.peers.counts.addresses() == 0);
    SimPeer next = guarded.rig.connect();
    EXPECT(guarded.is_served(next));
    EXPECT(guarded.admitted() == 1 && guarded.refusals() == 0);
  }
}

TEST("who has left idle is not counted any more when the next one is accepted") {
  Guarded guarded(1);
  SimPeer peer = guarded.rig.connect(get("/static"));
  guarded.rig.sim().half_close(peer);
  guarded.rig.poll(0);  // closed by the next work()
  EXPECT(!guarded.rig.sim().saw_close(peer) && guarded.admitted() == 0);
  SimPeer next = guarded.rig.sim().connect(0);
  guarded.rig.poll(0);
  EXPECT(guarded.admitted() == 1 && guarded.refusals() == 0);
  EXPECT(guarded.is_served(next));
  EXPECT(guarded.rig.sim().saw_close(peer));
}

TEST("who is refused is given back too: when it leaves, resets or lingers for too long") {
  for (int way = 0; way < 3; way++) {
    Guarded guarded(1);
    SimPeer first = guarded.rig.connect();
    SimPeer second = guarded.rig.connect();
    EXPECT(guarded.refused() == 1);
    if (way == 0) guarded.rig.sim().close(second);
    if (way == 1) guarded.rig.sim().reset(second);
    if (way == 2) outlast(guarded, guarded.rig.loop().limits().linger_timeout);
    guarded.rig.turn();
    EXPECT(guarded.rig.sim().saw_close(second));
    EXPECT(guarded.admitted() == 1 && guarded.refused() == 0);
    EXPECT(guarded.is_served(first));
  }
}

TEST("a loop that closes, or is cut, leaves no count behind") {
  for (bool is_cut : {false, true}) {
    Guarded guarded(2);
    for (int i = 0; i < 4; i++) guarded.rig.connect(i == 0 ? get("/handler") : "");
    EXPECT(guarded.admitted() == 2 && guarded.refused() == 2);
    static_cast<void>(guarded.rig.take());
    if (is_cut) {
      RoleScope role(loop_thread);
      guarded.rig.loop().cut();
    } else {
      guarded.rig.control(CommandKind::Close);
      guarded.rig.turn();
    }
    EXPECT(guarded.peers.counts.addresses() == 0);
  }
}

// --- telling ---

TEST("refused ones are told of as refusals are, by hooks and in the access log") {
  Guarded guarded(1, {}, {.connections = true, .access = true});
  SimPeer first = guarded.rig.connect(get("/handler"));
  EXPECT(lines_of(guarded.rig.take()) == "connected 0/1 192.0.2.1; request 0/1 /handler");
  SimPeer second = guarded.rig.connect();
  EXPECT(lines_of(guarded.rig.take()) == "connected 1/1 192.0.2.1; access 1/1 503");
  guarded.rig.sim().close(second);
  guarded.rig.turn();
  EXPECT(lines_of(guarded.rig.take()) ==
         "disconnected 1/1 ProtocolViolated ERR_MILLRACE_TOO_MANY_CONNECTIONS");
  guarded.rig.sim().reset(first);
}

TEST("refused ones hear the words of the application") {
  Guarded guarded(1);
  std::vector<Refusal> own(1);
  own[0].code = ErrorCode::TooManyConnections;
  own[0].answer.headers = "X-Who: loop\r\n";
  own[0].answer.content = "too many of you\n";
  guarded.rig.loop().set_refusals(own);
  static_cast<void>(guarded.rig.connect());
  std::string answer = guarded.rig.sim().read(guarded.rig.connect());
  EXPECT(answer.starts_with("HTTP/1.1 503 ") && count_of(answer, "\r\nX-Who: loop\r\n") == 1);
  EXPECT(answer.ends_with("\r\n\r\ntoo many of you\n"));
}

TEST("when many of an address are being refused, more are reset without an answer") {
  Guarded guarded(1, {}, {.connections = true});
  static_cast<void>(guarded.rig.connect());
  std::vector<SimPeer> refused;
  for (uint32_t i = 0; i < PeerCounts::kRefusedMax; i++) refused.push_back(guarded.rig.connect());
  for (SimPeer peer : refused) EXPECT(guarded.was_turned_away(peer));
  static_cast<void>(guarded.rig.take());
  SimPeer last = guarded.rig.connect();
  EXPECT(guarded.rig.sim().read(last).empty() && guarded.rig.sim().saw_reset(last));
  EXPECT(guarded.refusals() == PeerCounts::kRefusedMax + 1);
  EXPECT(guarded.rig.stats().connections.get() == PeerCounts::kRefusedMax + 1);
  std::string end = lines_of(guarded.rig.take());
  EXPECT(end.ends_with("ProtocolViolated ERR_MILLRACE_TOO_MANY_CONNECTIONS"));
  EXPECT(!guarded.rig.sim().saw_half_close(guarded.connect_from("192.0.2.2")));
  guarded.rig.sim().close(refused[0]);
  guarded.rig.turn();
  EXPECT(guarded.was_turned_away(guarded.rig.connect()));
}

// --- listeners ---

TEST("behind a PROXY header its client is counted, the proxy never is") {
  for (ProxyMode mode : {ProxyMode::Accept, ProxyMode::Require}) {
    Guarded guarded(1);
    listen_proxied(guarded.rig, mode);
    for (int i = 0; i < 3; i++) static_cast<void>(connect_proxied(guarded.rig, ""));
    EXPECT(guarded.peers.counts.addresses() == 0);
    SimPeer one = connect_proxied(guarded.rig, kProxied);
    EXPECT(guarded.admitted({.prefix = 0xcb007107}) == 1 && guarded.admitted() == 0);
    SimPeer other = connect_proxied(guarded.rig, "PROXY TCP4 203.0.113.8 198.51.100.1 1 443\r\n");
    EXPECT(guarded.is_served(one) && guarded.is_served(other));
    EXPECT(guarded.was_turned_away(connect_proxied(guarded.rig, kProxied)));
    EXPECT(guarded.was_turned_away(
        connect_proxied(guarded.rig, std::string(kProxied) + get("/static"))));
    EXPECT(guarded.rig.stats().requests.get() == 2);
    // The proxy for itself, or for somebody whom it does not name.
    for (int i = 0; i < 3; i++)
      EXPECT(guarded.is_served(connect_proxied(guarded.rig, "PROXY UNKNOWN\r\n")));
    guarded.rig.sim().close(one);
    guarded.rig.turn();
    EXPECT(guarded.is_served(connect_proxied(guarded.rig, kProxied)));
  }
}

TEST("where a PROXY header may come and does not, the connection's own address counts") {
  Guarded guarded(1);
  listen_proxied(guarded.rig, ProxyMode::Accept);
  SimPeer one = connect_proxied(guarded.rig, get("/static"));
  EXPECT(guarded.rig.sim().read(one).ends_with("fixed"));
  EXPECT(guarded.admitted() == 1);
  EXPECT(guarded.was_turned_away(connect_proxied(guarded.rig, get("/static"))));
}

TEST("more than may be refused at a time are reset behind their PROXY header") {
  Guarded guarded(1, {}, {.connections = true});
  listen_proxied(guarded.rig, ProxyMode::Require);
  for (uint32_t i = 0; i <= PeerCounts::kRefusedMax; i++)
    static_cast<void>(connect_proxied(guarded.rig, kProxied));
  SimPeer last = connect_proxied(guarded.rig, std::string(kProxied) + get("/static"));
  EXPECT(guarded.rig.sim().saw_reset(last) && guarded.rig.sim().read(last).empty());
  EXPECT(guarded.rig.stats().connections.get() == PeerCounts::kRefusedMax + 1);
}

TEST("a gateway is counted by its own address, and answered in its form") {
  Guarded guarded(1);
  {
    RoleScope role(loop_thread);
    EXPECT(guarded.rig.loop().listen(1, Fd(), find_protocol("scgi")).is_ok());
  }
  SimPeer first = guarded.connect_from("192.0.2.1", 1);
  SimPeer second = guarded.connect_from("192.0.2.1", 1);
  std::string answer = guarded.rig.sim().read(second);
  EXPECT(answer.starts_with("Status: 503 Service Unavailable\r\n") && count_of(answer, kTold) == 1);
  EXPECT(guarded.rig.sim().saw_half_close(second) && !guarded.rig.sim().saw_half_close(first));
}

TEST("connections of our own are not counted") {
  Guarded guarded(1);
  for (uint32_t ticket = 0; ticket < 3; ticket++) {
    Command command;
    command.kind = static_cast<uint16_t>(CommandKind::Connect);
    command.exchange = {ticket, 0};
    command.status = 80;
    command.amount = 5000;
    command.blob = static_cast<uint32_t>(-1);
    EXPECT(put_command(guarded.rig.lane(), command, "192.0.2.1", std::string(24, 'a')));
    guarded.rig.turn();
  }
  EXPECT(guarded.rig.stats().connections.get() == 3 && guarded.peers.counts.addresses() == 0);
  EXPECT(guarded.is_served(guarded.rig.connect()));
}

}  // namespace
}  // namespace millrace::test
