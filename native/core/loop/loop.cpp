#include "core/loop/loop.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "core/model/proxy_body.h"

namespace millrace {
namespace {

constexpr Milliseconds kAcceptRetry = 100;
constexpr Milliseconds kStall = 500;
constexpr Milliseconds kLastWait = 1000;  // for the request of who stood in a backlog
constexpr Milliseconds kWarnEvery = 10'000;
constexpr size_t kNoticesMax = 1024;  // that wait for room before nobody is accepted any more

// Fixed part, spans, the longest head with its separators, the peer's address, an inline body.
size_t event_bytes_max(const Limits& limits) {
  auto head = static_cast<size_t>(limits.header_bytes_max + limits.trailer_bytes_max);
  size_t request = kRouteParamsMax * sizeof(ParamSpan) + head + sizeof(Address) + kInlineBodyMax;
  size_t connection =
      kProxyBodyFixed + 3 * sizeof(Address) + static_cast<size_t>(limits.proxy_bytes_max);
  return sizeof(Event) + std::max(request, connection) + 64;
}

uint32_t divided(int64_t total, uint32_t share) {
  return static_cast<uint32_t>(std::max<int64_t>((total + share - 1) / share, 1));
}

}  // namespace

Loop::Loop(std::unique_ptr<Poller> poller, const Limits& limits, const Router& router, Disk& disk,
           uint32_t share)
    : disk_(disk),
      poller_(std::move(poller)),
      limits_(limits),
      router_(&router),
      connections_max_(divided(limits.connections_max, share)),
      head_room_(event_bytes_max(limits)),
      queue_age_(limits.queue_delay_max),
      exchanges_(divided(limits.in_flight_max, share)),
      now_(poller_->now()),
      wall_clock_(poller_->wall_clock()),
      polled_at_(now_),
      timers_(now_),
      fields_(static_cast<size_t>(limits.header_count_max)) {
  inbox_.set_wake([](void* who) { static_cast<Poller*>(who)->wake(); }, poller_.get());
  mailbox_.set_wake([](void* who) { static_cast<Poller*>(who)->wake(); }, poller_.get());
  lane_.loop_bell.set_wake([](void* who) { static_cast<Poller*>(who)->wake(); }, poller_.get());
}

Loop::~Loop() {
  mailbox_.close();
  Hub::of_process().forget(mailbox_);
  for (auto& connection : connections_) {
    if (connection != nullptr && !connection->is_closed())
      connection->abort(CloseCause::CloseCalled);
  }
}

void Loop::join(Group& group, uint32_t number) {
  group.join(
      number, connections_max_, [](void* who) { static_cast<Poller*>(who)->wake(); },
      poller_.get());
  group_.emplace(group, number);
  poller_->set_placement(*group_);
}

Status Loop::listen(ListenerId id, Fd socket, ProtocolMaker protocol, ProxyMode proxy) {
  if (protocols_.size() <= id) protocols_.resize(id + 1);
  proxies_.resize(protocols_.size());
  protocols_[id] = protocol;
  proxies_[id] = proxy;
  Status status = poller_->listen(id, std::move(socket));
  if (status.is_ok()) stats_.listeners.increment();
  return status;
}

// --- the turn ---

Milliseconds Loop::work() {
  loop_thread.assert_here();
  // An inline host calls from JavaScript too, which may have taken its time since the last poll().
  if (!clock_is_fresh_) read_clock();
  clock_is_fresh_ = false;
  take_commands();
  take_handed();
  take_mail();
  take_disk_work();
  deliver_notices();
  offer_muted();
  offer_starved();
  offer_all();
  flush_all();
  check_closed();
  if (starved_.empty() && muted_.empty() && notices_.empty())
    lane_.loop_waits_for_room.store(false, std::memory_order_relaxed);
  if (events_written_) {
    events_written_ = false;
    queue_age_.written(lane_.events, now_);
    lane_.js_bell.ring();
  }
  return sleep_time();
}

void Loop::poll(Milliseconds at_most) {
  loop_thread.assert_here();
  if (at_most != 0) {
    lane_.loop_bell.fall_asleep();
    // The second look after the flag is set: a record or room that came before it rang no bell.
    if (!lane_.commands.is_empty() || waits_in_vain()) at_most = 0;
  }
  if (!accept_paused_) poller_->limit_accepts(accepts_left());
  std::span<const Completion> completions = poller_->wait(at_most);
  lane_.loop_bell.stay_awake();
  read_clock();
  clock_is_fresh_ = true;
  stats_.turns.increment();
  for (const Completion& completion : completions) handle(completion);
  takes_last_ = false;
  if (!catches_up(completions.empty())) expire();
  stats_.deadlines.add(static_cast<int64_t>(timers_.armed()) - stats_.deadlines.get());
}

// After a stall (an inline host whose JS thread was busy) what peers sent in time may still be in
// the kernel: no deadline is judged before it was read, for a moment at most.
bool Loop::catches_up(bool nothing_left) {
  bool stalled = now_ - polled_at_ > kStall;
  // Stall upon stall does not put it off for ever.
  if (stalled && catch_up_until_ == kNever) catch_up_until_ = now_ + kStall;
  polled_at_ = now_;
  if (nothing_left || now_ >= catch_up_until_) catch_up_until_ = kNever;
  return catch_up_until_ != kNever;
}

void Loop::cut() {
  loop_thread.assert_here();
  begin_close(0, 0, false);
  for (auto& connection : connections_) {
    if (connection != nullptr) connection->force();
  }
  poll(0);  // the poller's last word about each
  mailbox_.close();
  Hub::of_process().forget(mailbox_);
}

void Loop::read_clock() {
  now_ = poller_->now();
  wall_clock_ = poller_->wall_clock();
  wall_clock_ms_ = 0;
}

// Who wants it pays for it; the same all through a turn.
int64_t Loop::wall_clock_ms() {
  if (wall_clock_ms_ == 0) wall_clock_ms_ = poller_->wall_clock_ms();
  return wall_clock_ms_;
}

Milliseconds Loop::sleep_time() {
  if (!dirty_.empty() || !unfinished_.empty() || !offers_.empty() || waits_in_vain()) return 0;
  if (!posts_.empty() || takes_last_) return 0;
  Milliseconds at_most = timers_.until_next(now_);
  for (Milliseconds at : {accept_retry_, close_deadline_, idle_deadline_}) {
    if (at == kNever) continue;
    Milliseconds left = std::max<Milliseconds>(at - now_, 0);
    if (at_most == kNever || left < at_most) at_most = left;
  }
  return at_most;
}

bool Loop::waits_in_vain() {
  if (!notices_.empty()) return lane_.events.has_room(sizeof(Event));
  bool waits = !muted_.empty() || (!starved_.empty() && exchanges_.has_room());
  return waits && lane_.has_room(head_room_);
}

void Loop::handle(const Completion& completion) {
  switch (completion.kind) {
    case CompletionKind::Woken: return;
    case CompletionKind::Accepted: return accepted(completion);
    case CompletionKind::AcceptFailed: return accept_failed(completion.error);
    case CompletionKind::Closed: return closed(completion.id);
    default: break;
  }
  Connection* connection = find(completion.id);
  if (connection == nullptr || connection->is_closed()) return;
  switch (completion.kind) {
    case CompletionKind::Connected: return connection->on_connected();
    case CompletionKind::Received: return connection->on_received(completion.bytes);
    case CompletionKind::PeerClosed: return connection->on_peer_closed();
    case CompletionKind::Sent: return connection->on_sent();
    case CompletionKind::Progressed: return connection->on_progress();
    case CompletionKind::Failed: return connection->on_broken(completion.error);
    default: return;
  }
}

Connection* Loop::find(ConnectionId id) {
  if (id.index >= connections_.size()) return nullptr;
  Connection* connection = connections_[id.index].get();
  return connection != nullptr && connection->id() == id ? connection : nullptr;
}

// --- connections ---

void Loop::accepted(const Completion& completion) {
  uint32_t index = completion.id.index;
  if (connections_.size() <= index) connections_.resize(index + 1);
  MR_CHECK(connections_[index] == nullptr);
  connections_[index] = std::make_unique<Connection>(
      *this, completion.id, completion.listener, *completion.peer, proxies_[completion.listener]);
  open_connections_++;
  stats_.connections.increment();
  stats_.idle.increment();
  stats_.accepted.increment();
  connections_[index]->start(protocols_[completion.listener]());
  if (closing_ && idle_deadline_ == kNever) idle_deadline_ = now_ + kLastWait;
  gate_accepting();
}

void Loop::closed(ConnectionId id) {
  MR_CHECK(find(id) != nullptr);
  connections_[id.index]->on_over();
  connections_[id.index] = nullptr;
  open_connections_--;
  if (group_) group_->closed();
  stats_.connections.decrement();
  stats_.idle.decrement();
  if (accept_paused_) gate_accepting();
}

void Loop::accept_failed(int error) {
  accept_paused_ = true;  // the poller has paused by itself
  stats_.accept_pauses.increment();
  accept_retry_ = now_ + kAcceptRetry;
  if (group_) group_->set_taking(false);
  warn(static_cast<uint16_t>(error));
}

// Accepting pauses without a spin: the listeners leave the poller, and come back when a connection
// closes or, for descriptors that others may free, after a while.
void Loop::gate_accepting() {
  if (closing_) return;
  if (notices_.size() > kNoticesMax) flooded_ = true;
  if (notices_.empty()) flooded_ = false;
  bool full = open_connections_ >= connections_max_;
  bool scarce = limits_.reserve_fds >= 0 && poller_->descriptors_left() <= limits_.reserve_fds;
  bool must_pause = full || scarce || flooded_;
  if (must_pause && !accept_paused_) {
    accept_paused_ = true;
    stats_.accept_pauses.increment();
    poller_->pause_accepting();
    if (group_) group_->set_taking(false);
    if (scarce) warn(EMFILE);
  } else if (!must_pause && accept_paused_) {
    accept_paused_ = false;
    accept_retry_ = kNever;
    if (group_) group_->set_taking(true);
    poller_->resume_accepting();
  }
  if (accept_paused_ && !full && !flooded_) accept_retry_ = now_ + kAcceptRetry;
}

// What others have accepted for this loop is new to it.
void Loop::take_handed() {
  if (!group_ || !group_->has_any()) return;
  group_->take(handed_);
  adopt_handed();
}

void Loop::adopt_handed() {
  for (Handed& handed : handed_) {
    Status adopted = poller_->adopt(handed.listener, std::move(handed.socket), handed.peer);
    if (adopted.is_ok()) continue;
    group_->closed();
    warn(static_cast<uint16_t>(adopted.error()));
  }
  handed_.clear();
}

// How many the poller may accept before gate_accepting() judges again.
uint32_t Loop::accepts_left() const {
  uint32_t left = connections_max_ - std::min(open_connections_, connections_max_);
  int32_t descriptors = poller_->descriptors_left();
  if (limits_.reserve_fds >= 0 && descriptors != INT32_MAX) {
    int64_t spare = std::max<int64_t>(descriptors - limits_.reserve_fds, 0);
    left = static_cast<uint32_t>(std::min<int64_t>(left, spare));
  }
  return std::max(left, 1u);  // none at all would leave a ready listener to spin on
}

void Loop::warn(uint16_t status) {
  if (warned_at_ != kNever && now_ - warned_at_ < kWarnEvery) return;
  warned_at_ = now_;
  notify({{}, EventKind::Problem, status});
}

void Loop::expire() {
  expired_.clear();
  timers_.expire(now_, expired_);
  for (uint32_t index : expired_) {
    if (connections_[index] != nullptr) connections_[index]->on_deadline();
  }
  if (accept_retry_ != kNever && accept_retry_ <= now_) {
    accept_retry_ = kNever;
    gate_accepting();
  }
  if (idle_deadline_ != kNever && idle_deadline_ <= now_) end_idle();
  if (close_deadline_ != kNever && close_deadline_ <= now_) {
    close_deadline_ = kNever;
    for (auto& connection : connections_) {
      if (connection != nullptr) connection->force();
    }
  }
}

// --- commands ---

void Loop::take_commands() {
  while (char* record = lane_.commands.front()) {
    const auto* command = reinterpret_cast<const Command*>(record);
    take(*command);
    lane_.commands.pop(command->size);
  }
}

void Loop::take(const Command& command) {
  switch (static_cast<CommandKind>(command.kind)) {
    case CommandKind::Drain:
    case CommandKind::Close:
      draining_ = true;
      stats_.draining.add(1 - stats_.draining.get());
      if (static_cast<CommandKind>(command.kind) == CommandKind::Close)
        return begin_close(command.amount, static_cast<uint32_t>(command.blob), true);
      for (auto& connection : connections_) {
        if (connection != nullptr) connection->on_leave();
      }
      return;
    case CommandKind::Reroute:
      router_ = reinterpret_cast<const Router*>(command.blob);
      return notify({{}, EventKind::Rerouted});
    case CommandKind::Publish: return publish(command);
    case CommandKind::Connect: return dial(command);
    case CommandKind::Watch: return watch(command.exchange);
    case CommandKind::Disconnect: return disconnect(command);
    default: break;
  }
  uint32_t index = exchanges_.connection_of(command.exchange);
  if (index == UINT32_MAX) {
    bool is_leave_taking = static_cast<CommandKind>(command.kind) == CommandKind::Unsubscribe;
    if (!is_leave_taking) stats_.late_commands.increment();
    if (static_cast<CommandKind>(command.kind) == CommandKind::Tell)
      notify({command.exchange, EventKind::Left, 0});
    Lane::drop(command);
    return;
  }
  if (static_cast<CommandKind>(command.kind) == CommandKind::Tell) {
    // The answer of what is a socket by now, its 101, is written.
    if (exchanges_.is_socket(command.exchange))
      return connections_[index]->tell_when_left(command.exchange);
    return connections_[index]->on_command(command);
  }
  if (static_cast<CommandKind>(command.kind) == CommandKind::Cut) return cut(command, index);
  if (command.kind >= static_cast<uint16_t>(CommandKind::Subscribe))
    return take_of_socket(command, index);
  connections_[index]->on_command(command);
}

// --- the disk ---

uint64_t Loop::new_ticket(uint32_t index) {
  if (++last_ticket_ == 0) last_ticket_ = 1;
  return uint64_t{last_ticket_} << 32 | index;
}

std::unique_ptr<FileWriter> Loop::open_writer(Fd file, uint64_t ticket, bool digest) {
  FileWriterOptions options;
  options.ticket = ticket;
  options.digest = digest;
  return std::make_unique<FileWriter>(disk_, inbox_, std::move(file), options);
}

void Loop::take_disk_work() {
  if (inbox_.is_empty()) return;
  inbox_.take(disk_work_);
  for (auto& work : disk_work_) {
    auto index = static_cast<uint32_t>(work->ticket);
    Connection* connection = index < connections_.size() ? connections_[index].get() : nullptr;
    if (connection == nullptr || !connection->on_disk_done(work)) disk_.discard(std::move(work));
  }
  disk_work_.clear();
}

// Again: no time is added, but may be taken away.
void Loop::begin_close(Milliseconds force_after, Milliseconds idle_for, bool takes_backlog) {
  if (drained_sent_) return;
  if (!closing_ || now_ + force_after < close_deadline_) close_deadline_ = now_ + force_after;
  if (closing_) {
    if (idle_for == 0 || now_ + idle_for < idle_deadline_) idle_deadline_ = now_ + idle_for;
    return;
  }
  closing_ = true;
  accept_retry_ = kNever;
  takes_last_ = takes_backlog && !accept_paused_;
  poller_->limit_accepts(takes_last_ ? accepts_left() : 0);
  leave_group(takes_backlog);
  for (size_t id = 0; id < protocols_.size(); id++) {
    poller_->unlisten(static_cast<ListenerId>(id));
    stats_.listeners.decrement();
  }
  if (idle_for == 0) return end_idle();
  idle_deadline_ = now_ + idle_for;
  for (auto& connection : connections_) {
    if (connection != nullptr) connection->on_leave();
  }
}

// Who was handed over before is served like who stood in the backlog.
void Loop::leave_group(bool takes_backlog) {
  if (!group_) return;
  group_->close(handed_);
  if (takes_backlog && !handed_.empty()) {
    takes_last_ = true;
    return adopt_handed();
  }
  for (size_t i = 0; i < handed_.size(); i++) group_->closed();
  handed_.clear();
}

void Loop::end_idle() {
  idle_deadline_ = kNever;
  for (auto& connection : connections_) {
    if (connection != nullptr) connection->on_drain();
  }
}

void Loop::check_closed() {
  if (!closing_ || drained_sent_ || takes_last_ || open_connections_ > 0) return;
  drained_sent_ = true;
  close_deadline_ = idle_deadline_ = kNever;
  notify({{}, EventKind::Drained, 0, completed_after_close_, forced_after_close_});
}

// --- events ---

bool Loop::can_open_exchange() {
  if (exchanges_.has_room() && can_emit()) return true;
  lane_.loop_waits_for_room.store(true, std::memory_order_relaxed);
  return false;
}

bool Loop::can_emit() {
  if (notices_.empty() && lane_.has_room(head_room_)) return true;
  lane_.loop_waits_for_room.store(true, std::memory_order_relaxed);
  return false;
}

Event* Loop::begin_event(size_t size) {
  char* record = lane_.events.reserve(size);
  if (record == nullptr) return nullptr;
  auto* event = new (record) Event();
  event->size = static_cast<uint32_t>(Ring::rounded(size));
  return event;
}

void Loop::end_event(Event* event) {
  if ((event->flags & kEventBodyIsBlob) != 0) lane_.add_blob(event->body_length);
  lane_.events.commit(event->size);
  stats_.events.increment();
  events_written_ = true;
}

// Written at once where there is room, so that no request waits behind a notice without need.
void Loop::notify(const Notice& notice, Bytes fields) {
  if (!fields.empty() && can_log()) return write_notice(notice, fields);
  notices_.push_back(notice);
  deliver_notices();
  if (notices_.size() > kNoticesMax && !flooded_) gate_accepting();
}

void Loop::deliver_notices() {
  size_t delivered = 0;
  for (const Notice& notice : notices_) {
    if (!lane_.events.has_room(sizeof(Event))) {
      lane_.loop_waits_for_room.store(true, std::memory_order_relaxed);
      break;
    }
    write_notice(notice, {});
    delivered++;
  }
  notices_.erase(notices_.begin(), notices_.begin() + static_cast<std::ptrdiff_t>(delivered));
  if (flooded_ && notices_.empty()) gate_accepting();
}

void Loop::write_notice(const Notice& notice, Bytes fields) {
  Event* event = begin_event(sizeof(Event) + fields.size());
  MR_CHECK(event != nullptr);
  event->kind = static_cast<uint16_t>(notice.kind);
  event->exchange = notice.id;
  event->status = notice.status;
  event->head_a = notice.head_a;
  event->head_b = notice.head_b;
  event->header_length = static_cast<uint32_t>(fields.size());
  if (!fields.empty()) std::memcpy(event + 1, fields.data(), fields.size());
  end_event(event);
}

// --- held back and written ---

void Loop::add_starved(uint32_t index) {
  if (is_in_starved_.size() <= index) is_in_starved_.resize(connections_.size());
  if (is_in_starved_[index]) return;
  is_in_starved_[index] = true;
  starved_.push_back(index);
}

void Loop::add_muted(uint32_t index) {
  if (is_in_muted_.size() <= index) is_in_muted_.resize(connections_.size());
  if (is_in_muted_[index]) return;
  is_in_muted_[index] = true;
  muted_.push_back(index);
}

void Loop::offer_starved() {
  if (starved_.empty()) return;
  scratch_.clear();
  scratch_.swap(starved_);
  size_t served = 0;
  while (served < scratch_.size() && can_open_exchange()) {
    uint32_t index = scratch_[served++];
    is_in_starved_[index] = false;
    Connection* connection = connections_[index].get();
    if (connection != nullptr) connection->on_room();
  }
  // Who is starved again waits behind those whose turn has not come.
  starved_.insert(starved_.begin(), scratch_.begin() + static_cast<std::ptrdiff_t>(served),
                  scratch_.end());
}

// Bodies of open exchanges go first: what is in flight has to end before anything new begins.
void Loop::offer_muted() {
  if (muted_.empty()) return;
  scratch_.clear();
  scratch_.swap(muted_);
  size_t served = 0;
  while (served < scratch_.size() && can_emit()) {
    uint32_t index = scratch_[served++];
    is_in_muted_[index] = false;
    Connection* connection = connections_[index].get();
    if (connection != nullptr) connection->on_room();
  }
  muted_.insert(muted_.begin(), scratch_.begin() + static_cast<std::ptrdiff_t>(served),
                scratch_.end());
}

void Loop::offer_all() {
  // What resumes meanwhile waits for the next turn, so that no connection keeps the others out.
  scratch_.clear();
  scratch_.swap(offers_);
  for (uint32_t index : scratch_) {
    if (connections_[index] != nullptr) connections_[index]->on_offer();
  }
}

void Loop::flush_all() {
  // Those that had their share of the last turn come behind all others.
  dirty_.insert(dirty_.end(), unfinished_.begin(), unfinished_.end());
  unfinished_.clear();
  // A flush may make a connection dirty again (its session goes on); that is for this turn too,
  // once.
  for (size_t i = 0; i < dirty_.size(); i++) {
    uint32_t index = dirty_[i];
    if (connections_[index] != nullptr) connections_[index]->flush();
  }
  dirty_.clear();
}

char* Loop::take_block() {
  stats_.blocks.increment();
  return slab_.take();
}

void Loop::give_back_block(char* block) {
  stats_.blocks.decrement();
  slab_.give_back(block);
}

// --- counting ---

Blob Loop::metrics_text() const {
  std::string text;
  if (metrics_source_ != nullptr) metrics_source_->write_metrics(text);
  return Blob::copy(text);
}

void Loop::count_response(uint16_t status) {
  if (status < 200) return stats_.responses_1xx.increment();
  if (status < 300) return stats_.responses_2xx.increment();
  if (status < 400) return stats_.responses_3xx.increment();
  if (status < 500) return stats_.responses_4xx.increment();
  stats_.responses_5xx.increment();
}

}  // namespace millrace
