// The peers of a storm: they send scripted requests, each in its own manner, and judge every
// response: in order, whole, from whom it must come, and nobody else's.
#pragma once

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/poll/sim.h"
#include "test/storm_consumer.h"
#include "test/storm_script.h"
#include "test/storm_wire.h"

namespace millrace::test {

struct PeerHabits {
  uint32_t rude = 0;   // per mille and act: ends without need
  uint32_t stall = 0;  // per mille of peers that fall silent somewhere
  uint32_t shy = 0;    // per mille of peers that do not read, or little
  bool heavy = false;  // many large bodies, and a consumer that sleeps long: both rings fill up
};

class StormPeers final {
 public:
  // Those that count connections take the last two for one.
  static constexpr const char* kHosts[] = {"192.0.2.1", "192.0.2.2", "2001:db8::1",
                                           "2001:db8::ffff:2"};

  StormPeers(Dice& dice, const Limits& limits, const PeerHabits& habits, Sim& sim,
             StormLedger& ledger, Verdict& verdict, TraceHash& trace)
      : dice_(dice),
        limits_(limits),
        habits_(habits),
        sim_(sim),
        ledger_(ledger),
        verdict_(verdict),
        trace_(trace),
        writer_(dice, limits, habits.heavy) {}

  void connect() {
    auto peer = std::make_unique<Peer>();
    peer->index = static_cast<uint32_t>(ledger_.peers.size());
    peer->sim = sim_.connect(0);
    sim_.set_host(peer->sim, kHosts[peer->index % std::size(kHosts)]);
    ledger_.peers.push_back({.sim = peer->sim});
    const uint32_t depths[] = {1, 1, 1, 2, 5, 16, 80};
    const uint32_t paces[] = {100'000, 100'000, 2000, 100, 10, 2};
    peer->depth = dice_.one_of(depths);
    peer->pace = dice_.one_of(paces);
    peer->requests_left = 1 + dice_.below(peer->depth * 2 + 3);
    peer->ends_flawed = dice_.chance(120);
    peer->ending = static_cast<Ending>(dice_.below(5));
    if (dice_.chance(habits_.stall)) peer->stalls_at = dice_.below(600);
    if (dice_.chance(habits_.shy)) {
      peer->reading = dice_.chance(500) ? Reading::Never : Reading::Slow;
      peer->plain = peer->reading == Reading::Never && dice_.chance(500);
      if (peer->plain) peer->depth = peer->requests_left = 400;
      sim_.limit_window(peer->sim, dice_.below(4000));
    }
    live_.push_back(std::move(peer));
  }

  // Some of them do something.
  void act(uint32_t count) {
    for (uint32_t i = 0; i < count && !live_.empty(); i++) {
      act(*live_[dice_.below(static_cast<uint32_t>(live_.size()))]);
    }
  }

  // Reads and judges what has come. `turn` only grows.
  void observe(uint64_t turn, bool draining) {
    draining_ = draining;
    size_t kept = 0;
    for (auto& peer : live_) {
      observe(*peer, turn);
      if (sim_.saw_close(peer->sim)) {
        see_closed(*peer);
      } else {
        live_[kept++].swap(peer);
      }
    }
    live_.resize(kept);
  }

  // From now on everybody who reads at all reads everything.
  void open_windows() {
    for (auto& peer : live_) {
      if (peer->reading == Reading::Slow) sim_.limit_window(peer->sim, UINT64_MAX);
    }
  }

  // The loop has come to rest with a prompt consumer: who sent a whole request has its answer.
  void expect_answered() {
    for (auto& peer : live_) {
      SimPeer sim = peer->sim;
      bool gone = peer->is_gone || peer->closed_by_response || sim_.saw_half_close(sim);
      if (gone || !sim_.was_accepted(sim) || peer->reading == Reading::Never) continue;
      for (size_t i = peer->answered; i < peer->asked.size(); i++) {
        if (peer->asked[i].end <= peer->written) {
          verdict_.fail("a whole request without an answer (" +
                        std::to_string(peer->asked[i].number) + ")");
        }
      }
    }
  }

  // At the very end.
  void expect_settled() {
    for (const Settled& one : clean_) {
      for (uint32_t number : one.numbers) {
        const StormRecord& record = ledger_.records[number];
        if (!record.handed || record.aborted) continue;
        verdict_.expect(record.received, "an answer that its peer never got", number);
      }
    }
  }

  // Bytes that the server keeps of peers that pipeline and never read are bounded.
  void expect_bounded(uint64_t kept_max) {
    for (auto& peer : live_) {
      const StormPeerSeen& seen = ledger_.peers[peer->index];
      if (!peer->plain || seen.asked_to_close || sim_.saw_half_close(peer->sim)) continue;
      uint64_t until = 0;
      for (const Asked& asked : peer->asked) {
        if (asked.number <= seen.last_handed) until = asked.end;
      }
      uint64_t taken = sim_.bytes_taken(peer->sim);
      verdict_.expect(taken <= until + kept_max, "unread bytes without bound", taken - until);
    }
  }

  [[nodiscard]] size_t live() const { return live_.size(); }
  [[nodiscard]] int64_t connected() const {
    return std::count_if(live_.begin(), live_.end(),
                         [this](const auto& one) { return sim_.was_accepted(one->sim); });
  }

 private:
  enum class Reading : uint8_t { All, Slow, Never };
  enum class Ending : uint8_t { Close, Idle, HalfClose, HalfCloseEarly, Reset };
  struct Asked {
    uint32_t number = 0;
    uint64_t begin = 0;  // offsets in the peer's stream
    uint64_t end = 0;
    uint64_t first_turn = 0;  // in which the server was given its first byte; 0: not yet
    uint64_t last_turn = 0;
    uint32_t continues = 0;
    uint32_t informs = 0;
  };
  struct Peer {
    uint32_t index = 0;
    SimPeer sim = 0;
    uint32_t depth = 1;
    uint32_t pace = 1;  // bytes at most at a time
    uint32_t requests_left = 0;
    uint64_t stalls_at = UINT64_MAX;
    uint64_t written = 0;
    uint64_t scripted = 0;
    uint64_t holds_at = UINT64_MAX;  // before a body that waits for a 100
    uint64_t server_ended_turn = 0;  // in which the server closed its side; 0: not yet
    uint32_t patience = 0;
    size_t answered = 0;
    Reading reading = Reading::All;
    Ending ending = Ending::Close;
    bool plain = false;
    bool ends_flawed = false;
    bool has_ended = false;
    bool is_gone = false;  // does not read any more
    bool closed_by_response = false;
    std::string outbox = {};
    std::vector<Asked> asked = {};
    WireReader reader = {};
  };
  struct Settled {
    std::vector<uint32_t> numbers;
  };

  // --- sending ---

  void act(Peer& peer) {
    if (sim_.saw_close(peer.sim) || peer.is_gone) return;
    if (peer.reading == Reading::Slow) sim_.limit_window(peer.sim, dice_.below(5000));
    if (dice_.chance(habits_.rude)) return end(peer, static_cast<Ending>(dice_.below(5)));
    if (peer.has_ended) return;
    bool stalled = peer.written >= peer.stalls_at;
    if (stalled) return;
    if (peer.outbox.empty()) {
      bool wants_more = peer.requests_left > 0 && !peer.closed_by_response;
      if (wants_more && peer.asked.size() - peer.answered < peer.depth) {
        script(peer);
      } else if (!wants_more &&
                 (peer.answered >= peer.asked.size() || peer.ending == Ending::HalfCloseEarly)) {
        return end(peer, peer.ending);
      }
    }
    send_some(peer);
  }

  void script(Peer& peer) {
    auto number = static_cast<uint32_t>(ledger_.records.size());
    bool flawed = peer.requests_left == 1 && peer.ends_flawed && !peer.plain;
    ScriptedRequest request = writer_.write(number, peer.plain, flawed);
    peer.requests_left--;
    Asked asked;
    asked.number = number;
    asked.begin = peer.scripted;
    asked.end = peer.scripted += request.text.size();
    if (request.expects && dice_.chance(700)) {
      peer.holds_at = asked.begin + request.head_size;
      peer.patience = 4 + dice_.below(40);
    }
    peer.outbox = std::move(request.text);
    request.text.clear();
    peer.asked.push_back(asked);
    ledger_.records.push_back({.request = std::move(request), .peer = peer.index});
  }

  void send_some(Peer& peer) {
    size_t size = peer.outbox.size();
    if (size > peer.pace) size = 1 + dice_.below(peer.pace);
    if (peer.holds_at != UINT64_MAX) {
      size = static_cast<size_t>(std::min<uint64_t>(size, peer.holds_at - peer.written));
      bool has_verdict = peer.closed_by_response || peer.answered == peer.asked.size() ||
                         peer.asked[peer.answered].continues > 0;
      if (size == 0 && (has_verdict || peer.patience-- == 0)) peer.holds_at = UINT64_MAX;
    }
    sim_.write(peer.sim, Bytes(peer.outbox).substr(0, size));
    peer.outbox.erase(0, size);
    peer.written += size;
  }

  void end(Peer& peer, Ending ending) {
    if (ending == Ending::Idle) return;
    peer.has_ended = ledger_.peers[peer.index].has_ended = true;
    switch (ending) {
      case Ending::Close:
        sim_.close(peer.sim);
        peer.is_gone = true;
        return;
      case Ending::Reset:
        sim_.reset(peer.sim);
        peer.is_gone = true;
        return;
      default: sim_.half_close(peer.sim); return;
    }
  }

  // --- judging ---

  void observe(Peer& peer, uint64_t turn) {
    uint64_t taken = sim_.bytes_taken(peer.sim);
    for (size_t i = peer.answered; i < peer.asked.size(); i++) {
      Asked& asked = peer.asked[i];
      if (asked.begin >= taken) break;
      if (asked.first_turn == 0) asked.first_turn = turn;
      if (asked.last_turn == 0 && asked.end <= taken) asked.last_turn = turn;
    }
    bool ended = sim_.saw_half_close(peer.sim) || sim_.saw_close(peer.sim);
    if (peer.server_ended_turn == 0 && ended) peer.server_ended_turn = turn;
    std::string bytes = sim_.read(peer.sim);
    if (bytes.empty()) return;
    peer.reader.feed(bytes);
    while (verdict_.is_fine()) {
      Bytes method;
      if (peer.answered < peer.asked.size()) method = request_of(peer).method;
      WireResponse response;
      WireReader::Step step = peer.reader.next(method, response);
      if (step == WireReader::Step::NeedMore) return;
      if (step == WireReader::Step::Broken) return verdict_.fail(peer.reader.fault());
      trace_.add(peer.index);
      trace_.add(response.status);
      trace_.add(response.number);
      if (peer.closed_by_response) return verdict_.fail("a response behind the last one");
      if (WireReader::is_turned_away(response)) {
        judge_turned_away(peer, response);
        continue;
      }
      if (peer.answered == peer.asked.size()) return verdict_.fail("an answer to nothing");
      Asked& asked = peer.asked[peer.answered];
      if (asked.begin >= taken) return verdict_.fail("an answer before its request");
      if (response.status < 200) {
        judge_informational(asked, response);
      } else {
        judge(peer, asked, response);
        peer.answered++;
      }
    }
  }

  const ScriptedRequest& request_of(const Peer& peer) {
    return ledger_.records[peer.asked[peer.answered].number].request;
  }

  // Before its first request, which may be on its way.
  void judge_turned_away(Peer& peer, const WireResponse& response) {
    bool fits = limits_.connections_per_address_max > 0 && peer.answered == 0 &&
                response.status == 503 && response.number == 0 && response.close &&
                response.has_date && !response.has_retry_after;
    verdict_.expect(fits, "turned away without reason", peer.index);
    peer.closed_by_response = true;
  }

  void judge_informational(Asked& asked, const WireResponse& response) {
    const StormRecord& record = ledger_.records[asked.number];
    verdict_.expect(!record.request.http10, "a 1xx for HTTP/1.0", asked.number);
    if (response.status == 100) {
      bool due = record.request.expects && asked.continues++ == 0 && response.number == 0;
      return verdict_.expect(due, "a 100 that nobody waits for", asked.number);
    }
    verdict_.expect(response.status == 103 && response.number == asked.number &&
                        asked.informs++ < record.informs,
                    "a 1xx that nobody sent", asked.number);
  }

  void judge(Peer& peer, const Asked& asked, const WireResponse& response) {
    StormRecord& record = ledger_.records[asked.number];
    const ScriptedRequest& request = record.request;
    bool last_allowed =
        limits_.requests_per_connection_max != 0 &&
        peer.answered + 1 >= static_cast<uint64_t>(limits_.requests_per_connection_max);
    verdict_.expect(response.has_date, "no Date", asked.number);
    verdict_.expect(!response.keep_alive || (request.http10 && request.keeps_alive),
                    "keep-alive unasked", asked.number);
    peer.closed_by_response = response.close;
    if (response.number == 0 && judge_refusal(peer, asked, record, response)) return;
    bool must_close = !request.keeps_alive || last_allowed;
    if (response.number != 0) {
      judge_consumers(asked, record, response);
      must_close = must_close || (record.flags & kCommandClose) != 0;
    } else {
      judge_native(record, response);
    }
    bool may_close = must_close || draining_ || peer.has_ended || request.expects;
    verdict_.expect(response.close || !must_close, "Connection: close is missing", asked.number);
    verdict_.expect(!response.close || may_close, "Connection: close unasked", asked.number);
  }

  void judge_consumers(const Asked& asked, StormRecord& record, const WireResponse& response) {
    uint32_t number = asked.number;
    verdict_.expect(response.number == number, "another request's answer", response.number);
    verdict_.expect(record.responds > 0, "an answer that was not given", number);
    verdict_.expect(!record.aborted, "an answer to an aborted exchange", number);
    verdict_.expect(response.status == record.status, "another status than given", number);
    verdict_.expect(asked.informs == record.informs, "a 103 is missing", number);
    bool own_length = (record.flags & kCommandHasLength) != 0;
    bool has_body = !record.request.is_head() && response.status != 204 && response.status != 304 &&
                    !(record.request.method == "CONNECT" && response.status < 300);
    if (has_body) {
      verdict_.expect(response.body == body_of(number, 'r', record.size), "another body than given",
                      number);
    } else if (response.has_length) {
      verdict_.expect(response.length == (own_length ? 1234567 : record.size),
                      "another length than given", number);
    }
    record.received = true;
  }

  void judge_native(const StormRecord& record, const WireResponse& response) {
    const ScriptedRequest& request = record.request;
    std::string body;
    uint32_t status = 200;
    switch (request.answerer) {
      case Answerer::Static: body = "fixed"; break;
      case Answerer::Ready:
        body = "fixed";
        if (response.status == 503 && draining_) {
          status = 503;
          body = "draining\n";
        }
        break;
      case Answerer::Options: status = 204; break;
      case Answerer::NotAllowed:
        status = 405;
        body = "Method Not Allowed\n";
        break;
      case Answerer::Consumer: status = 0; break;
    }
    if (request.is_head()) body.clear();
    verdict_.expect(
        request.flaw == ErrorCode::None && response.status == status && response.body == body,
        "not the route's answer", request.number);
  }

  // True when it is one, allowed or not.
  bool judge_refusal(Peer& peer, const Asked& asked, StormRecord& record,
                     const WireResponse& response) {
    const ScriptedRequest& request = record.request;
    bool is_head = request.is_head() && response.body.empty();
    if (response.has_retry_after) {
      // It was shed, whatever is wrong with what comes behind its head.
      record.refused = true;
      verdict_.expect(response.status == 503 && request.answerer == Answerer::Consumer &&
                          limits_.queue_delay_max > 0 &&
                          (is_head || response.body == "Service Unavailable\n"),
                      "shed without reason", asked.number);
      verdict_.expect(response.close || request.keeps_alive, "Connection: close is missing",
                      asked.number);
      return true;
    }
    if (response.status == 503 && (is_head || response.body == "Service Unavailable\n") &&
        request.answerer == Answerer::Consumer) {
      record.timed_out = true;
      verdict_.expect(
          response.close && limits_.handler_timeout > 0 && request.flaw == ErrorCode::None,
          "a 503 without reason", asked.number);
      return true;
    }
    bool took_time = asked.last_turn == 0 || asked.first_turn < asked.last_turn;
    bool is_cut_short = peer.has_ended && peer.written < asked.end;
    std::pair<ErrorCode, bool> reasons[] = {{request.flaw, request.flaw != ErrorCode::None},
                                            {ErrorCode::HeadersTimeout, took_time},
                                            {ErrorCode::ReceiveTimeout, took_time},
                                            {ErrorCode::Incomplete, is_cut_short}};
    if (!response.body.starts_with("ERR_MILLRACE_")) return false;
    record.refused = true;
    bool is_allowed = false;
    for (const auto& [code, applies] : reasons) {
      bool fits = response.status == error_code_status(code) &&
                  response.body.starts_with(error_code_name(code));
      is_allowed = is_allowed || (applies && fits);
    }
    verdict_.expect(is_allowed && response.close, "refused without reason", asked.number);
    return true;
  }

  void see_closed(Peer& peer) {
    SimPeer sim = peer.sim;
    bool clean = !sim_.saw_reset(sim) && !peer.is_gone;
    if (!clean || !verdict_.is_fine()) return;
    verdict_.expect(peer.reader.is_between_responses(), "a response cut short", peer.index);
    bool lingers = limits_.linger_timeout > 0 && !peer.has_ended && !draining_;
    verdict_.expect(!lingers || !peer.closed_by_response || sim_.saw_half_close(sim),
                    "closed behind a last response without lingering", peer.index);
    Settled settled;
    for (size_t i = 0; i < peer.asked.size(); i++) {
      const Asked& asked = peer.asked[i];
      // What was answered behind a response that closes is dropped.
      if (i < peer.answered || !peer.closed_by_response) settled.numbers.push_back(asked.number);
      bool was_there = asked.last_turn != 0 && asked.last_turn < peer.server_ended_turn;
      bool owed = i >= peer.answered && was_there && !peer.closed_by_response && !draining_;
      verdict_.expect(!owed, "closed without an answer", asked.number);
    }
    clean_.push_back(std::move(settled));
  }

  Dice& dice_;
  const Limits& limits_;
  const PeerHabits& habits_;
  Sim& sim_;
  StormLedger& ledger_;
  Verdict& verdict_;
  TraceHash& trace_;
  Scriptwriter writer_;
  std::vector<std::unique_ptr<Peer>> live_;
  std::vector<Settled> clean_;
  bool draining_ = false;
};

}  // namespace millrace::test
