// Streams through a loop over sim: who waits for room in the lane goes on first and in turn,
// uploads never wait for an exchange, and responses by pieces leave whole.
#include <fcntl.h>

#include <cstdio>
#include <string>
#include <vector>

#include "core/proto/http1/body_stream.h"
#include "test/loop_rig.h"
#include "test/seen.h"

namespace millrace::test {
namespace {

// Every POST is streamed.
class StreamRig final {
 public:
  explicit StreamRig(const Limits& limits = {}) : limits_(limits) {
    Route handler;
    handler.kind = RouteKind::Handler;
    handler.body = BodyMode::Stream;
    router_.set_fallback(std::move(handler));
    router_.seal();
    auto sim = std::make_unique<Sim>();
    sim_ = sim.get();
    loop_ = std::make_unique<Loop>(std::move(sim), limits_, router_, disk_, 1);
    EXPECT(loop_->listen(0, Fd(), find_protocol("http")).is_ok());
  }
  StreamRig(const StreamRig&) = delete;
  StreamRig& operator=(const StreamRig&) = delete;
  ~StreamRig() {
    take();
    static_cast<void>(put_control(lane(), CommandKind::Close));
    for (int i = 0; i < 4; i++) {
      sim_->advance(1'000'000);
      turn();
      take();
    }
    EXPECT(loop_->stats_view().connections.get() == 0);
    EXPECT(loop_->stats_view().in_flight.get() == 0);
    EXPECT(loop_->stats_view().blocks.get() == 0);
    disk_.stop();
  }

  [[nodiscard]] Sim& sim() { return *sim_; }
  [[nodiscard]] Lane& lane() { return loop_->lane(); }
  void turn(int count = 3) {
    for (int i = 0; i < count; i++) {
      static_cast<void>(loop_->work());
      loop_->poll(0);
    }
    static_cast<void>(loop_->work());
  }
  SimPeer connect(const std::string& bytes) {
    SimPeer peer = sim_->connect(0);
    sim_->write(peer, bytes);
    turn();
    return peer;
  }
  // As one entry into JavaScript.
  void take(size_t count = SIZE_MAX) {
    size_t taken = 0;
    while (taken < count) {
      char* record = lane().events.front();
      if (record == nullptr) break;
      const auto& event = *reinterpret_cast<const Event*>(record);
      events.push_back(see_event(event));
      lane().events.pop(event.size);
      taken++;
    }
    if (taken > 0) lane().events_taken();
  }
  void tell(ExchangeId id, const CommandText& text) {
    char* record = lane().commands.reserve(command_size(text));
    if (!EXPECT(record != nullptr)) return;
    write_command(id, text, record);
    lane().commands.commit(command_size(text));
  }

  std::vector<SeenEvent> events;

 private:
  RoleScope role_{loop_thread};
  const Limits limits_;
  Router router_;
  Disk disk_;
  std::unique_ptr<Loop> loop_;
  Sim* sim_ = nullptr;
};

std::string upload(const std::string& target, size_t size) {
  return "POST " + target + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) +
         "\r\n\r\n";
}

TEST("uploads that fill the lane go on in turn, and each comes to its end") {
  constexpr size_t kPeers = 120;
  constexpr size_t kSize = 40'000;
  StreamRig rig;
  std::vector<SimPeer> peers;
  for (size_t i = 0; i < kPeers; i++) {
    peers.push_back(rig.connect(upload("/" + std::to_string(i), kSize)));
  }
  rig.take();
  if (!EXPECT(rig.events.size() == kPeers)) return;
  std::vector<ExchangeId> ids;
  for (const SeenEvent& event : rig.events) ids.push_back(event.exchange);
  rig.events.clear();
  for (ExchangeId id : ids) rig.tell(id, {.kind = CommandKind::Read, .amount = 1'000'000});
  for (SimPeer peer : peers) rig.sim().write(peer, std::string(kSize, 'x'));
  std::vector<size_t> sizes(kPeers);
  size_t ends = 0;
  size_t turns = 0;
  for (; turns < 2000 && ends < kPeers; turns++) {
    rig.turn(1);
    rig.take(5);  // a slow consumer
    for (const SeenEvent& event : std::exchange(rig.events, {})) {
      for (size_t i = 0; i < kPeers; i++) {
        if (ids[i] != event.exchange) continue;
        if (event.kind == EventKind::Body) sizes[i] += event.body.size();
        if (event.kind == EventKind::BodyEnd) ends++;
      }
    }
  }
  EXPECT(ends == kPeers);
  for (size_t size : sizes) EXPECT(size == kSize);
}

TEST("a body that waits for room goes on before a request does") {
  Limits limits;
  limits.buffered_bytes_max = int64_t{1} << 30;  // many requests of one connection at a time
  StreamRig rig(limits);
  rig.connect(upload("/body", 200'000) + "bytes");
  rig.take();
  const ExchangeId id = rig.events[0].exchange;
  std::string many;
  for (int i = 0; i < 60; i++) {
    many += "GET /" + std::string(3000, 'f') + " HTTP/1.1\r\nHost: a\r\n\r\n";
  }
  for (int i = 0; i < 7; i++) rig.connect(many);  // more than the lane holds
  rig.tell(id, {.kind = CommandKind::Read, .amount = 1'000'000});
  rig.turn();
  rig.take();
  for (const SeenEvent& event : rig.events) EXPECT(event.kind == EventKind::Request);
  rig.turn(1);
  rig.take(1);
  EXPECT(rig.events.back().kind == EventKind::Body && rig.events.back().body == "bytes");
  rig.take(1);
  EXPECT(rig.events.back().kind == EventKind::Request);
}

TEST("uploads that take every exchange come to their ends") {
  StreamRig rig({.in_flight_max = 4});
  std::vector<SimPeer> peers;
  for (int i = 0; i < 12; i++)
    peers.push_back(rig.connect(upload("/", 100'000) + std::string(100'000, 'x')));
  size_t answered = 0;
  for (int turns = 0; turns < 400 && answered < 12; turns++) {
    rig.turn();
    rig.take();
    for (const SeenEvent& event : std::exchange(rig.events, {})) {
      if (event.kind == EventKind::Request) {
        rig.tell(event.exchange, {.kind = CommandKind::Read, .amount = 1000});
      } else if (event.kind == EventKind::Body) {
        const auto cost = static_cast<uint32_t>(event.body.size() + http1::kEventCost);
        rig.tell(event.exchange, {.kind = CommandKind::Read, .amount = cost});
      } else if (event.kind == EventKind::BodyEnd) {
        rig.tell(event.exchange, {.body = "ok"});
        answered++;
      }
    }
  }
  rig.turn();
  EXPECT(answered == 12);
  for (SimPeer peer : peers) EXPECT(rig.sim().read(peer).starts_with("HTTP/1.1 200 OK\r\n"));
}

TEST("pieces leave whole and in order, and are told of when the peer has taken them") {
  StreamRig rig;
  SimPeer peer = rig.connect("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  rig.take();
  const ExchangeId id = rig.events[0].exchange;
  rig.events.clear();
  rig.sim().limit_window(peer, 300);
  rig.tell(id, {.kind = CommandKind::Begin});
  std::string expected;
  uint64_t sum = 0;
  for (unsigned size : {1u, 999u, 1000u, 1001u, 16'384u, 70'000u, 15u, 16u}) {
    const std::string bytes(size, static_cast<char>('a' + size % 26));
    rig.tell(id, {.kind = CommandKind::Write, .body = bytes});
    char line[16];
    std::snprintf(line, sizeof(line), "%x\r\n", size);
    expected += line + bytes + "\r\n";
    sum += size;
  }
  rig.turn();
  rig.take();
  EXPECT(rig.events.empty());  // the window is too small for all of it
  rig.sim().limit_window(peer, UINT64_MAX);
  rig.turn(5);
  rig.take();
  uint64_t told = 0;
  for (const SeenEvent& event : rig.events) {
    EXPECT(event.kind == EventKind::Written && event.exchange == id);
    told += event.head_a;
  }
  EXPECT(told == sum);
  rig.tell(id, {.kind = CommandKind::End});
  rig.turn();
  const std::string text = rig.sim().read(peer);
  EXPECT(text.substr(text.find("\r\n\r\n") + 4) == expected + "0\r\n\r\n");
}

TEST("commands for an exchange that is over are dropped with what they own") {
  StreamRig rig;
  SimPeer peer = rig.connect("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  rig.take();
  const ExchangeId id = rig.events[0].exchange;
  rig.sim().reset(peer);
  rig.turn();
  for (CommandKind kind : {CommandKind::Begin, CommandKind::Write, CommandKind::End,
                           CommandKind::Read, CommandKind::Part, CommandKind::Parts}) {
    rig.tell(id, {.kind = kind, .body = std::string(kind == CommandKind::Write ? 5000 : 0, 'x')});
  }
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const int number = null.release();
  rig.tell(id, {.kind = CommandKind::Save, .amount = static_cast<uint32_t>(number)});
  rig.turn();
  EXPECT(::fcntl(number, F_GETFD) == -1);
}

}  // namespace
}  // namespace millrace::test
