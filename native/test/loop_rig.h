// One loop over sim, with a consumer of its lane that a test drives by hand. At its end it closes
// the loop and expects that nothing is left behind: no connection, exchange, block, deadline,
// event.
#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "core/loop/loop.h"
#include "core/poll/sim.h"
#include "test/harness.h"

namespace millrace::test {

struct Taken {
  EventKind kind = EventKind::Problem;
  ExchangeId id = {};
  std::string target = {};
  std::string body = {};
  uint16_t status = 0;
  uint32_t head_a = 0;
  uint32_t head_b = 0;
  uint16_t flags = 0;
  uint16_t route = 0;
  std::string method = {};
  std::string peer = {};
  std::string headers = {};  // as the record has them
};

inline Taken read_event(const Event& event) {
  Taken taken{static_cast<EventKind>(event.kind), event.exchange};
  taken.status = event.status;
  taken.head_a = event.head_a;
  taken.head_b = event.head_b;
  const char* text =
      reinterpret_cast<const char*>(&event) + sizeof(Event) + event.param_count * sizeof(ParamSpan);
  taken.flags = event.flags;
  taken.route = event.route;
  taken.method.assign(text, event.method_length);
  taken.target.assign(text + event.method_length, event.target_length);
  const char* peer = text + event.method_length + event.target_length;
  taken.peer.assign(peer, event.peer_length);
  taken.headers.assign(peer + event.peer_length, event.header_length);
  if ((event.flags & kEventBodyIsBlob) != 0) {
    Blob body = Blob::adopt(reinterpret_cast<char*>(event.blob), event.body_length);
    taken.body.assign(body.data(), body.size());
  } else {
    taken.body.assign(text + event_text_length(event), event.body_length);
  }
  return taken;
}

// As JavaScript does it: at most `count` events, one look at the loop's wish for room per batch.
inline std::vector<Taken> take_events(Lane& lane, size_t count = SIZE_MAX) {
  std::vector<Taken> all;
  while (all.size() < count) {
    char* record = lane.events.front();
    if (record == nullptr) break;
    const auto& event = *reinterpret_cast<const Event*>(record);
    if ((event.flags & kEventBodyIsBlob) != 0) {
      // read_event() takes the blob itself.
      lane.blob_bytes.fetch_sub(event.body_length, std::memory_order_relaxed);
    }
    all.push_back(read_event(event));
    lane.events.pop(event.size);
  }
  if (!all.empty()) lane.events_taken();
  return all;
}

// False when the ring has no room.
inline bool put_command(Lane& lane, Command command, const std::string& headers = "",
                        const std::string& body = "") {
  bool is_inline = body.size() <= kInlineBodyMax;
  size_t size = sizeof(Command) + headers.size() + (is_inline ? body.size() : 0);
  char* record = lane.commands.reserve(size);
  if (record == nullptr) return false;
  command.size = static_cast<uint32_t>(Ring::rounded(size));
  command.header_length = static_cast<uint32_t>(headers.size());
  command.body_length = static_cast<uint32_t>(body.size());
  if (!is_inline) {
    bool has_spare = command.kind == static_cast<uint16_t>(CommandKind::Write) ||
                     command.kind == static_cast<uint16_t>(CommandKind::Send);
    Blob blob = Blob::uninitialized(body.size() + (has_spare ? kBlobFront + kBlobBack : 0));
    std::memcpy(blob.data() + (has_spare ? kBlobFront : 0), body.data(), body.size());
    command.flags |= kCommandBodyIsBlob;
    command.blob = reinterpret_cast<uint64_t>(blob.release());
  }
  new (record) Command(command);
  std::memcpy(record + sizeof(Command), headers.data(), headers.size());
  if (is_inline) std::memcpy(record + sizeof(Command) + headers.size(), body.data(), body.size());
  lane.commands.commit(size);
  lane.loop_bell.ring();
  return true;
}

inline bool put_response(Lane& lane, ExchangeId id, const std::string& body,
                         uint16_t status = 200) {
  Command command;
  command.kind = static_cast<uint16_t>(CommandKind::Respond);
  command.exchange = id;
  command.status = status;
  return put_command(lane, command, "", body);
}

inline bool put_control(Lane& lane, CommandKind kind, uint32_t wait_ms = 0, uint32_t idle_ms = 0) {
  Command command;
  command.kind = static_cast<uint16_t>(kind);
  command.amount = wait_ms;
  command.blob = idle_ms;
  return put_command(lane, command);
}

// Every path goes to the consumer but "/static" and "/ready".
inline void add_routes(Router& router, const std::vector<RouteRow>& more = {}) {
  auto add = [&router](const char* pattern, RouteKind kind) {
    RouteRow row{"GET", pattern, {}};
    row.route.kind = kind;
    row.route.content = "fixed";
    EXPECT(router.add(std::move(row)).empty());
  };
  add("/static", RouteKind::Static);
  add("/ready", RouteKind::Ready);
  for (const RouteRow& row : more) EXPECT(router.add(row).empty());
  Route handler;
  handler.kind = RouteKind::Handler;
  router.set_fallback(std::move(handler));
  router.seal();
}

inline std::string get(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

inline std::string post(const std::string& target, size_t body_size) {
  return "POST " + target + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body_size) +
         "\r\n\r\n" + std::string(body_size, 'b');
}

inline size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) count++;
  return count;
}

// Files besides: their routes, and a disk that does what it is told, when it is told.
struct RigFiles {
  std::vector<RouteRow> routes = {};
};

class Rig final {
 public:
  explicit Rig(const Limits& limits = {}, const SimFaults& faults = {},
               const Observation& observation = {}, const RigFiles* files = nullptr)
      : limits_(limits), disk_(files == nullptr ? Disk() : Disk(Disk::ByHand())) {
    add_routes(router_, files == nullptr ? std::vector<RouteRow>() : files->routes);
    auto sim = std::make_unique<Sim>(faults);
    sim_ = sim.get();
    loop_ = std::make_unique<Loop>(std::move(sim), limits_, router_, disk_, 1);
    loop_->set_observation(observation);
    EXPECT(loop_->listen(0, Fd(), find_protocol("http")).is_ok());
  }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  ~Rig() { finish(); }

  [[nodiscard]] Sim& sim() { return *sim_; }
  [[nodiscard]] Loop& loop() { return *loop_; }
  [[nodiscard]] Lane& lane() { return loop_->lane(); }
  [[nodiscard]] const Stats& stats() const { return loop_->stats_view(); }
  [[nodiscard]] Disk& disk() { return disk_; }

  Milliseconds work() {
    RoleScope role(loop_thread);
    return loop_->work();
  }
  void poll(Milliseconds at_most) {
    RoleScope role(loop_thread);
    loop_->poll(at_most);
  }
  void turn(int count = 3) {
    for (int i = 0; i < count; i++) poll(work());
    static_cast<void>(work());
  }
  void pass(Milliseconds span) {
    sim_->advance(span);
    turn();
  }

  // Takes all there is, `batch` at a time, as a consumer whose loop sleeps: it runs again only when
  // it is rung.
  std::vector<Taken> take_while_asleep(size_t batch) {
    std::vector<Taken> all;
    int rings = 0;
    lane().loop_bell.set_wake([](void* count) { ++*static_cast<int*>(count); }, &rings);
    for (bool awake = true;;) {
      if (awake) run_until_asleep();
      lane().loop_bell.fall_asleep();
      rings = 0;
      std::vector<Taken> some = take(batch);
      awake = rings > 0;
      EXPECT(rings <= 1);
      if (some.empty()) break;
      for (Taken& taken : some) all.push_back(std::move(taken));
    }
    lane().loop_bell.stay_awake();
    lane().loop_bell.set_wake(nullptr, nullptr);
    return all;
  }

  void run_until_asleep() {
    for (int i = 0; i < 1000; i++) {
      int64_t before = stats().bytes_in.get() + stats().events.get() + stats().connections.get();
      bool would_sleep = work() != 0;
      poll(0);
      int64_t after = stats().bytes_in.get() + stats().events.get() + stats().connections.get();
      if (would_sleep && before == after) return;
    }
    EXPECT(false);
  }

  SimPeer connect(const std::string& bytes = "") {
    SimPeer peer = sim_->connect(0);
    sim_->write(peer, bytes);
    turn();
    return peer;
  }
  void send(SimPeer peer, const std::string& bytes) {
    sim_->write(peer, bytes);
    turn();
  }
  std::vector<Taken> take(size_t count = SIZE_MAX) { return take_events(lane(), count); }
  Taken take_one() {
    std::vector<Taken> all = take();
    EXPECT(all.size() == 1);
    return all.empty() ? Taken{} : std::move(all[0]);
  }
  void respond(ExchangeId id, const std::string& body) {
    EXPECT(put_response(lane(), id, body));
    turn();
  }
  void control(CommandKind kind, uint32_t wait_ms = 0, uint32_t idle_ms = 0) {
    EXPECT(put_control(lane(), kind, wait_ms, idle_ms));
    turn();
  }

 private:
  void finish() {
    static_cast<void>(take());
    static_cast<void>(put_control(lane(), CommandKind::Close));
    for (int i = 0; i < 4; i++) {
      pass(100'000'000);
      static_cast<void>(take());
    }
    turn();
    EXPECT(stats().connections.get() == 0);
    EXPECT(stats().idle.get() == 0);
    EXPECT(stats().in_flight.get() == 0);
    EXPECT(stats().blocks.get() == 0);
    EXPECT(stats().files.get() == 0);
    EXPECT(stats().deadlines.get() == 0);
    EXPECT(stats().listeners.get() == 0);
    EXPECT(sim_->open_connections() == 0);
    EXPECT(lane().events.front() == nullptr);
    EXPECT(lane().commands.front() == nullptr);
    EXPECT(loop_->exchanges().open_count() == 0);
    EXPECT(work() == kNever);  // nothing keeps a loop awake that has ended
    disk_.stop();
  }

  Limits limits_;
  Router router_;
  Disk disk_;
  std::unique_ptr<Loop> loop_;
  Sim* sim_ = nullptr;
};

}  // namespace millrace::test
