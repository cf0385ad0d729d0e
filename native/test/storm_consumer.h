// The far side of a storm's lane: takes events and answers as JavaScript does, at once, late, out
// of order, twice or never, and checks that every request is its sender's and comes and ends once.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/loop/loop.h"
#include "test/loop_rig.h"
#include "test/seen.h"
#include "test/storm_script.h"

namespace millrace::test {

// The first thing that went wrong, in words.
struct Verdict {
  std::string fault = {};
  void fail(const std::string& what) {
    if (fault.empty()) fault = what;
  }
  void expect(bool ok, const char* what, uint64_t which) {
    if (!ok) fail(std::string(what) + " (" + std::to_string(which) + ")");
  }
  [[nodiscard]] bool is_fine() const { return fault.empty(); }
};

// One request from its writing to its end, as peers and consumer know it.
struct StormRecord {
  ScriptedRequest request;  // without its text
  uint32_t peer = 0;
  ExchangeId exchange = {};
  uint32_t connection = UINT32_MAX;
  bool handed = false;      // the consumer has seen it
  uint32_t responds = 0;    // commands of that kind
  uint32_t informs = 0;     // 103s ahead of the first of them
  uint32_t late_least = 0;  // commands that found it over for certain
  bool cut = false;
  bool asked = false;  // whether it has left
  bool aborted = false;
  bool peer_closed = false;
  bool received = false;   // the peer has the consumer's response
  bool timed_out = false;  // the peer has a 503 instead
  bool refused = false;    // the peer has a refusal
  // The first response given.
  uint16_t status = 0;
  size_t size = 0;
  uint16_t flags = 0;

  [[nodiscard]] bool is_over() const { return aborted || responds > 0; }
};

struct StormPeerSeen {
  SimPeer sim = 0;
  bool has_ended = false;  // closed, half-closed or reset its side
  uint32_t last_handed = 0;
  bool asked_to_close = false;  // a response with kCommandClose
};

struct StormLedger {
  std::vector<StormRecord> records{1};  // by number; 0 is nobody's
  std::vector<StormPeerSeen> peers = {};
};

class StormConsumer final {
 public:
  StormConsumer(Dice& dice, Loop& loop, StormLedger& ledger, Verdict& verdict, TraceHash& trace,
                bool heavy)
      : dice_(dice), loop_(loop), ledger_(ledger), verdict_(verdict), trace_(trace), heavy_(heavy) {
    lane().js_bell.set_wake([](void* rung) { *static_cast<bool*>(rung) = true; }, &rung_);
  }

  // One entry into JavaScript.
  void step() {
    step_++;
    if (is_slow_ ? dice_.chance(heavy_ ? 8 : 100) : dice_.chance(20)) is_slow_ = !is_slow_;
    if (!is_slow_) take(dice_.chance(600) ? dice_.below(20) : SIZE_MAX);
    uint32_t tries = is_slow_ ? 2 : 40;
    for (uint32_t i = 0; i < tries && !pending_.empty(); i++) {
      size_t at = dice_.chance(500) ? 0 : dice_.below(static_cast<uint32_t>(pending_.size()));
      Pending& pending = pending_[at];
      if (pending.due > step_ || !answer(pending.number)) continue;
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (dice_.chance(5)) send_stale();
  }

  // Takes all, answers all.
  void step_promptly() {
    step_++;
    take(SIZE_MAX);
    size_t answered = 0;
    while (answered < pending_.size() && answer(pending_[answered].number)) answered++;
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(answered));
  }

  void put_control(CommandKind kind, uint32_t wait_ms) {
    if (!test::put_control(lane(), kind, wait_ms)) return;
    (kind == CommandKind::Close ? closed_ : drained_) = true;
  }

  void hear_of_connections(bool all) { hears_of_all_ = all; }
  // Connections that are there, and ends that were told; lines of the access log with a status, and
  // without.
  [[nodiscard]] size_t told() const { return told_.size(); }
  [[nodiscard]] uint64_t ends() const { return ends_; }
  [[nodiscard]] uint64_t answered_lines() const { return answered_lines_; }
  [[nodiscard]] uint64_t other_lines() const { return other_lines_; }

  // The loop is told to close by other means.
  void expect_drained() { closed_ = true; }

  [[nodiscard]] bool sleeps_over_events() { return asleep_ && !rung_ && !lane().events.is_empty(); }
  [[nodiscard]] bool has_pending() const { return !pending_.empty(); }
  [[nodiscard]] bool is_closing() const { return closed_; }
  [[nodiscard]] bool is_draining() const { return closed_ || drained_; }
  [[nodiscard]] bool saw_drained() const { return saw_drained_; }
  [[nodiscard]] uint64_t taken() const { return taken_; }
  [[nodiscard]] uint64_t aborts() const { return aborts_; }
  [[nodiscard]] uint64_t commands_refused() const { return commands_refused_; }
  [[nodiscard]] uint64_t stale() const { return stale_; }
  // Of which is not told yet whether they have left.
  [[nodiscard]] size_t asked() const { return asked_.size(); }

  // Numbers of requests that it has and neither answered nor lost.
  [[nodiscard]] const std::map<uint32_t, uint32_t>& live() const { return live_; }

 private:
  struct Pending {
    uint32_t number;
    uint64_t due;
  };

  Lane& lane() { return loop_.lane(); }

  void take(size_t count) {
    if (asleep_ && !rung_) return;
    asleep_ = rung_ = false;
    size_t seen = 0;
    for (; seen < count; seen++) {
      char* record = lane().events.front();
      if (record == nullptr) break;
      const auto& event = *reinterpret_cast<const Event*>(record);
      see(event);
      lane().events.pop(event.size);
    }
    taken_ += seen;
    if (seen > 0) lane().events_taken();
    if (seen < count && dice_.chance(700)) {
      lane().js_bell.fall_asleep();
      asleep_ = lane().events.is_empty();
      if (!asleep_) lane().js_bell.stay_awake();
    }
  }

  void see(const Event& event) {
    trace_.add(event.kind);
    trace_.add(event.exchange.slot);
    trace_.add(event.exchange.generation);
    switch (static_cast<EventKind>(event.kind)) {
      case EventKind::Request: return see_request(event);
      case EventKind::Aborted: return see_aborted(event.exchange);
      case EventKind::PeerClosed: return see_peer_closed(event.exchange);
      case EventKind::Left: return see_left(event);
      case EventKind::Drained:
        verdict_.expect(closed_ && !saw_drained_, "Drained without a Close", taken_);
        verdict_.expect(loop_.stats_view().connections.get() == 0, "Drained too early", taken_);
        saw_drained_ = true;
        return;
      case EventKind::Problem:
        verdict_.expect(event.status == 24, "a Problem that is not EMFILE", event.status);
        return;
      case EventKind::Connected: return see_connected(event);
      case EventKind::Disconnected: return see_disconnected(event);
      case EventKind::Access:
        (event.head_b != 0 ? answered_lines_ : other_lines_)++;
        verdict_.expect(!hears_of_all_ || is_told(event), "a line of no connection", event.head_a);
        return;
      default: break;
    }
    verdict_.fail("an event that nobody asked for");
  }

  [[nodiscard]] bool is_told(const Event& event) const {
    auto told = told_.find(event.head_a);
    return told != told_.end() && told->second == event.status;
  }

  void see_connected(const Event& event) {
    verdict_.expect(hears_of_all_ && !told_.contains(event.head_a), "told twice", event.head_a);
    told_[event.head_a] = event.status;
  }

  void see_disconnected(const Event& event) {
    ends_++;
    // Without room for both, only the end is told.
    bool was_told = told_.contains(event.head_a);
    verdict_.expect(hears_of_all_ && (!was_told || is_told(event)), "an end of no connection",
                    event.head_a);
    told_.erase(event.head_a);
    for (const auto& [slot, number] : live_) {
      const StormRecord& record = ledger_.records[number];
      bool is_its = was_told && record.connection == event.head_a;
      verdict_.expect(!is_its || record.is_over(), "an exchange outlives its connection", number);
    }
  }

  void see_request(const Event& event) {
    verdict_.expect(!hears_of_all_ || is_told(event), "a request of no connection", event.head_a);
    SeenEvent seen = see_event(event);
    std::string text;
    uint64_t number = 0;
    bool known = seen.header("x-number", text) && parse_decimal(text, number) && number > 0 &&
                 number < ledger_.records.size();
    if (!known) return verdict_.fail("a request that nobody sent: " + seen.target);
    StormRecord& record = ledger_.records[number];
    const ScriptedRequest& request = record.request;
    StormPeerSeen& peer = ledger_.peers[record.peer];
    verdict_.expect(!record.handed, "a request handed over twice", number);
    verdict_.expect(request.flaw == ErrorCode::None, "a flawed request handed over", number);
    verdict_.expect(request.answerer == Answerer::Consumer, "a native request handed over", number);
    verdict_.expect(number > peer.last_handed, "requests out of order", number);
    verdict_.expect(seen.method == request.method && seen.target == request.target &&
                        seen.headers == request.seen_headers && seen.http10 == request.http10 &&
                        seen.is_head == request.is_head(),
                    "a request that is not as it was sent", number);
    verdict_.expect(seen.body == body_of_request(request), "another body than was sent", number);
    verdict_.expect(event.peer_port == 1024 + peer.sim % 60000, "another peer's port", number);
    auto age = static_cast<uint32_t>(loop_.now()) - event.queued_at;
    verdict_.expect(age < 0x80000000u, "a request from the future", number);
    if (seen.exchange.slot >= generations_.size()) generations_.resize(seen.exchange.slot + 1, 0);
    uint32_t& generation = generations_[seen.exchange.slot];
    auto owner = live_.find(seen.exchange.slot);
    verdict_.expect(owner == live_.end() || ledger_.records[owner->second].is_over(),
                    "the id of a living exchange is used again", number);
    verdict_.expect(seen.exchange.generation + 1 > generation, "an old id is used again", number);
    generation = seen.exchange.generation + 1;
    live_[seen.exchange.slot] = static_cast<uint32_t>(number);
    record.handed = true;
    record.exchange = seen.exchange;
    record.connection = event.head_a;
    peer.last_handed = static_cast<uint32_t>(number);
    trace_.add(number);
    if (number % 3 == 0) static_cast<void>(ask(record));  // else when it is answered
    // In this order, so that the dice's zero answers at once.
    uint64_t due = step_;
    if (dice_.chance(500)) due += dice_.below(8);
    if (dice_.chance(60)) due += 40 + dice_.below(400);
    if (dice_.chance(20)) due = UINT64_MAX;
    pending_.push_back({static_cast<uint32_t>(number), due});
  }

  static std::string body_of_request(const ScriptedRequest& request) {
    return request.body_size == 0 ? std::string() : body_of(request.number, 'q', request.body_size);
  }

  // Null when the newest request of that slot has another generation.
  StormRecord* find(ExchangeId id) {
    auto owner = live_.find(id.slot);
    if (owner == live_.end()) return nullptr;
    StormRecord& record = ledger_.records[owner->second];
    return record.exchange == id ? &record : nullptr;
  }

  void see_aborted(ExchangeId id) {
    aborts_++;
    StormRecord* record = find(id);
    if (record == nullptr || record->aborted) return verdict_.fail("Aborted for no exchange");
    record->aborted = true;
    verdict_.expect(!record->received, "Aborted after its response arrived",
                    record->request.number);
    live_.erase(id.slot);
    std::erase_if(pending_,
                  [record](const Pending& one) { return one.number == record->request.number; });
  }

  void see_peer_closed(ExchangeId id) {
    StormRecord* record = find(id);
    if (record == nullptr || record->aborted) return verdict_.fail("PeerClosed for no exchange");
    verdict_.expect(!record->peer_closed, "PeerClosed twice", record->request.number);
    verdict_.expect(ledger_.peers[record->peer].has_ended, "PeerClosed of an open peer",
                    record->request.number);
    record->peer_closed = true;
  }

  void see_left(const Event& event) {
    auto asked = asked_.find({event.exchange.slot, event.exchange.generation});
    if (asked == asked_.end()) return verdict_.fail("Left for nothing that was asked about");
    const StormRecord& record = ledger_.records[asked->second];
    verdict_.expect(event.status == 0 || (record.responds > 0 && !record.aborted),
                    "left without an answer", asked->second);
    asked_.erase(asked);
  }

  // False when the ring is full.
  bool ask(StormRecord& record) {
    if (record.asked) return true;
    Command tell;
    tell.kind = static_cast<uint16_t>(CommandKind::Tell);
    tell.exchange = record.exchange;
    record.asked = put_command(lane(), tell);
    if (record.asked)
      asked_[{record.exchange.slot, record.exchange.generation}] = record.request.number;
    return record.asked;
  }

  // False when the ring is full.
  bool answer(uint32_t number) {
    StormRecord& record = ledger_.records[number];
    if (number % 3 == 0 && !ask(record)) return false;
    if (dice_.chance(40) && !record.request.http10) {
      Command early;
      early.kind = static_cast<uint16_t>(CommandKind::Informational);
      early.exchange = record.exchange;
      early.status = 103;
      if (!put_command(lane(), early, "X-Storm: " + std::to_string(number) + "\r\n")) return false;
      record.informs++;
    }
    if (dice_.chance(15)) {
      Command cut;
      cut.kind = static_cast<uint16_t>(CommandKind::Cut);
      cut.exchange = record.exchange;
      if (!put_command(lane(), cut)) return false;
      record.cut = true;
      return true;
    }
    if (!put_final(record)) return false;
    if (dice_.chance(10) && put_final(record)) record.late_least++;  // answers twice
    return true;
  }

  bool put_final(StormRecord& record) {
    const uint16_t statuses[] = {200, 200, 200, 200, 200, 201, 204, 302, 304, 404, 500, 600, 999};
    const uint32_t sizes[] = {5, 0, 5, 40, 1000, 3000, 9000, 16'384, 16'385, 40'000};
    Command command;
    command.kind = static_cast<uint16_t>(CommandKind::Respond);
    command.exchange = record.exchange;
    command.status = dice_.one_of(statuses);
    size_t size = dice_.one_of(sizes);
    if (dice_.chance(5)) size = 300'000;
    if (heavy_ && record.request.number % 5 < 4) size = kInlineBodyMax;
    std::string headers = "X-Storm: " + std::to_string(record.request.number) + "\r\n";
    if (dice_.chance(30)) headers += "X-Pad: " + std::string(2500, 'p') + "\r\n";
    if (dice_.chance(30)) command.flags |= kCommandClose;
    bool no_content = command.status == 204 || command.status == 304;
    if (record.request.is_head() && !no_content && dice_.chance(500)) {
      command.flags |= kCommandHasLength;
      headers += "Content-Length: 1234567\r\n";
      size = 0;
    }
    if (!put_command(lane(), command, headers, body_of(record.request.number, 'r', size))) {
      commands_refused_++;
      return false;
    }
    if (record.responds++ > 0) return true;
    record.status = command.status;
    record.flags = command.flags;
    record.size = size;
    if ((command.flags & kCommandClose) != 0) ledger_.peers[record.peer].asked_to_close = true;
    return true;
  }

  // An answer to an exchange that never was.
  void send_stale() {
    Command command;
    command.kind = static_cast<uint16_t>(CommandKind::Respond);
    command.exchange = {dice_.below(4), 0x70000000};
    command.status = 200;
    if (put_command(lane(), command, "", body_of(0, 's', dice_.chance(500) ? 20'000 : 10))) {
      stale_++;
    }
  }

  Dice& dice_;
  Loop& loop_;
  StormLedger& ledger_;
  Verdict& verdict_;
  TraceHash& trace_;
  const bool heavy_;
  uint64_t commands_refused_ = 0;
  std::vector<Pending> pending_;
  std::map<uint32_t, uint32_t> live_;                        // slot to number
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> asked_;  // slot and generation to number
  std::vector<uint32_t> generations_;                        // by slot: the least that is new
  uint64_t step_ = 0;
  uint64_t taken_ = 0;
  uint64_t aborts_ = 0;
  uint64_t stale_ = 0;
  bool is_slow_ = false;
  bool asleep_ = false;
  bool rung_ = false;
  bool drained_ = false;
  bool closed_ = false;
  bool saw_drained_ = false;
  bool hears_of_all_ = false;
  std::map<uint32_t, uint16_t> told_;  // index to generation
  uint64_t ends_ = 0;
  uint64_t answered_lines_ = 0;
  uint64_t other_lines_ = 0;
};

}  // namespace millrace::test
