// Runs test/cases/*.case twice: against the session alone (as written, byte by byte, cut at every
// place) and against the loop over sim (as written, byte by byte).
#include <algorithm>
#include <filesystem>

#include "core/loop/loop.h"
#include "core/poll/sim.h"
#include "test/case_runner.h"
#include "test/fake_sink.h"
#include "test/harness.h"

namespace millrace::test {

namespace {

const std::vector<CaseScript>& all_cases() {
  static const std::vector<CaseScript> scripts = [] {
    std::vector<CaseScript> read;
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(MILLRACE_ROOT "/test/cases")) {
      if (entry.path().extension() == ".case") paths.push_back(entry.path().string());
    }
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
      if (!read_cases(path, read, context)) EXPECT(context.empty());
    }
    return read;
  }();
  return scripts;
}

void fill_router(const CaseScript& script, Router& router) {
  for (const RouteRow& row : script.routes) EXPECT(router.add(row).empty());
  Route everything;
  everything.kind = RouteKind::Handler;
  if (script.routes.empty()) router.set_fallback(everything);
  router.seal();
}

class SessionWorld final : public World {
 public:
  SessionWorld(const CaseScript& script, const Router& router)
      : sink_(script.limits, router, find_protocol(script.protocol)()) {}

  void feed(Bytes bytes) override { sink_.feed(bytes); }
  void half_close() override { sink_.half_close(); }
  void reset() override { sink_.lose(); }
  void start_draining() override { sink_.start_draining(); }
  void stop() override { sink_.stop(); }
  void advance(Milliseconds span) override { sink_.advance(span); }
  void limit_window(uint64_t) override {}
  void answer(ExchangeId exchange, const CommandText& text) override {
    sink_.answer(exchange, text);
  }
  std::string take_written() override { return std::exchange(sink_.written, {}); }
  std::vector<SeenEvent> take_events() override { return std::exchange(sink_.events, {}); }
  bool sends_no_more() const override { return !sink_.is_open(); }
  bool is_reset() const override { return sink_.was_aborted(); }
  bool still_reads() const override { return !sink_.was_aborted(); }
  std::string leftovers() override {
    sink_.lose();
    return sink_.open_exchanges() == 0 ? "" : "exchanges";
  }

 private:
  FakeSink sink_;
};

void mask_date(std::string& text) {
  constexpr Bytes kDate = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
  for (size_t at = text.find("Date: "); at != std::string::npos; at = text.find("Date: ", at + 1)) {
    if (text.size() < at + kDate.size()) return;
    if (text.compare(at + kDate.size() - 6, 6, " GMT\r\n") != 0) continue;
    text.replace(at, kDate.size(), "Date: *\r\n");
  }
}

class LoopWorld final : public World {
 public:
  LoopWorld(const CaseScript& script, const Router& router)
      : linger_(script.limits.linger_timeout) {
    auto sim = std::make_unique<Sim>();
    sim_ = sim.get();
    loop_ = std::make_unique<Loop>(std::move(sim), script.limits, router, disk_, 1);
    EXPECT(loop_->listen(0, Fd(), find_protocol(script.protocol)).is_ok());
    peer_ = sim_->connect(0);
    turn();
  }

  void feed(Bytes bytes) override {
    sim_->write(peer_, bytes);
    turn();
  }
  void half_close() override {
    sim_->half_close(peer_);
    turn();
  }
  void reset() override {
    sim_->reset(peer_);
    turn();
  }
  void start_draining() override {
    command({}, {.kind = CommandKind::Drain});
    turn();
  }
  void stop() override {
    command({}, {.kind = CommandKind::Close, .amount = kStopWait});
    turn();
  }
  void advance(Milliseconds span) override {
    // In steps of a timer's tick, so that what a deadline causes can cause the next one.
    for (Milliseconds step; span > 0; span -= step) {
      step = std::min<Milliseconds>(span, Timers::kTick);
      sim_->advance(step);
      loop_->poll(0);
      turn();
    }
  }
  void limit_window(uint64_t bytes) override {
    sim_->limit_window(peer_, bytes);
    turn();
  }
  void answer(ExchangeId exchange, const CommandText& text) override {
    command(exchange, text);
    turn();
  }
  std::string take_written() override {
    std::string text = sim_->read(peer_);
    mask_date(text);
    return text;
  }
  std::vector<SeenEvent> take_events() override { return std::exchange(events_, {}); }
  bool sends_no_more() const override {
    return sim_->saw_half_close(peer_) || sim_->saw_close(peer_);
  }
  bool is_reset() const override { return sim_->saw_reset(peer_); }
  bool still_reads() const override { return !sim_->saw_close(peer_); }

  // A refused connection is let go when the time for it is over; any other when its peer leaves.
  std::string leftovers() override {
    if (sim_->saw_half_close(peer_)) {
      advance(linger_ + 2 * Timers::kTick);
      if (!sim_->saw_close(peer_)) return "a lingering connection";
    }
    sim_->reset(peer_);
    turn();
    const Stats& stats = loop_->stats_view();
    if (stats.in_flight.get() != 0) return "exchanges";
    if (stats.connections.get() != 0) return "connections";
    if (stats.idle.get() != 0) return "idle connections";
    if (stats.blocks.get() != 0) return "blocks";
    advance(Timers::kTick);
    return stats.deadlines.get() == 0 ? "" : "deadlines";
  }

 private:
  void turn() {
    // Enough for what a read causes: commands, held-back bytes, writes, a half-close, the end.
    for (int i = 0; i < 5; i++) {
      static_cast<void>(loop_->work());
      take_records();
      loop_->poll(0);
    }
  }
  void take_records() {
    Lane& lane = loop_->lane();
    while (char* record = lane.events.front()) {
      const auto* event = reinterpret_cast<const Event*>(record);
      events_.push_back(see_event(*event));
      lane.events.pop(event->size);
      lane.events_taken();
    }
  }
  void command(ExchangeId exchange, const CommandText& text) {
    char* record = loop_->lane().commands.reserve(command_size(text));
    MR_CHECK(record != nullptr);
    write_command(exchange, text, record);
    loop_->lane().commands.commit(command_size(text));
  }

  static constexpr uint32_t kStopWait = 600'000;

  RoleScope role_{loop_thread};
  const Milliseconds linger_;
  Sim* sim_ = nullptr;
  Disk disk_;
  std::unique_ptr<Loop> loop_;
  SimPeer peer_ = 0;
  std::vector<SeenEvent> events_;
};

template <typename Place>
bool run_in(const CaseScript& script, const Router& router, Cut cut) {
  Place place(script, router);
  return run_case(script, place, cut);
}

TEST("every case ends in something that is expected of its connection") {
  EXPECT(all_cases().size() >= 100);
  for (const CaseScript& script : all_cases()) {
    context = script.file + ":" + std::to_string(script.line) + " " + script.title;
    if (!EXPECT(!script.steps.empty())) continue;
    const StepKind last = script.steps.back().kind;
    EXPECT(last == StepKind::Open || last == StepKind::Closed || last == StepKind::Refused ||
           last == StepKind::Lingers || last == StepKind::Over || last == StepKind::Quiet ||
           last == StepKind::Aborted);
  }
}

TEST("the session answers every case, whole, byte by byte and cut at every place") {
  for (const CaseScript& script : all_cases()) {
    if (!script.runs_at(1)) continue;
    Router router;
    fill_router(script, router);
    if (!run_in<SessionWorld>(script, router, {Cut::kAsWritten})) continue;
    if (!run_in<SessionWorld>(script, router, {Cut::kByteByByte})) continue;
    const size_t bytes = bytes_of(script);
    for (size_t at = 1; at < bytes; at++) {
      if (!run_in<SessionWorld>(script, router, {at})) break;
    }
  }
}

TEST("the loop answers every case over sim, whole and byte by byte") {
  for (const CaseScript& script : all_cases()) {
    if (!script.runs_at(2)) continue;
    Router router;
    fill_router(script, router);
    if (!run_in<LoopWorld>(script, router, {Cut::kAsWritten})) continue;
    run_in<LoopWorld>(script, router, {Cut::kByteByByte});
  }
}

}  // namespace

}  // namespace millrace::test
