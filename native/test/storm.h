// A storm: one loop over sim, virtual time, seeded faults, thousands of peers and a consumer, all
// drawn from dice; after every turn the loop's gauges and bytes are compared with what peers,
// poller and consumer know. The same dice give the same run and the same trace.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/loop/loop.h"
#include "core/poll/sim.h"
#include "test/storm_consumer.h"
#include "test/storm_peers.h"

namespace millrace::test {

// The bounds of a run; everything else is drawn.
struct StormSize {
  uint32_t peers = 2500;
  uint32_t peers_at_once = 400;
  uint32_t turns_max = 6000;
  uint32_t turns_between_rests = 400;
};

struct StormResult {
  std::string fault = {};  // empty: none
  uint64_t turn = 0;
  uint64_t trace = 0;
  uint64_t connections = 0;
  uint64_t requests = 0;
  uint64_t aborts = 0;
  uint64_t refusals = 0;
  uint64_t starved_turns = 0;
  uint64_t full_turns = 0;        // the event ring had no room
  uint64_t commands_refused = 0;  // the command ring had none
};

class Storm final {
 public:
  Storm(Dice dice, const StormSize& size) : dice_(dice), size_(size) {
    draw_limits();
    draw_weather();
    add_storm_routes();
    auto sim = std::make_unique<Sim>(faults_);
    sim_ = sim.get();
    sim_->set_received_bytes_max(received_max_);
    sim_->set_sleep([](void* who, Milliseconds most) { static_cast<Storm*>(who)->slept(most); },
                    this);
    loop_ = std::make_unique<Loop>(std::move(sim), limits_, router_, disk_, 1);
    loop_->set_observation(observation_);
    if (limits_.connections_per_address_max > 0) {
      peer_counts_ =
          std::make_unique<PeerCounts>(static_cast<uint32_t>(limits_.connections_per_address_max));
      loop_->set_peer_counts(*peer_counts_);
    }
    if (!loop_->listen(0, Fd(), find_protocol("http")).is_ok()) verdict_.fail("listen");
    peers_ =
        std::make_unique<StormPeers>(dice_, limits_, habits_, *sim_, ledger_, verdict_, trace_);
    consumer_ =
        std::make_unique<StormConsumer>(dice_, *loop_, ledger_, verdict_, trace_, habits_.heavy);
    consumer_->hear_of_connections(observation_.connections);
  }
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;

  StormResult run() {
    RoleScope role(loop_thread);
    uint32_t rest_in = size_.turns_between_rests;
    while (verdict_.is_fine() && turn_ < size_.turns_max && !is_out_of_script()) {
      live();
      turn();
      if (--rest_in == 0) {
        rest_in = 1 + dice_.below(2 * size_.turns_between_rests);
        rest();
      }
    }
    if (verdict_.is_fine()) rest();
    if (verdict_.is_fine()) end();
    StormResult result{verdict_.fault, turn_, trace_.value()};
    result.connections = sim_->totals().accepted;
    result.requests = consumer_->taken();
    result.aborts = consumer_->aborts();
    for (const Counter& one : stats().refusals) {
      result.refusals += static_cast<uint64_t>(one.get());
    }
    result.starved_turns = starved_turns_;
    result.full_turns = full_turns_;
    result.commands_refused = consumer_->commands_refused();
    return result;
  }

 private:
  // What is odd about the connection at an index, and since when.
  struct Place {
    Milliseconds late_at = kNever;  // a passed deadline
    uint32_t late_stalls = 0;
    Milliseconds late_for = 0;  // between stalls
    uint64_t unarmed_turn = 0;  // the last one in which it had no deadline
    uint32_t unarmed_turns = 0;
    SimPeer unarmed_peer = UINT32_MAX;
  };

  // --- what the run is like ---

  void draw_limits() {
    if (dice_.chance(250)) return;
    limits_.header_bytes_max = dice_.one_of<int64_t>({16384, 600, 1024});
    limits_.request_line_bytes_max = dice_.one_of<int64_t>({8192, 64, 200});
    limits_.header_count_max = dice_.one_of<int64_t>({100, 8});
    limits_.body_bytes_max = dice_.one_of<int64_t>({1 << 20, 40'000, 1000});
    limits_.connections_max = dice_.one_of<int64_t>({100'000, 150, 20, 1});
    limits_.requests_per_connection_max = dice_.one_of<int64_t>({0, 0, 0, 3});
    limits_.pipeline_max = dice_.one_of<int64_t>({64, 8, 2, 1});
    limits_.in_flight_max = dice_.one_of<int64_t>({65536, 60, 4, 1});
    limits_.buffered_bytes_max = dice_.one_of<int64_t>({1 << 20, 65536, 4096});
    limits_.reserve_fds = dice_.one_of<int64_t>({5, -1});
    limits_.headers_timeout = dice_.one_of<int64_t>({10'000, 500, 20});
    limits_.receive_timeout = dice_.one_of<int64_t>({10'000, 400});
    limits_.receive_rate_min = dice_.one_of<int64_t>({256, 0, 100'000});
    limits_.keep_alive_timeout = dice_.one_of<int64_t>({75'000, 300});
    limits_.write_timeout = dice_.one_of<int64_t>({30'000, 300});
    limits_.handler_timeout = dice_.one_of<int64_t>({0, 0, 700});
    limits_.linger_timeout = dice_.one_of<int64_t>({1000, 100, 0});
    if (dice_.chance(40)) limits_.headers_timeout = limits_.receive_timeout = 0;
    if (dice_.chance(40)) limits_.keep_alive_timeout = limits_.write_timeout = 0;
  }

  void draw_weather() {
    faults_.seed = dice_.below(UINT16_MAX);
    habits_.heavy = faults_.seed % 7 == 3;
    if (faults_.seed % 3 > 0) limits_.queue_delay_max = faults_.seed % 3 == 1 ? 50 : 0;
    if (faults_.seed % 11 < 3) limits_.connections_per_address_max = 1 + faults_.seed % 11 * 20;
    observation_.connections = faults_.seed % 2 == 1;
    observation_.access = faults_.seed % 5 < 2;
    faults_.short_read = dice_.one_of<uint32_t>({0, 100, 500});
    faults_.short_write = dice_.one_of<uint32_t>({0, 100, 400});
    faults_.reset = dice_.one_of<uint32_t>({0, 0, 1});
    faults_.accept_error = dice_.one_of<uint32_t>({0, 20, 200});
    received_max_ = dice_.one_of<size_t>({64 * 1024, 4096, 500});
    habits_.rude = dice_.one_of<uint32_t>({0, 2, 30});
    habits_.stall = dice_.one_of<uint32_t>({0, 50, 300});
    habits_.shy = dice_.one_of<uint32_t>({0, 50, 200});
    jumps_ = dice_.one_of<uint32_t>({0, 3, 30});
    pace_ = dice_.one_of<uint32_t>({5, 1, 40});
    if (dice_.chance(150)) drain_at_ = dice_.below(size_.turns_max / 4);
    if (dice_.chance(70)) close_at_ = dice_.below(size_.turns_max / 4);
  }

  void add_storm_routes() {
    bool added = true;
    for (const char* pattern : {"/static", "/ready"}) {
      RouteRow row{"GET", pattern, {}};
      row.route.kind = pattern[1] == 's' ? RouteKind::Static : RouteKind::Ready;
      row.route.content = "fixed";
      added = added && router_.add(std::move(row)).empty();
    }
    if (!added) verdict_.fail("a route was refused");
    Route handler;
    handler.kind = RouteKind::Handler;
    router_.set_fallback(std::move(handler));
    router_.seal();
  }

  [[nodiscard]] bool is_out_of_script() const {
    bool all_came = ledger_.peers.size() >= size_.peers && peers_->live() == 0;
    return all_came || dice_.is_spent() || consumer_->saw_drained();
  }

  // --- the world ---

  // What peers, consumer and clocks do between two looks of the loop.
  void live() {
    uint32_t newcomers = dice_.below(6);
    while (newcomers-- > 0 && ledger_.peers.size() < size_.peers &&
           peers_->live() < size_.peers_at_once) {
      peers_->connect();
    }
    peers_->act(1 + static_cast<uint32_t>(peers_->live()) / 3);
    consumer_->step();
    if (drain_at_ == turn_) consumer_->put_control(CommandKind::Drain, 0);
    if (close_at_ == turn_) consumer_->put_control(CommandKind::Close, dice_.below(5000));
    pass_time();
    if (dice_.chance(10)) sim_->set_descriptors_left(static_cast<int32_t>(dice_.below(20)));
    if (dice_.chance(40)) sim_->set_descriptors_left(INT32_MAX);
  }

  void pass_time() {
    sim_->advance(dice_.below(pace_));
    if (dice_.chance(jumps_)) {
      const Milliseconds spans[] = {100, 600, 3000, 20'000, 100'000, 80'000'000};
      sim_->advance(dice_.one_of(spans));
    }
    if (dice_.chance(5)) sim_->shift_wall_clock(UnixSeconds{dice_.below(2'000'000)} - 1'000'000);
    if (dice_.chance(1)) sim_->shift_wall_clock(-2'000'000'000);
  }

  // Called by sim when the loop sleeps.
  void slept(Milliseconds at_most) {
    if (resting_) {
      consumer_->step_promptly();
    } else {
      live();
      if (at_most != kNever && dice_.chance(300)) sim_->advance(at_most);
    }
    verdict_.expect(lane().commands.is_empty() || sim_->is_woken(), "asleep over commands", turn_);
    bool wants_room = lane().loop_waits_for_room.load(std::memory_order_relaxed);
    verdict_.expect(!wants_room || !lane().events.is_empty() || in_flight() > 0 || sim_->is_woken(),
                    "asleep over room", turn_);
  }

  // --- the turn ---

  void turn() {
    turn_++;
    Milliseconds sleep = loop_->work();
    check_after_work(sleep);
    if (!resting_ && dice_.chance(200)) consumer_->step();
    // An inline host never sleeps in poll().
    loop_->poll(dice_.chance(200) && !resting_ ? 0 : sleep);
    peers_->observe(turn_, consumer_->is_draining());
    check_after_poll();
    trace_.add(static_cast<uint64_t>(sleep));
    trace_.add(sim_->totals().bytes_received);
    trace_.add(sim_->totals().bytes_sent);
    trace_.add(static_cast<uint64_t>(sim_->now()));
  }

  void check_after_work(Milliseconds sleep) {
    verdict_.expect(lane().commands.is_empty(), "commands left behind", turn_);
    verdict_.expect(!consumer_->sleeps_over_events(), "events without a ring", turn_);
    uint64_t pending = sim_->pending_sends();
    uint64_t per_connection =
        static_cast<uint64_t>(limits_.buffered_bytes_max / 2048 + limits_.pipeline_max * 6 + 8);
    auto blocks = static_cast<uint64_t>(stats().blocks.get());
    verdict_.expect(blocks <= pending * per_connection, "blocks without a send", blocks);
    check_peer_counts();
    verdict_.expect(sleep != kNever || loop_->timers().armed() == 0, "asleep over deadlines",
                    turn_);
    // A loop that will not sleep has something to do.
    uint64_t activity = sim_->totals().completions + sim_->totals().bytes_sent +
                        static_cast<uint64_t>(stats().events.get() + stats().late_commands.get());
    idle_turns_ = sleep == 0 && activity == activity_ ? idle_turns_ + 1 : 0;
    activity_ = activity;
    verdict_.expect(idle_turns_ < 8, "spins", turn_);
    bool waits = lane().loop_waits_for_room.load(std::memory_order_relaxed);
    starved_turns_ += waits ? 1 : 0;
    full_turns_ += lane().events.has_room(2 * kInlineBodyMax) ? 0 : 1;
  }

  // Each open connection is counted once, by its address.
  void check_peer_counts() {
    if (peer_counts_ == nullptr) return;
    uint64_t counted = peer_counts_->connections();
    verdict_.expect(counted == sim_->open_connections(), "connections of addresses are miscounted",
                    counted);
    verdict_.expect(peer_counts_->addresses() <= std::min<uint64_t>(counted, 3),
                    "addresses without a connection", counted);
    for (const PeerKey& key : {PeerKey{0xc0000201, false}, PeerKey{0xc0000202, false},
                               PeerKey{0x20010db800000000, true}}) {
      uint64_t admitted = peer_counts_->count(key, PeerStanding::Admitted);
      verdict_.expect(admitted <= static_cast<uint64_t>(limits_.connections_per_address_max),
                      "more connections of an address than the limit", admitted);
    }
  }

  void check_after_poll() {
    since_last_turn_ = loop_->now() - last_now_;
    last_now_ = loop_->now();
    check_connections();
    check_bytes();
    check_deadlines();
    if (lane().events.is_empty()) check_exchanges();
    uint64_t kept_max = static_cast<uint64_t>(limits_.header_bytes_max) + received_max_ * 2;
    // Whoever was refused may send on for a while: it is dropped.
    bool closes = limits_.requests_per_connection_max != 0 || limits_.handler_timeout != 0 ||
                  stats().refusals[static_cast<size_t>(ErrorCode::HeadersTimeout)].get() > 0 ||
                  limits_.connections_per_address_max != 0;
    bool all_seen = lane().events.is_empty();
    if (all_seen && !closes && !consumer_->is_draining()) peers_->expect_bounded(kept_max);
  }

  void check_connections() {
    uint32_t known = sim_->open_connections() + sim_->closing_connections();
    auto open = static_cast<uint64_t>(stats().connections.get());
    verdict_.expect(open == known, "connections are miscounted", open);
    verdict_.expect(open <= static_cast<uint64_t>(limits_.connections_max),
                    "more connections than the limit", open);
    verdict_.expect(static_cast<uint64_t>(stats().accepted.get()) == sim_->totals().accepted,
                    "accepted is miscounted", open);
  }

  void check_bytes() {
    const SimTotals& totals = sim_->totals();
    auto in = static_cast<uint64_t>(stats().bytes_in.get());
    bool in_fits =
        in <= totals.bytes_received && in + totals.bytes_doubtful >= totals.bytes_received;
    verdict_.expect(in_fits, "bytesIn is off", in);
    auto out = static_cast<uint64_t>(stats().bytes_out.get());
    verdict_.expect(out + totals.bytes_unfinished == totals.bytes_sent, "bytesOut is off", out);
  }

  void check_deadlines() {
    const Timers& timers = loop_->timers();
    size_t armed = 0;
    places_.resize(sim_->places());
    for (uint32_t index = 0; index < sim_->places(); index++) {
      Milliseconds at = timers.at(index);
      bool is_open = sim_->peer_at(index) != UINT32_MAX;
      if (at == kNever) {
        if (is_open && !owes_nothing(index)) verdict_.fail("waits without a deadline");
        continue;
      }
      armed++;
      verdict_.expect(is_open, "a deadline of a closed connection", index);
      check_judged(index, at);
    }
    verdict_.expect(timers.armed() == armed, "armed deadlines are miscounted", armed);
    verdict_.expect(static_cast<uint64_t>(stats().deadlines.get()) == armed,
                    "the gauge of deadlines is off", armed);
  }

  // A passed deadline waits for what a stall has kept unread, half a second and a stall at most.
  void check_judged(uint32_t index, Milliseconds at) {
    Place& place = places_[index];
    if (at > loop_->now() - Timers::kTick) return;
    if (place.late_at != at) {
      place.late_at = at;
      place.late_stalls = 0;
      place.late_for = 0;
    }
    bool stalled = since_last_turn_ > 500;
    place.late_stalls += stalled ? 1 : 0;
    place.late_for += stalled ? 0 : since_last_turn_;
    verdict_.expect(place.late_stalls <= 2 && place.late_for < 1100, "a deadline is not judged",
                    index);
  }

  // Without a deadline may be: who waits for the consumer or for room, and everybody where timeouts
  // are switched off.
  bool owes_nothing(uint32_t index) {
    bool is_off = limits_.headers_timeout == 0 || limits_.keep_alive_timeout == 0;
    bool waits = lane().loop_waits_for_room.load(std::memory_order_relaxed);
    if (is_off || waits || !lane().events.is_empty()) return true;
    for (const auto& [slot, number] : consumer_->live()) {
      const StormRecord& record = ledger_.records[number];
      if (record.connection == index && is_open(record)) return true;
    }
    // Written and not flushed, or held back until a moment ago: the next work() goes on with it.
    Place& place = places_[index];
    bool goes_on = place.unarmed_turn == turn_ - 1 && place.unarmed_peer == sim_->peer_at(index);
    place.unarmed_turns = goes_on ? place.unarmed_turns + 1 : 1;
    place.unarmed_turn = turn_;
    place.unarmed_peer = sim_->peer_at(index);
    // A burst takes a turn for every pipeline_max of its requests when their lines have to leave.
    return place.unarmed_turns < (observation_.access ? 64 : 4);
  }

  [[nodiscard]] bool is_open(const StormRecord& record) const {
    return loop_->exchanges().connection_of(record.exchange) != UINT32_MAX;
  }

  // Only when the consumer has seen every event.
  void check_exchanges() {
    uint64_t open = 0;
    std::vector<uint32_t> per_connection(sim_->places(), 0);
    for (const auto& [slot, number] : consumer_->live()) {
      const StormRecord& record = ledger_.records[number];
      if (!is_open(record)) continue;
      open++;
      uint32_t index = loop_->exchanges().connection_of(record.exchange);
      verdict_.expect(index == record.connection && index < per_connection.size(),
                      "an exchange of another connection", number);
      if (index < per_connection.size()) per_connection[index]++;
    }
    verdict_.expect(open == in_flight(), "inFlight is off", open);
    verdict_.expect(open == loop_->exchanges().open_count(), "exchanges are miscounted", open);
    verdict_.expect(open <= static_cast<uint64_t>(limits_.in_flight_max), "too many in flight",
                    open);
    uint64_t busy = 0;
    for (uint32_t count : per_connection) {
      busy += count > 0 ? 1 : 0;
      verdict_.expect(count <= static_cast<uint64_t>(limits_.pipeline_max), "too many pipelined",
                      count);
    }
    verdict_.expect(static_cast<uint64_t>(stats().idle.get()) + busy ==
                        static_cast<uint64_t>(stats().connections.get()),
                    "idle is off", busy);
    verdict_.expect(static_cast<uint64_t>(stats().events.get()) == consumer_->taken(),
                    "events are miscounted", consumer_->taken());
  }

  // --- rest and end ---

  // The consumer answers all, nobody else acts, no time passes: the loop must come to rest, and
  // then nobody waits who need not.
  void rest() {
    resting_ = true;
    sim_->set_faults({.seed = dice_.below(UINT16_MAX)});
    peers_->open_windows();
    uint32_t quiet = 0;
    for (uint32_t i = 0; i < 20'000 && quiet < 3 && verdict_.is_fine(); i++) {
      consumer_->step_promptly();
      turn();
      bool is_busy = sim_->has_news() || consumer_->has_pending() || !lane().events.is_empty() ||
                     !lane().commands.is_empty() || sim_->allowed_sleep() == 0;
      quiet = is_busy ? 0 : quiet + 1;
    }
    resting_ = false;
    verdict_.expect(quiet == 3, "does not come to rest", turn_);
    verdict_.expect(in_flight() == 0, "in flight at rest", in_flight());
    peers_->expect_answered();
    faults_.seed = dice_.below(UINT16_MAX);
    sim_->set_faults(faults_);
  }

  void end() {
    uint32_t kind = dice_.below(8);
    if (kind == 7) {
      consumer_->expect_drained();
      loop_->cut();
    } else {
      bool prompt = dice_.chance(500);
      if (!consumer_->is_closing()) {
        consumer_->put_control(CommandKind::Close, dice_.one_of<uint32_t>({0, 50, 5000}));
      }
      for (uint32_t i = 0; i < 2000 && verdict_.is_fine() && !consumer_->saw_drained(); i++) {
        sim_->advance(10 + dice_.below(100));
        peers_->act(10);
        prompt || i > 500 ? consumer_->step_promptly() : consumer_->step();
        turn();
      }
      verdict_.expect(consumer_->saw_drained(), "Close never ends", turn_);
    }
    resting_ = true;
    for (int i = 0; i < 4; i++) {
      consumer_->step_promptly();
      turn();
      sim_->advance(100'000'000);  // so that the timers look at every slot once
    }
    if (verdict_.is_fine()) check_end();
  }

  void check_end() {
    const std::pair<const char*, int64_t> zeros[] = {
        {"connections at the end", stats().connections.get()},
        {"idle at the end", stats().idle.get()},
        {"inFlight at the end", stats().in_flight.get()},
        {"blocks at the end", stats().blocks.get()},
        {"files at the end", stats().files.get()},
        {"deadlines at the end", stats().deadlines.get()},
        {"listeners at the end", stats().listeners.get()},
        {"open connections at the end", sim_->open_connections()},
        {"exchanges at the end", loop_->exchanges().open_count()},
        {"events at the end", lane().events.is_empty() ? 0 : 1},
        {"peers at the end", peers_->connected()},
        {"the sleep of an ended loop", loop_->work() - kNever},
        {"Drained is missing", consumer_->saw_drained() ? 0 : 1},
        {"connections without an end", static_cast<int64_t>(consumer_->told())},
        {"asked about and never told", static_cast<int64_t>(consumer_->asked())},
        {"addresses at the end",
         peer_counts_ == nullptr ? 0 : static_cast<int64_t>(peer_counts_->addresses())},
    };
    for (const auto& [what, value] : zeros) {
      verdict_.expect(value == 0, what, static_cast<uint64_t>(value));
    }
    uint64_t late_least = consumer_->stale();
    uint64_t late_most = late_least;
    for (const StormRecord& record : ledger_.records) {
      uint32_t number = record.request.number;
      if (!record.handed) continue;
      verdict_.expect(record.aborted || record.responds > 0, "neither answered nor aborted",
                      number);
      verdict_.expect(!record.refused, "handed over and refused", number);
      verdict_.expect(record.aborted || (!record.timed_out && !record.cut), "lost, not aborted",
                      number);
      uint32_t late = record.aborted ? record.responds : record.responds - 1;
      late_least += late;
      uint32_t others = record.informs + (record.cut ? 1 : 0) + (record.asked ? 1 : 0);
      late_most += late + (record.aborted ? others : 0);
    }
    auto late = static_cast<uint64_t>(stats().late_commands.get());
    verdict_.expect(late >= late_least && late <= late_most, "lateCommands is off", late);
    verdict_.expect(static_cast<uint64_t>(stats().aborted.get()) == consumer_->aborts(),
                    "aborted is off", consumer_->aborts());
    peers_->expect_settled();
    check_told();
  }

  void check_told() {
    auto accepted = static_cast<uint64_t>(stats().accepted.get());
    verdict_.expect(consumer_->ends() == (observation_.connections ? accepted : 0),
                    "ends of connections", consumer_->ends());
    if (!observation_.access) return;
    auto dropped = static_cast<uint64_t>(stats().access_dropped.get());
    auto finals = static_cast<uint64_t>(stats().responses_2xx.get() + stats().responses_3xx.get() +
                                        stats().responses_4xx.get() + stats().responses_5xx.get());
    // Besides those that were answered, some never were.
    verdict_.expect(consumer_->answered_lines() <= finals, "lines without an answer", finals);
    verdict_.expect(consumer_->answered_lines() + consumer_->other_lines() + dropped >= finals,
                    "answers without a line", finals);
  }

  [[nodiscard]] Lane& lane() { return loop_->lane(); }
  [[nodiscard]] const Stats& stats() const { return loop_->stats_view(); }
  [[nodiscard]] uint64_t in_flight() const {
    return static_cast<uint64_t>(stats().in_flight.get());
  }

  Dice dice_;
  const StormSize size_;
  Limits limits_;
  SimFaults faults_;
  PeerHabits habits_;
  Observation observation_;
  size_t received_max_ = 64 * 1024;
  uint32_t jumps_ = 0;
  uint32_t pace_ = 1;
  uint64_t drain_at_ = UINT64_MAX;
  uint64_t close_at_ = UINT64_MAX;
  Router router_;
  Verdict verdict_;
  TraceHash trace_;
  StormLedger ledger_;
  Disk disk_;
  std::unique_ptr<PeerCounts> peer_counts_;  // null: they are not counted
  std::unique_ptr<Loop> loop_;
  Sim* sim_ = nullptr;
  std::unique_ptr<StormPeers> peers_;
  std::unique_ptr<StormConsumer> consumer_;
  uint64_t turn_ = 0;
  uint64_t activity_ = 0;
  uint32_t idle_turns_ = 0;
  uint64_t starved_turns_ = 0;
  uint64_t full_turns_ = 0;
  std::vector<Place> places_;
  Milliseconds last_now_ = 0;
  Milliseconds since_last_turn_ = 0;
  bool resting_ = false;
};

}  // namespace millrace::test
