// Loop: one poller, its memory, the connections it accepted, and the lane to JavaScript. The only
// meeting place of poll, proto, route and lane. Never assumes a thread: whoever hosts it holds the
// loop_thread role. Owned by: loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/base/slab.h"
#include "core/base/threads.h"
#include "core/disk/disk.h"
#include "core/lane/group.h"
#include "core/lane/hub.h"
#include "core/lane/lane.h"
#include "core/lane/mailbox.h"
#include "core/lane/peer_counts.h"
#include "core/loop/connection.h"
#include "core/loop/exchanges.h"
#include "core/loop/group_placement.h"
#include "core/loop/queue_age.h"
#include "core/loop/timers.h"
#include "core/loop/topics.h"
#include "core/model/limits.h"
#include "core/model/metrics_source.h"
#include "core/model/refusal.h"
#include "core/model/stats.h"
#include "core/poll/poller.h"
#include "core/proto/http1/encoder.h"
#include "core/proto/protocols.h"
#include "core/proto/ws/deflate.h"
#include "core/route/router.h"

namespace millrace {

class Loop final {
 public:
  // `limits`, `router` (and what follows it by Reroute) and `disk` outlive the loop; `disk` has
  // stopped when it ends. `share` is how many loops the server's totals are divided among.
  Loop(std::unique_ptr<Poller> poller, const Limits& limits, const Router& router, Disk& disk,
       uint32_t share);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // `protocol` is a name of protocols.h. Before the first turn, or on the loop's thread.
  [[nodiscard]] Status listen(ListenerId id, Fd socket, ProtocolMaker protocol,
                              ProxyMode proxy = ProxyMode::Off);

  // What Upgrade and Connect commands refer to by number, and where Publish commands go. Before the
  // first turn; both live as long as the loop.
  void set_sockets(std::span<const SocketSettings> settings, Bytes topic_space) {
    socket_settings_ = settings;
    topic_space_ = topic_space;
  }

  // Shares what is accepted with the others of the group, which outlives it. Before the first turn.
  void join(Group& group, uint32_t number);

  // Those of the server, where connections are counted by address; they outlive the loop. Before
  // the first turn.
  void set_peer_counts(PeerCounts& counts) { peer_counts_ = &counts; }

  // They live as long as the loop. Before the first turn.
  void set_refusals(std::span<const Refusal> refusals) { refusals_ = refusals; }

  // Before the first turn.
  void set_observation(const Observation& observation) { observation_ = observation; }

  // What Metrics routes are answered with; outlives the loop. Before the first turn.
  void set_metrics_source(const MetricsSource& source) { metrics_source_ = &source; }

  // One turn is work() then poll(work's answer). work() takes commands, offers held-back bytes,
  // writes, and rings; it returns how long poll() may sleep. An inline host calls poll(0) when the
  // descriptor is readable.
  [[nodiscard]] Milliseconds work();
  void poll(Milliseconds at_most);
  // Closes listeners and connections on the spot, for a host that will not run another turn.
  void cut();

  [[nodiscard]] Lane& lane() { return lane_; }
  [[nodiscard]] const Stats& stats_view() const { return stats_; }
  [[nodiscard]] Poller& poller() { return *poller_; }
  [[nodiscard]] Mailbox& mailbox() { return mailbox_; }
  // Connections that wait for room, and places of those that did; for tests.
  [[nodiscard]] size_t waiting_for_exchanges() const { return starved_.size(); }

  // --- for its connections ---
  [[nodiscard]] Stats& stats() { return stats_; }
  [[nodiscard]] Exchanges& exchanges() { return exchanges_; }
  [[nodiscard]] Timers& timers() { return timers_; }
  [[nodiscard]] const Limits& limits() const { return limits_; }
  [[nodiscard]] const Router& router() const { return *router_; }
  [[nodiscard]] Milliseconds now() const { return now_; }
  [[nodiscard]] bool draining() const { return draining_; }
  // It closes, and waits no longer for requests on idle connections.
  [[nodiscard]] bool ends_idle() const { return closing_ && idle_deadline_ == kNever; }
  [[nodiscard]] std::span<const Refusal> refusals() const { return refusals_; }
  [[nodiscard]] PeerCounts* peer_counts() const { return peer_counts_; }
  [[nodiscard]] const Observation& observation() const { return observation_; }
  [[nodiscard]] HeaderField* field_scratch() { return fields_.data(); }
  [[nodiscard]] Bytes date_line() { return date_.at(wall_clock_); }
  [[nodiscard]] bool can_open_exchange();
  [[nodiscard]] Event* begin_event(size_t size);
  void end_event(Event* event);
  void notify(const Notice& notice, Bytes fields = {});
  [[nodiscard]] bool can_emit();
  // The same, without waiting for it.
  [[nodiscard]] bool can_log() { return notices_.empty() && lane_.has_room(head_room_); }
  [[nodiscard]] bool is_overloaded() { return queue_age_.is_over(lane_.events, now_); }
  [[nodiscard]] Blob metrics_text() const;
  [[nodiscard]] const SocketSettings& socket_settings(uint32_t number) const;
  [[nodiscard]] ws::DeflatePool& deflate_pool() { return deflate_pool_; }
  [[nodiscard]] uint32_t random() { return random_.next(); }
  void end_socket(ExchangeId id);
  void count_completed() { completed_after_close_ += closing_ ? 1 : 0; }
  void count_forced(uint32_t exchanges) { forced_after_close_ += exchanges; }
  void count_response(uint16_t status);
  [[nodiscard]] uint64_t new_ticket(uint32_t index);
  [[nodiscard]] std::unique_ptr<FileWriter> open_writer(Fd file, uint64_t ticket, bool digest);
  void submit(std::unique_ptr<DiskWork> work) { disk_.submit(std::move(work), inbox_); }
  [[nodiscard]] UnixSeconds wall_clock() const { return wall_clock_; }
  [[nodiscard]] int64_t wall_clock_ms();
  [[nodiscard]] char* take_block();
  void give_back_block(char* block);
  void add_dirty(uint32_t index) { dirty_.push_back(index); }
  void add_unfinished(uint32_t index) { unfinished_.push_back(index); }
  void add_offer(uint32_t index) { offers_.push_back(index); }
  void add_starved(uint32_t index);
  void add_muted(uint32_t index);

 private:
  void handle(const Completion& completion);
  void accepted(const Completion& completion);
  void closed(ConnectionId id);
  void accept_failed(int error);
  void gate_accepting();
  void take_commands();
  void take_disk_work();
  void take_mail();
  void take_handed();
  void adopt_handed();
  void take(const Command& command);
  void take_of_socket(const Command& command, uint32_t index);
  void watch(ExchangeId connection);
  void disconnect(const Command& command);
  void cut(const Command& command, uint32_t index);
  [[nodiscard]] Connection* find_named(ExchangeId connection);
  void publish(const Command& command);
  void deliver(Bytes key, SharedMessage& message, uint16_t flags, ExchangeId except);
  void dial(const Command& command);
  void begin_dial(ConnectionId id, const Command& command, const DialTarget& target);
  [[nodiscard]] Bytes topic_key(Bytes topic);
  void offer_starved();
  void offer_muted();
  void offer_all();
  void flush_all();
  void deliver_notices();
  void write_notice(const Notice& notice, Bytes fields);
  void expire();
  void begin_close(Milliseconds force_after, Milliseconds idle_for, bool takes_backlog);
  void leave_group(bool takes_backlog);
  void end_idle();
  void check_closed();
  [[nodiscard]] bool waits_in_vain();
  void warn(uint16_t status);
  [[nodiscard]] Connection* find(ConnectionId id);
  [[nodiscard]] Milliseconds sleep_time();
  [[nodiscard]] uint32_t accepts_left() const;
  void read_clock();
  [[nodiscard]] bool catches_up(bool nothing_left);

  Observation observation_;
  Disk& disk_;
  DiskInbox inbox_;
  std::vector<std::unique_ptr<DiskWork>> disk_work_;
  uint32_t last_ticket_ = 0;
  std::optional<GroupPlacement> group_;
  std::vector<Handed> handed_;
  Mailbox mailbox_;
  std::vector<Post> posts_;
  size_t next_post_ = 0;  // the first of posts_ that was not delivered yet
  int64_t mail_dropped_ = 0;
  Topics topics_;
  std::string topic_key_;
  std::vector<ExchangeId> addressees_;
  std::span<const SocketSettings> socket_settings_;
  Bytes topic_space_;
  std::span<const Refusal> refusals_;
  PeerCounts* peer_counts_ = nullptr;
  ws::DeflatePool deflate_pool_;
  Random random_;
  std::unique_ptr<Poller> poller_;
  const Limits& limits_;
  const Router* router_;
  const uint32_t connections_max_;
  const size_t head_room_;  // bytes that one event may need in the ring
  Slab slab_;
  Lane lane_;
  QueueAge queue_age_;  // of the lane's events
  const MetricsSource* metrics_source_ = nullptr;
  Stats stats_;
  Exchanges exchanges_;
  Milliseconds now_;
  UnixSeconds wall_clock_;
  int64_t wall_clock_ms_ = 0;  // 0: nobody has asked in this turn
  Milliseconds polled_at_;
  Timers timers_;
  http1::DateLine date_;
  std::vector<std::unique_ptr<Connection>> connections_;  // by the poller's index
  std::vector<ProtocolMaker> protocols_;                  // by listener
  std::vector<ProxyMode> proxies_;                        // by listener
  std::vector<HeaderField> fields_;
  std::vector<uint32_t> dirty_;
  std::vector<uint32_t> unfinished_;  // dirty in the next turn
  std::vector<uint32_t> offers_;
  // Wait for room in the lane and for an exchange, each index once: who waits no longer stays in
  // the list until its turn comes.
  std::vector<uint32_t> starved_;
  std::vector<bool> is_in_starved_;  // by index
  std::vector<uint32_t> muted_;      // wait for room in the lane only; likewise
  std::vector<bool> is_in_muted_;    // by index
  std::vector<uint32_t> expired_;
  std::vector<uint32_t> scratch_;
  std::vector<Notice> notices_;  // events that wait for room in the lane
  bool flooded_ = false;         // too many of them: nobody is accepted before they have gone
  uint32_t open_connections_ = 0;
  bool clock_is_fresh_ = false;
  Milliseconds catch_up_until_ = kNever;
  bool events_written_ = false;
  bool accept_paused_ = false;
  bool draining_ = false;
  bool closing_ = false;
  bool drained_sent_ = false;
  Milliseconds accept_retry_ = kNever;
  Milliseconds close_deadline_ = kNever;
  Milliseconds idle_deadline_ = kNever;  // until then idle connections may bring one more request
  bool takes_last_ = false;              // what came from the backlogs is told by the next poll()
  Milliseconds warned_at_ = kNever;
  uint32_t completed_after_close_ = 0;
  uint32_t forced_after_close_ = 0;
};

}  // namespace millrace
