// WebSockets over loops and sim: both ends, topics across loops, connections of our own, and what
// stopping does to them.
#include <array>
#include <cerrno>

#include "core/lane/hub.h"
#include "core/proto/ws/handshake.h"
#include "test/loop_rig.h"
#include "test/ws_rig.h"

namespace millrace::test {

namespace {

constexpr const char* kKey = "dGhlIHNhbXBsZSBub25jZQ==";
constexpr const char* kHandshake =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

std::string answer_101() {
  const auto accept = ws::accept_of(kKey);
  return "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
         std::string(accept.data(), accept.size()) + "\r\n\r\n";
}

bool put(Rig& rig, CommandKind kind, ExchangeId id, const std::string& body = "",
         Command command = {}) {
  command.kind = static_cast<uint16_t>(kind);
  command.exchange = id;
  return EXPECT(put_command(rig.lane(), command, "", body));
}

Command with_status(uint16_t status) {
  Command command;
  command.status = status;
  return command;
}

bool put_send(Rig& rig, ExchangeId id, const std::string& body, uint16_t opcode = 1) {
  return put(rig, CommandKind::Send, id, body, with_status(opcode));
}

// A socket of a server, and its peer.
struct End {
  ExchangeId id;
  SimPeer peer = 0;
};

End open_socket(Rig& rig, const std::string& more = "") {
  End end;
  end.peer = rig.connect(kHandshake + more);
  end.id = rig.take_one().id;
  put(rig, CommandKind::Upgrade, end.id);
  rig.turn();
  const std::string head = rig.sim().read(end.peer);
  EXPECT(head.starts_with("HTTP/1.1 101 ") && head.ends_with("\r\n\r\n"));
  if (more.empty()) EXPECT(rig.take_one().kind == EventKind::Opened);
  return end;
}

std::string frames_of(Rig& rig, SimPeer peer, bool masked = false) {
  WsReader reader(masked);
  std::string bytes = rig.sim().read(peer);
  const std::string lines = joined(reader.take(bytes));
  EXPECT(bytes.empty());
  return lines;
}

std::string shown_events(const std::vector<Taken>& events) {
  std::vector<std::string> lines;
  for (const Taken& taken : events) {
    SeenEvent seen;
    seen.kind = taken.kind;
    seen.body = taken.body;
    seen.status = taken.status;
    seen.head_a = taken.head_a;
    seen.head_b = taken.head_b;
    lines.push_back(event_line(seen));
  }
  return joined(lines);
}

// Answers what ends, as JavaScript does.
std::string seen(Rig& rig) {
  std::vector<Taken> all = rig.take();
  bool answered = false;
  for (const Taken& taken : all) {
    if (taken.kind != EventKind::Ending) continue;
    put(rig, CommandKind::CloseSocket, taken.id, taken.body, with_status(taken.status));
    answered = true;
  }
  if (answered) {
    rig.turn();
    for (Taken& taken : rig.take()) all.push_back(std::move(taken));
  }
  return shown_events(all);
}

TEST("a socket's own 101 is told of when it has left, asked about before or behind the upgrade") {
  Rig rig;
  SimPeer peer = rig.connect(kHandshake);
  ExchangeId id = rig.take_one().id;
  rig.sim().limit_window(peer, 10);
  put(rig, CommandKind::Tell, id);
  put(rig, CommandKind::Upgrade, id);
  put(rig, CommandKind::Tell, id);
  rig.turn();
  EXPECT(rig.take_one().kind == EventKind::Opened);
  rig.sim().limit_window(peer, UINT64_MAX);
  rig.turn();
  put(rig, CommandKind::Tell, id);
  rig.turn();
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 3);
  for (const Taken& each : taken)
    EXPECT(each.kind == EventKind::Left && each.id == id && each.status == 1);
}

TEST("a socket over a loop gets and sends messages of all sizes") {
  Rig rig;
  const End end = open_socket(rig);
  for (size_t size : {0, 5, 1000, 16384, 16385, 200'000}) {
    context = std::to_string(size);
    const std::string payload(size, 'p');
    rig.send(end.peer, binary_frame(payload));
    rig.turn();
    EXPECT(seen(rig) == "binary " + shown(payload));
    put_send(rig, end.id, payload, 2);
    rig.turn();
    EXPECT(frames_of(rig, end.peer) == "binary " + shown(payload));
  }
  EXPECT(rig.lane().blob_bytes.load(std::memory_order_relaxed) == 0);
  EXPECT(rig.stats().sockets.get() == 1 && rig.stats().in_flight.get() == 0);
  rig.send(end.peer, close_frame(1000, "bye"));
  EXPECT(seen(rig) == "ending 1000 bye; ended 1000 clean");
  EXPECT(frames_of(rig, end.peer) == "close 1000 bye");
  EXPECT(rig.sim().saw_half_close(end.peer));
  EXPECT(rig.stats().sockets.get() == 0);
}

TEST("a close() that crosses the peer's close frame does not put its reason to that one's code") {
  Rig rig;
  const End end = open_socket(rig);
  rig.send(end.peer, close_frame(1000, "bye"));
  rig.turn();
  put(rig, CommandKind::CloseSocket, end.id, "ours", with_status(4000));
  rig.turn();
  EXPECT(frames_of(rig, end.peer) == "close 1000 ");
  EXPECT(shown_events(rig.take()) == "ending 1000 bye; ended 1000 clean");
}

TEST("frames behind the handshake are held until it is answered") {
  Rig rig;
  open_socket(rig, text_frame("early"));
  const std::vector<Taken> events = rig.take();
  EXPECT(events.size() == 2 && events[0].kind == EventKind::Opened && events[1].body == "early");
}

TEST("the meters say what was taken and what waits, and nothing at the end") {
  Rig rig;
  const End end = open_socket(rig);
  const uint32_t before = rig.lane().meters.taken(end.id.slot);
  rig.sim().limit_window(end.peer, 0);
  put_send(rig, end.id, std::string(100'000, 'a'), 2);
  put_send(rig, end.id, "b");
  rig.turn();
  EXPECT(rig.lane().meters.taken(end.id.slot) - before == 100'001);
  EXPECT(rig.lane().meters.waiting(end.id.slot) == 100'010 + 3);
  rig.sim().limit_window(end.peer, UINT64_MAX);
  rig.turn();
  EXPECT(rig.lane().meters.waiting(end.id.slot) == 0);
  rig.sim().limit_window(end.peer, 0);
  put_send(rig, end.id, std::string(100'000, 'a'), 2);
  rig.turn();
  rig.sim().reset(end.peer);
  rig.turn();
  EXPECT(seen(rig) == "ended 1006 broken WsLost");
  EXPECT(rig.lane().meters.waiting(end.id.slot) == 0);
}

TEST("sockets that were opened at once are not asked at once whether they are there") {
  constexpr size_t kSockets = 300;
  Rig rig;
  std::vector<End> ends;
  for (size_t i = 0; i < kSockets; i++) ends.push_back(open_socket(rig));
  size_t all = 0;
  size_t most = 0;
  rig.pass(29'999);
  for (int second = 30; second <= 61; second++) {
    size_t pings = 0;
    for (const End& end : ends) {
      const std::string bytes = rig.sim().read(end.peer);
      EXPECT(bytes.empty() || (second > 30 && bytes == std::string("\x89\0", 2)));
      pings += bytes.size() / 2;
    }
    all += pings;
    most = std::max(most, pings);
    rig.pass(second < 61 ? 1000 : 0);
  }
  EXPECT(all == kSockets);
  EXPECT(most <= 2 * kSockets / 45);  // a socket is asked every 45 s on average
  rig.pass(59'000);
  EXPECT(shown_events(rig.take()).empty());
}

TEST("open sockets leave their places in flight to requests") {
  Limits limits;
  limits.in_flight_max = 1;
  Rig rig(limits);
  std::vector<End> ends;
  for (int i = 0; i < 5; i++) ends.push_back(open_socket(rig));
  const SimPeer other = rig.connect(get("/a"));
  rig.respond(rig.take_one().id, "ok");
  EXPECT(rig.sim().read(other).ends_with("ok"));
  EXPECT(rig.stats().sockets.get() == 5);
  EXPECT(rig.loop().exchanges().open_count() == 0);
}

TEST("a slot that is used again does not get what was meant for the socket before") {
  Rig rig;
  const End first = open_socket(rig);
  rig.sim().reset(first.peer);
  rig.turn();
  EXPECT(seen(rig) == "ended 1006 broken WsLost");
  const End second = open_socket(rig);
  EXPECT(first.id.slot == second.id.slot);
  put_send(rig, first.id, "for the first");
  put_send(rig, first.id, std::string(50'000, 'a'));
  put(rig, CommandKind::CloseSocket, first.id);
  put(rig, CommandKind::Subscribe, first.id, "t");
  put(rig, CommandKind::Expire, first.id);
  rig.turn();
  EXPECT(rig.sim().read(second.peer).empty());
  EXPECT(rig.stats().subscriptions.get() == 0);
  EXPECT(rig.stats().late_commands.get() == 5);
}

TEST("a socket that expires is reset, and its end says why") {
  Rig rig;
  const End end = open_socket(rig);
  put(rig, CommandKind::Expire, end.id);
  rig.turn();
  EXPECT(seen(rig) == "ended 1006 broken WsTimeout");
  EXPECT(rig.sim().saw_reset(end.peer));
}

TEST("a lane full of messages loses none, and idle sockets go on afterwards") {
  Rig rig;
  const End end = open_socket(rig);
  const End other = open_socket(rig);
  const std::string payload(15'000, 'm');
  std::string bytes;
  for (int i = 0; i < 100; i++) bytes += binary_frame(std::to_string(i) + payload);
  rig.sim().write(end.peer, bytes);
  rig.sim().write(other.peer, text_frame("other"));
  size_t messages = 0;
  bool other_was_heard = false;
  for (int i = 0; i < 200; i++) {
    rig.turn();
    for (const Taken& taken : rig.take(3)) {
      other_was_heard = other_was_heard || taken.body == "other";
      if (taken.body == "other") continue;
      EXPECT(taken.body == std::to_string(messages) + payload);
      messages++;
    }
  }
  EXPECT(messages == 100 && other_was_heard);
}

// --- stopping ---

TEST("a loop that closes says 1001 to its sockets and waits for their answers") {
  Rig rig;
  const End end = open_socket(rig);
  const End silent = open_socket(rig);
  rig.control(CommandKind::Close, 20'000);
  EXPECT(frames_of(rig, end.peer) == "close 1001 ");
  EXPECT(frames_of(rig, silent.peer) == "close 1001 ");
  rig.send(end.peer, close_frame(1001));
  EXPECT(seen(rig) == "ending 1001 ; ended 1001 clean");
  rig.pass(10'020);
  EXPECT(seen(rig).starts_with("ended 1006 broken WsTimeout"));
}

TEST("a handshake that is accepted while the loop closes is refused with 503") {
  Rig rig;
  const SimPeer peer = rig.connect(kHandshake);
  const ExchangeId id = rig.take_one().id;
  rig.control(CommandKind::Close, 20'000);
  put(rig, CommandKind::Upgrade, id);
  rig.turn();
  EXPECT(rig.sim().read(peer).starts_with("HTTP/1.1 503 "));
  EXPECT(rig.stats().sockets.get() == 0 && rig.stats().in_flight.get() == 0);
}

TEST("sockets that do not close in time are forced") {
  Rig rig;
  open_socket(rig);
  rig.control(CommandKind::Close, 500);
  rig.pass(500);
  EXPECT(seen(rig).starts_with("ended 1006 broken WsLost"));
}

// --- topics ---

bool put_publish(Rig& rig, const std::string& topic, Bytes payload, ExchangeId except = {}) {
  Command command;
  command.kind = static_cast<uint16_t>(CommandKind::Publish);
  command.flags = kCommandShared;
  command.exchange = except;
  command.blob = reinterpret_cast<uint64_t>(shared_message(1, payload).release());
  return EXPECT(put_command(rig.lane(), command, topic));
}

TEST("what is published reaches the subscribers once, without the one left out") {
  Rig rig;
  std::vector<End> ends;
  for (int i = 0; i < 4; i++) ends.push_back(open_socket(rig));
  for (int i = 0; i < 3; i++)
    put(rig, CommandKind::Subscribe, ends[static_cast<size_t>(i)].id, "t");
  put(rig, CommandKind::Subscribe, ends[0].id, "t");  // again
  put_publish(rig, "t", "one", ends[1].id);
  put_publish(rig, "other", "nobody");
  rig.turn();
  EXPECT(rig.stats().subscriptions.get() == 3);
  EXPECT(frames_of(rig, ends[0].peer) == "text one");
  EXPECT(frames_of(rig, ends[1].peer).empty());
  EXPECT(frames_of(rig, ends[2].peer) == "text one");
  EXPECT(frames_of(rig, ends[3].peer).empty());
  put(rig, CommandKind::Unsubscribe, ends[0].id, "t");
  put(rig, CommandKind::Unsubscribe, ends[3].id, "t");
  rig.sim().reset(ends[2].peer);
  rig.turn();
  EXPECT(rig.stats().subscriptions.get() == 1);
  put_publish(rig, "t", "two");
  rig.turn();
  EXPECT(frames_of(rig, ends[0].peer).empty());
  EXPECT(frames_of(rig, ends[1].peer) == "text two");
  rig.take();
}

TEST("what a socket sent before and after it published stays in order for others") {
  Rig rig;
  const End end = open_socket(rig);
  put(rig, CommandKind::Subscribe, end.id, "t");
  put_send(rig, end.id, "a");
  put_publish(rig, "t", "b");
  put_send(rig, end.id, "c");
  rig.turn();
  EXPECT(frames_of(rig, end.peer) == "text a; text b; text c");
}

TEST("a slow subscriber is closed while the fast ones get everything") {
  std::array<SocketSettings, 1> settings;
  settings[0].backlog_bytes_max = 20'000;
  Rig rig;
  rig.loop().set_sockets(settings, "");
  std::vector<End> ends;
  for (int i = 0; i < 3; i++) ends.push_back(open_socket(rig));
  for (const End& end : ends) put(rig, CommandKind::Subscribe, end.id, "t");
  rig.sim().limit_window(ends[1].peer, 0);
  rig.turn();
  const std::string payload(5000, 'p');
  for (int i = 0; i < 20; i++) {
    put_publish(rig, "t", payload);
    rig.turn();
    EXPECT(frames_of(rig, ends[0].peer) == "text " + shown(payload));
    EXPECT(frames_of(rig, ends[2].peer) == "text " + shown(payload));
  }
  EXPECT(rig.stats().sockets.get() == 2 && rig.stats().subscriptions.get() == 2);
  EXPECT(seen(rig).starts_with("ended 1013 broken WsBacklog"));
}

TEST("publications reach the subscribers of all loops, each once") {
  static const std::array<SocketSettings, 1> settings{};
  Rig one;
  Rig two;
  one.loop().set_sockets(settings, "space");
  two.loop().set_sockets(settings, "space");
  Hub& hub = Hub::of_process();
  const End first = open_socket(one);
  const End second = open_socket(one);
  const End far = open_socket(two);
  const auto subscribe = [&](Rig& rig, const End& end) {
    hub.add("space", "t", rig.loop().mailbox());
    put(rig, CommandKind::Subscribe, end.id, "t");
    rig.turn();
  };
  subscribe(one, first);
  subscribe(one, second);
  subscribe(two, far);
  const SharedMessageRef message = shared_message(1, "to all");
  Mailbox* own[] = {&one.loop().mailbox()};
  bool interested[] = {false};
  EXPECT(hub.publish("space", "t", message, own, interested) == 3);
  EXPECT(interested[0]);
  put_publish(one, "t", "to all", first.id);
  one.turn();
  two.turn();
  EXPECT(frames_of(one, first.peer).empty());
  EXPECT(frames_of(one, second.peer) == "text to all");
  EXPECT(frames_of(two, far.peer) == "text to all");
  EXPECT(hub.publish("elsewhere", "t", message, own, interested) == 0);
  EXPECT(!interested[0]);
  hub.remove("space", "t", two.loop().mailbox());
  EXPECT(hub.publish("space", "t", message, {}, {}) == 2);
  two.turn();
  EXPECT(frames_of(two, far.peer).empty());
  one.turn();
  EXPECT(frames_of(one, first.peer) == "text to all");
}

// --- connections of our own ---

bool put_connect(Rig& rig, uint32_t ticket, const std::string& address = "127.0.0.1",
                 uint32_t wait_ms = 5000) {
  Command command;
  command.kind = static_cast<uint16_t>(CommandKind::Connect);
  command.exchange = {ticket, 0};
  command.status = 80;
  command.amount = wait_ms;
  command.blob = static_cast<uint32_t>(-1);
  return EXPECT(put_command(rig.lane(), command, address, std::string(kKey) + kHandshake));
}

// The newest connection's peer.
SimPeer dial(Rig& rig, uint32_t ticket) {
  put_connect(rig, ticket);
  rig.turn();
  return rig.sim().peer_at(rig.sim().places() - 1);
}

TEST("a connection of our own shakes hands and becomes a socket") {
  Rig rig;
  const SimPeer peer = dial(rig, 5);
  EXPECT(rig.sim().dialed_address(peer) == "127.0.0.1" && rig.sim().dialed_port(peer) == 80);
  EXPECT(rig.sim().read(peer) == kHandshake);
  rig.send(peer, answer_101() + frame({.masked = false}, "hello"));
  std::vector<Taken> events = rig.take();
  if (!EXPECT(events.size() == 2)) return;
  EXPECT(events[0].kind == EventKind::Opened && events[0].head_a == 5);
  EXPECT(events[1].body == "hello");
  EXPECT(rig.stats().sockets.get() == 1 && rig.stats().in_flight.get() == 0);
  put_send(rig, events[0].id, "there");
  rig.turn();
  EXPECT(frames_of(rig, peer, true) == "text there");
  put(rig, CommandKind::CloseSocket, events[0].id, "", with_status(1000));
  rig.turn();
  EXPECT(frames_of(rig, peer, true) == "close 1000 ");
  rig.send(peer, frame({.opcode = 8, .masked = false}, close_payload(1000)));
  EXPECT(seen(rig) == "ending 1000 ; ended 1000 clean");
  EXPECT(rig.stats().connections.get() == 1);  // the server closes it
  rig.sim().half_close(peer);
  rig.turn();
  EXPECT(rig.stats().connections.get() == 0);
}

TEST("frames and the end that come with the 101 in one wait are all heard") {
  Rig rig;
  const SimPeer peer = dial(rig, 5);
  rig.sim().write(peer, answer_101() + frame({.masked = false}, "a"));
  rig.sim().half_close(peer);
  rig.turn();
  EXPECT(seen(rig).ends_with("a; ended 1006 broken WsLost"));
}

TEST("attempts end with why: refused, not in time, answered wrongly, lost, at once") {
  Rig rig;
  rig.sim().hold_answers(true);
  SimPeer peer = dial(rig, 1);
  rig.sim().answer(peer, ECONNREFUSED);
  rig.turn();
  EXPECT(seen(rig) == "refused WsConnect " + std::to_string(ECONNREFUSED));
  dial(rig, 2);
  rig.pass(4980);
  EXPECT(rig.take().empty());
  rig.pass(40);
  EXPECT(seen(rig) == "refused WsTimeout 0");
  rig.sim().hold_answers(false);
  peer = dial(rig, 3);
  rig.send(peer, "HTTP/1.1 404 Not Found\r\n\r\n");
  EXPECT(seen(rig) == "refused WsRejected 404");
  peer = dial(rig, 4);
  rig.pass(5020);
  EXPECT(seen(rig) == "refused WsTimeout 0");
  peer = dial(rig, 5);
  rig.sim().reset(peer);
  rig.turn();
  const std::string lost = seen(rig);
  EXPECT(lost.starts_with("refused WsConnect "));
  rig.sim().fail_next_connect(EMFILE);
  put_connect(rig, 6);
  rig.turn();
  EXPECT(seen(rig) == "refused WsConnect " + std::to_string(EMFILE));
  EXPECT(rig.stats().connections.get() == 0 && rig.stats().in_flight.get() == 0);
  EXPECT(rig.stats().idle.get() == 0);
}

TEST("a loop that closes gives its attempts up, and takes no new ones") {
  Rig rig;
  rig.sim().hold_answers(true);
  dial(rig, 1);
  rig.sim().hold_answers(false);
  dial(rig, 2);
  rig.control(CommandKind::Close, 1000);
  put_connect(rig, 3);
  rig.turn();
  const std::vector<Taken> events = rig.take();
  size_t refused = 0;
  for (const Taken& taken : events) {
    if (taken.kind != EventKind::Refused) continue;
    EXPECT(taken.status == static_cast<uint16_t>(ErrorCode::Closed) && taken.head_b == 0);
    refused++;
  }
  EXPECT(refused == 3);
}

TEST("connections_max holds for connections of our own") {
  Limits limits;
  limits.connections_max = 2;
  Rig rig(limits);
  for (uint32_t ticket : {1, 2, 3}) put_connect(rig, ticket);
  rig.turn();
  EXPECT(seen(rig) == "refused WsConnect " + std::to_string(EMFILE));
  EXPECT(rig.stats().connections.get() == 2);
}

// --- both ends ---

// Carries bytes between a server's peer and a client's until none move.
void shuttle(Rig& server, SimPeer at_server, Rig& client, SimPeer at_client) {
  for (int idle = 0; idle < 8;) {
    const std::string up = client.sim().read(at_client);
    const std::string down = server.sim().read(at_server);
    server.sim().write(at_server, up);
    client.sim().write(at_client, down);
    server.turn();
    client.turn();
    idle = up.empty() && down.empty() ? idle + 1 : 0;
  }
}

TEST("both ends understand each other, with compression and a network that tears everything") {
  std::array<SocketSettings, 1> settings{};
  settings[0].deflate = {
      .enabled = true, .context_takeover = true, .peer_context_takeover = true, .threshold = 10};
  for (const bool compressed : {false, true}) {
    const SimFaults faults{.seed = 3, .short_read = 300, .short_write = 300};
    Rig server({}, faults);
    Rig client({}, faults);
    settings[0].deflate.enabled = compressed;
    server.loop().set_sockets(settings, "");
    client.loop().set_sockets(settings, "");
    Command connect;
    connect.kind = static_cast<uint16_t>(CommandKind::Connect);
    connect.exchange = {1, 0};
    connect.amount = 100'000;
    connect.blob = static_cast<uint32_t>(-1);
    std::string request = kHandshake;
    const std::string offer = ws::make_offer(settings[0].deflate);
    if (compressed)
      request.insert(request.size() - 2, "Sec-WebSocket-Extensions: " + offer + "\r\n");
    EXPECT(put_command(client.lane(), connect, "::1", kKey + request));
    for (int i = 0; i < 4; i++) client.turn();
    const SimPeer at_client = client.sim().peer_at(0);
    const SimPeer at_server = server.connect();
    shuttle(server, at_server, client, at_client);
    const ExchangeId at_server_id = server.take_one().id;
    put(server, CommandKind::Upgrade, at_server_id);
    shuttle(server, at_server, client, at_client);
    const Taken opened = client.take_one();
    if (!EXPECT(opened.kind == EventKind::Opened)) return;
    EXPECT(opened.head_b == (compressed ? 1 : 0));
    EXPECT(server.take_one().kind == EventKind::Opened);
    for (size_t size : {0, 20, 1000, 30'000, 100'000}) {
      Command send;
      send.status = 2;
      send.flags = kCommandCompress;
      const std::string payload = std::to_string(size) + std::string(size, 'e');
      put(client, CommandKind::Send, opened.id, payload, send);
      put(server, CommandKind::Send, at_server_id, payload, send);
      shuttle(server, at_server, client, at_client);
      EXPECT(server.take_one().body == payload);
      EXPECT(client.take_one().body == payload);
    }
    put(client, CommandKind::CloseSocket, opened.id, "done", with_status(4000));
    shuttle(server, at_server, client, at_client);
    EXPECT(seen(server) == "ending 4000 done; ended 4000 clean");
    shuttle(server, at_server, client, at_client);
    EXPECT(seen(client) == "ending 4000 done; ended 4000 clean");
    client.sim().half_close(at_client);
  }
}

}  // namespace

}  // namespace millrace::test
