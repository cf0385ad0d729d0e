#include "core/poll/readiness.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <utility>
#include <vector>

#include "core/base/blob.h"
#include "core/base/check.h"
#include "core/poll/descriptors.h"
#include "core/poll/dial.h"
#include "core/poll/pending_send.h"
#include "core/poll/socket.h"

namespace millrace {

namespace {

constexpr size_t kArenaBytes = size_t{256} * 1024;
constexpr size_t kReceiveBytesMax = size_t{64} * 1024;
// Less room than this in the arena: what is ready stays in the kernel until the next wait.
constexpr size_t kReceiveBytesMin = size_t{16} * 1024;
constexpr size_t kArenaAlignment = 64;
constexpr int kAcceptsMax = 64;
constexpr int kBacklogMax = 65'536;  // beyond what kernels keep
// Near the limit of descriptors one at a time, so that the caller can stop in time.
constexpr int32_t kDescriptorsTight = 128;
// The descriptors of the process that are none of ours: standard streams, libraries, event loops.
constexpr int32_t kDescriptorsElsewhere = 16;
constexpr uint32_t kNone = UINT32_MAX;
constexpr uint32_t kListenerBit = 0x8000'0000;

// Interest is narrowed late: only when an event comes that nobody wants (see on_unwanted).
struct Connection {
  int fd = -1;  // -1: closed
  uint32_t generation = 0;
  uint32_t pending = kNone;  // index into sends_
  uint8_t watched = 0;
  bool paused = false;
  bool peer_closed = false;
  bool failed = false;
  bool shared = false;  // adopted: somebody else may hold the open socket too
  bool connecting = false;
  bool shutdown_due = false;
};
static_assert(sizeof(Connection) <= 20);

struct Listener {
  ListenerId id = 0;
  Fd socket;
  uint8_t watched = 0;
};

// Owned by: loop thread.
class Readiness final : public Poller {
 public:
  explicit Readiness(std::unique_ptr<Selector> selector) : selector_(std::move(selector)) {}
  ~Readiness() override;
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  const char* name() const override { return selector_->name(); }
  Milliseconds now() override;
  UnixSeconds wall_clock() override { return ::time(nullptr); }
  int64_t wall_clock_ms() override;
  int descriptor() const override;

  Status listen(ListenerId id, Fd socket) override;
  void unlisten(ListenerId id) override;
  void pause_accepting() override;
  void resume_accepting() override;
  void limit_accepts(uint32_t count) override { accepts_left_ = count; }
  void set_placement(Placement& placement) override { placement_ = &placement; }
  Status adopt(ListenerId as, Fd socket) override;
  Status adopt(ListenerId as, Fd socket, const Address& peer) override;
  Result<ConnectionId> connect(const DialTarget& target) override;

  void pause_receiving(ConnectionId id) override;
  void resume_receiving(ConnectionId id) override;
  SendResult send(ConnectionId id, std::span<const Bytes> parts) override;
  SendResult send_file(ConnectionId id, int file, uint64_t offset, size_t count) override;
  int send_error() const override { return send_error_; }
  [[nodiscard]] int64_t unacknowledged(ConnectionId id) override;
  void shutdown_sending(ConnectionId id) override;
  void close(ConnectionId id, bool reset) override;

  std::span<const Completion> wait(Milliseconds at_most) override;
  void wake() override { selector_->wake(); }
  int32_t descriptors_left() const override;

 private:
  Connection* find(ConnectionId id);
  Result<ConnectionId> add(Connection connection);
  Status watch(uint32_t index, uint8_t to);
  void fail(uint32_t index, int error, std::vector<Completion>& into);
  SendResult refuse_send(ConnectionId id);

  void begin_batch();
  void queue(const Completion& completion);
  void nudge_watcher();
  void on_ready(const Ready& ready);
  void on_dialed(uint32_t index, int error);
  void accept_from(uint32_t number);
  [[nodiscard]] int accept_one(const Listener& listener, std::vector<Completion>& into,
                               std::vector<Address>& peers);
  void go_to_the_end(uint32_t number);
  Status adopt(ListenerId as, const Connection& made, Fd& socket, const Address& peer);
  void take_backlog(const Listener& listener);
  void accept_failed(const Listener& listener, int error, std::vector<Completion>& into);
  void receive(uint32_t index, int error);
  void on_unwanted(uint32_t index, bool broken);

  PendingSend& take_pending(Connection& connection);
  void drop_pending(Connection& connection);
  void flush(uint32_t index);

  std::unique_ptr<Selector> selector_;
  std::vector<Connection> connections_;
  std::vector<uint32_t> free_;  // a stack
  std::vector<Listener> listeners_;
  bool accepting_ = true;
  uint32_t accepts_left_ = UINT32_MAX;
  Placement alone_;
  Placement* placement_ = &alone_;
  std::vector<PendingSend> sends_;
  std::vector<uint32_t> free_sends_;

  Blob scratch_;  // for files that the kernel does not send by itself; made when the first comes
  Blob arena_ = Blob::uninitialized(kArenaBytes);
  size_t arena_used_ = 0;
  // The batch that wait() returns, and the peers of its Accepted completions in the same order.
  std::vector<Completion> completions_;
  std::vector<Address> peers_;
  // What happened between two waits.
  std::vector<Completion> queued_;
  std::vector<Address> queued_peers_;
  std::vector<ConnectionId> closed_;
  std::vector<uint32_t> retired_;  // their Closed is in the current batch

  DescriptorGauge gauge_;
  uint32_t open_ = 0;
  int send_error_ = 0;
  // Only who watches the descriptor from outside pays for nudges.
  mutable bool watched_from_outside_ = false;
};

uint64_t token_of(uint32_t index, uint32_t generation) {
  return (uint64_t{index} << 32) | generation;
}

uint8_t wanted_interest(const Connection& connection) {
  if (connection.failed) return 0;
  uint8_t interest = kWatchHangup;
  if (connection.connecting) return interest | kWatchWrite;
  if (!connection.paused && !connection.peer_closed) interest |= kWatchRead;
  if (connection.pending != kNone) interest |= kWatchWrite;
  return interest;
}

bool wants_read(const Connection& connection) {
  return (wanted_interest(connection) & kWatchRead) != 0;
}

// Exhaustion, or a listener that is of no use any more: trying again at once would spin. Anything
// else is the trouble of one connection in the backlog.
bool must_pause_accepting(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
         error == EBADF || error == EINVAL || error == ENOTSOCK;
}

Readiness::~Readiness() {
  for (Connection& connection : connections_) {
    if (connection.fd >= 0) ::close(connection.fd);
  }
}

Milliseconds Readiness::now() {
  timespec time = {};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return Milliseconds{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

int64_t Readiness::wall_clock_ms() {
  timespec time = {};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

int Readiness::descriptor() const {
  watched_from_outside_ = true;
  return selector_->descriptor();
}

Status Readiness::listen(ListenerId id, Fd socket) {
  auto is_free = [](const Listener& one) { return !one.socket.is_open(); };
  auto has_id = [id](const Listener& one) { return one.socket.is_open() && one.id == id; };
  if (std::any_of(listeners_.begin(), listeners_.end(), has_id)) {
    return Status::failed(EEXIST, "listen");
  }
  auto slot = std::find_if(listeners_.begin(), listeners_.end(), is_free);
  if (slot == listeners_.end()) slot = listeners_.insert(slot, Listener{});
  auto index = static_cast<uint32_t>(slot - listeners_.begin());
  if (accepting_) {
    Status watched =
        selector_->watch(socket.get(), token_of(kListenerBit | index, 0), 0, kWatchAccept);
    if (!watched.is_ok()) return watched;
    slot->watched = kWatchAccept;
  }
  set_no_delay(socket.get());
  gauge_.opened(socket.get());
  gauge_.read_limit();
  slot->id = id;
  slot->socket = std::move(socket);
  return Status::ok();
}

void Readiness::unlisten(ListenerId id) {
  for (Listener& listener : listeners_) {
    if (!listener.socket.is_open() || listener.id != id) continue;
    selector_->forget(listener.socket.get(), listener.watched, true);
    listener.watched = 0;
    // After the last moment at which the kernel may have told us, and nobody else who listens on
    // the same socket, of a connection.
    take_backlog(listener);
    listener.socket.reset();
    gauge_.closed();
  }
}

void Readiness::take_backlog(const Listener& listener) {
  for (int i = 0; i < kBacklogMax && accepting_ && accepts_left_ > 0; i++) {
    if (accept_one(listener, queued_, queued_peers_) != 0) return;
    nudge_watcher();
  }
}

void Readiness::pause_accepting() {
  accepting_ = false;
  for (Listener& listener : listeners_) {
    if (!listener.socket.is_open()) continue;
    selector_->forget(listener.socket.get(), listener.watched, true);
    listener.watched = 0;
  }
}

void Readiness::resume_accepting() {
  accepting_ = true;
  for (size_t i = 0; i < listeners_.size() && accepting_; i++) {
    Listener& listener = listeners_[i];
    if (!listener.socket.is_open()) continue;
    uint64_t token = token_of(kListenerBit | static_cast<uint32_t>(i), 0);
    Status watched = selector_->watch(listener.socket.get(), token, listener.watched, kWatchAccept);
    if (watched.is_ok()) {
      listener.watched = kWatchAccept;
    } else {
      accept_failed(listener, watched.error(), queued_);
      nudge_watcher();
    }
  }
}

Status Readiness::adopt(ListenerId as, Fd socket) {
  sockaddr_storage peer = {};
  Status prepared = prepare_connected(socket, peer);
  if (!prepared.is_ok()) return prepared;
  return adopt(as, {.fd = socket.get(), .shared = true}, socket, address_of(peer));
}

Status Readiness::adopt(ListenerId as, Fd socket, const Address& peer) {
  return adopt(as, {.fd = socket.get()}, socket, peer);
}

Status Readiness::adopt(ListenerId as, const Connection& made, Fd& socket, const Address& peer) {
  Result<ConnectionId> added = add(made);
  if (!added.is_ok()) return added.status();
  static_cast<void>(socket.release());
  queued_peers_.push_back(peer);
  queue({.kind = CompletionKind::Accepted, .listener = as, .id = added.value()});
  return Status::ok();
}

Result<ConnectionId> Readiness::connect(const DialTarget& target) {
  Result<Dialed> dialed = dial(target);
  if (!dialed.is_ok()) return dialed.status();
  Dialed& made = dialed.value();
  Result<ConnectionId> added =
      add({.fd = made.socket.get(), .shared = target.fd >= 0, .connecting = !made.is_connected});
  if (!added.is_ok()) return added;
  static_cast<void>(made.socket.release());
  if (made.is_connected) queue({.kind = CompletionKind::Connected, .id = added.value()});
  return added;
}

void Readiness::pause_receiving(ConnectionId id) {
  Connection* connection = find(id);
  if (connection != nullptr) connection->paused = true;
}

void Readiness::resume_receiving(ConnectionId id) {
  Connection* connection = find(id);
  if (connection == nullptr || !connection->paused) return;
  connection->paused = false;
  if (!wants_read(*connection) || (connection->watched & kWatchRead) != 0) return;
  Status watched = watch(id.index, wanted_interest(*connection));
  if (watched.is_ok()) return;
  fail(id.index, watched.error(), queued_);
  nudge_watcher();
}

SendResult Readiness::send(ConnectionId id, std::span<const Bytes> parts) {
  Connection* connection = find(id);
  if (connection == nullptr || connection->failed) return refuse_send(id);
  MR_CHECK(connection->pending == kNone && !connection->connecting);
  std::array<iovec, kSendPartsMax> vectors;
  size_t next = 0;
  while (true) {
    size_t count = 0;
    size_t total = 0;
    for (; next < parts.size() && count < kSendPartsMax; next++) {
      if (parts[next].empty()) continue;
      vectors[count++] = {.iov_base = const_cast<char*>(parts[next].data()),
                          .iov_len = parts[next].size()};
      total += parts[next].size();
    }
    if (count == 0) return SendResult::Done;
    ssize_t sent = send_vectors(connection->fd, vectors.data(), count);
    send_error_ = sent < 0 ? errno : 0;
    if (sent < 0 && !would_block(send_error_)) break;
    auto accepted = static_cast<size_t>(std::max<ssize_t>(sent, 0));
    if (accepted == total) continue;
    take_pending(*connection)
        .keep_rest(std::span(vectors.data(), count), accepted, parts.subspan(next));
    auto to = static_cast<uint8_t>(connection->watched | kWatchWrite | kWatchHangup);
    Status watched = watch(id.index, to);
    if (watched.is_ok()) return SendResult::Pending;
    send_error_ = watched.error();
    drop_pending(*connection);
    break;
  }
  connection->failed = true;
  return SendResult::Failed;
}

SendResult Readiness::send_file(ConnectionId id, int file, uint64_t offset, size_t count) {
  Connection* connection = find(id);
  if (connection == nullptr || connection->failed) return refuse_send(id);
  MR_CHECK(connection->pending == kNone && !connection->connecting);
  if (count == 0) return SendResult::Done;
  PendingSend& pending = take_pending(*connection);
  pending.file = file;
  pending.offset = offset;
  pending.left = count;
  int error = push_file(connection->fd, pending, scratch_);
  if (would_block(error)) {
    auto to = static_cast<uint8_t>(connection->watched | kWatchWrite | kWatchHangup);
    Status watched = watch(id.index, to);
    if (watched.is_ok()) return SendResult::Pending;
    error = watched.error();
  }
  drop_pending(*connection);
  if (error == 0) return SendResult::Done;
  send_error_ = error;
  connection->failed = true;
  return SendResult::Failed;
}

// It has failed before: the completion that says so is not handled yet.
SendResult Readiness::refuse_send(ConnectionId id) {
  send_error_ = 0;
  for (const auto* batch : {&completions_, &queued_}) {
    for (const Completion& one : *batch) {
      if (one.kind == CompletionKind::Failed && one.id == id) send_error_ = one.error;
    }
  }
  return SendResult::Failed;
}

int64_t Readiness::unacknowledged(ConnectionId id) {
  Connection* connection = find(id);
  return connection == nullptr ? -1 : unacknowledged_bytes(connection->fd);
}

void Readiness::shutdown_sending(ConnectionId id) {
  Connection* connection = find(id);
  if (connection == nullptr || connection->failed) return;
  MR_CHECK(!connection->connecting);
  connection->shutdown_due = connection->pending != kNone;
  // ENOTCONN: the peer has reset it; reading reports that.
  if (!connection->shutdown_due) static_cast<void>(::shutdown(connection->fd, SHUT_WR));
}

void Readiness::close(ConnectionId id, bool reset) {
  Connection* connection = find(id);
  if (connection == nullptr) return;
  if (reset) {
    linger at_once = {.l_onoff = 1, .l_linger = 0};
    static_cast<void>(
        ::setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
  }
  drop_pending(*connection);
  selector_->forget(connection->fd, connection->watched, connection->shared);
  ::close(connection->fd);
  *connection = Connection{.generation = connection->generation + 1};
  open_--;
  gauge_.closed();
  std::erase_if(queued_, [id](const Completion& one) {
    return one.id == id && one.kind != CompletionKind::Accepted;
  });
  closed_.push_back(id);
  nudge_watcher();
}

std::span<const Completion> Readiness::wait(Milliseconds at_most) {
  gauge_.refresh(now(), selector_->descriptor());
  begin_batch();
  do {
    ReadyBatch batch = selector_->select(completions_.empty() ? at_most : 0);
    if (batch.woken) completions_.push_back({.kind = CompletionKind::Woken});
    for (const Ready& ready : batch.ready) on_ready(ready);
  } while (completions_.empty() && at_most == kNever);
  // Only now, because both vectors have stopped growing.
  size_t peer = 0;
  for (Completion& completion : completions_) {
    if (completion.kind == CompletionKind::Accepted) completion.peer = &peers_[peer++];
  }
  return completions_;
}

int32_t Readiness::descriptors_left() const {
  return gauge_.left(static_cast<int32_t>(open_ + listeners_.size()) + kDescriptorsElsewhere);
}

Connection* Readiness::find(ConnectionId id) {
  if (id.index >= connections_.size()) return nullptr;
  Connection& connection = connections_[id.index];
  return connection.fd >= 0 && connection.generation == id.generation ? &connection : nullptr;
}

// Takes over its descriptor only on success.
Result<ConnectionId> Readiness::add(Connection connection) {
  bool reuse = !free_.empty();
  uint32_t index = reuse ? free_.back() : static_cast<uint32_t>(connections_.size());
  MR_CHECK(index < kListenerBit);
  if (!reuse) connections_.push_back({.generation = 1});
  connection.generation = connections_[index].generation;
  connections_[index] = connection;
  if (reuse) free_.pop_back();
  Status watched = watch(index, wanted_interest(connection));
  if (!watched.is_ok()) {
    connections_[index].fd = -1;
    free_.push_back(index);
    return watched;
  }
  open_++;
  gauge_.opened(connection.fd);
  return ConnectionId{index, connection.generation};
}

Status Readiness::watch(uint32_t index, uint8_t to) {
  Connection& connection = connections_[index];
  uint64_t token = token_of(index, connection.generation);
  Status status = selector_->watch(connection.fd, token, connection.watched, to);
  if (status.is_ok()) connection.watched = to;
  return status;
}

void Readiness::fail(uint32_t index, int error, std::vector<Completion>& into) {
  Connection& connection = connections_[index];
  if (connection.failed) return;
  connection.failed = true;
  drop_pending(connection);
  into.push_back(
      {.kind = CompletionKind::Failed, .error = error, .id = {index, connection.generation}});
}

void Readiness::begin_batch() {
  completions_.clear();
  arena_used_ = 0;
  free_.insert(free_.end(), retired_.begin(), retired_.end());
  retired_.clear();
  for (ConnectionId id : closed_) {
    completions_.push_back({.kind = CompletionKind::Closed, .id = id});
    retired_.push_back(id.index);
  }
  closed_.clear();
  completions_.insert(completions_.end(), queued_.begin(), queued_.end());
  queued_.clear();
  peers_.swap(queued_peers_);
  queued_peers_.clear();
}

void Readiness::queue(const Completion& completion) {
  queued_.push_back(completion);
  nudge_watcher();
}

void Readiness::nudge_watcher() {
  // Once per batch is enough; later ones find it readable.
  if (watched_from_outside_ && closed_.size() + queued_.size() == 1) selector_->nudge();
}

void Readiness::on_ready(const Ready& ready) {
  auto index = static_cast<uint32_t>(ready.token >> 32);
  if ((index & kListenerBit) != 0) {
    // A listener before this one may just have run out of descriptors.
    uint32_t number = index & ~kListenerBit;
    if (accepting_ && listeners_[number].socket.is_open()) accept_from(number);
    return;
  }
  Connection& connection = connections_[index];
  // A socket that another process still holds open can outlive its place in the table.
  if (connection.fd < 0 || connection.generation != static_cast<uint32_t>(ready.token)) return;
  if (connection.connecting) return on_dialed(index, ready.error);
  if ((ready.writable || ready.broken) && connection.pending != kNone) flush(index);
  bool readable = ready.readable || ready.broken;
  if (readable && wants_read(connection)) {
    receive(index, ready.error);
  } else if (readable || connection.failed) {
    on_unwanted(index, ready.broken);
  }
}

// The kernel has decided. What came behind the answer is read by a later select.
void Readiness::on_dialed(uint32_t index, int error) {
  Connection& connection = connections_[index];
  connection.connecting = false;
  int refusal = take_socket_error(connection.fd);
  if (refusal == 0) refusal = error;
  if (refusal != 0) {
    fail(index, refusal, completions_);
  } else {
    completions_.push_back(
        {.kind = CompletionKind::Connected, .id = {index, connection.generation}});
  }
  Status watched = watch(index, wanted_interest(connection));
  if (!watched.is_ok()) fail(index, watched.error(), completions_);
}

void Readiness::accept_from(uint32_t number) {
  Listener& listener = listeners_[number];
  bool takes_turns = placement_->takes_turns();
  int at_most = takes_turns ? 1 : kAcceptsMax;
  for (int i = 0; i < at_most && accepts_left_ > 0; i++) {
    if (i > 0 && descriptors_left() < kDescriptorsTight) return;
    int error = accept_one(listener, completions_, peers_);
    if (would_block(error)) return;
    if (error != 0) return accept_failed(listener, error, completions_);
  }
  if (takes_turns) go_to_the_end(number);
}

// 0: there may be more. Otherwise nothing is left, for which EAGAIN stands, or trying again at once
// would be of no use.
int Readiness::accept_one(const Listener& listener, std::vector<Completion>& into,
                          std::vector<Address>& peers) {
  Place place = placement_->reserve();
  if (place == Place::None) return EAGAIN;
  sockaddr_storage from = {};
  Fd socket(accept_connection(listener.socket.get(), from));
  if (!socket.is_open()) {
    int error = errno;
    placement_->give_back();
    return would_block(error) || must_pause_accepting(error) ? error : 0;
  }
  accepts_left_--;
  Address peer = address_of(from);
  if (place == Place::Elsewhere) {
    gauge_.opened(socket.get());
    if (placement_->hand_over(listener.id, socket, peer)) return 0;
  }
  Result<ConnectionId> added = add({.fd = socket.get()});
  if (!added.is_ok()) {
    placement_->give_back();
    return added.status().error();
  }
  static_cast<void>(socket.release());
  peers.push_back(peer);
  into.push_back({.kind = CompletionKind::Accepted, .listener = listener.id, .id = added.value()});
  return 0;
}

// Of those that wait for one listener the kernel wakes the one that has waited for longest: who was
// not told to wait anew is always the first.
void Readiness::go_to_the_end(uint32_t number) {
  Listener& listener = listeners_[number];
  selector_->forget(listener.socket.get(), listener.watched, true);
  listener.watched = 0;
  Status watched =
      selector_->watch(listener.socket.get(), token_of(kListenerBit | number, 0), 0, kWatchAccept);
  if (!watched.is_ok()) return accept_failed(listener, watched.error(), completions_);
  listener.watched = kWatchAccept;
}

void Readiness::accept_failed(const Listener& listener, int error, std::vector<Completion>& into) {
  pause_accepting();
  into.push_back({.kind = CompletionKind::AcceptFailed, .listener = listener.id, .error = error});
}

// One recv per connection and wait: whatever is left keeps the socket ready.
void Readiness::receive(uint32_t index, int error) {
  size_t room = kArenaBytes - arena_used_;
  if (room < kReceiveBytesMin) return;
  Connection& connection = connections_[index];
  char* to = arena_.data() + arena_used_;
  ssize_t count = ::recv(connection.fd, to, std::min(room, kReceiveBytesMax), MSG_DONTWAIT);
  ConnectionId id{index, connection.generation};
  if (count > 0) {
    auto size = static_cast<size_t>(count);
    arena_used_ += (size + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    completions_.push_back(
        {.kind = CompletionKind::Received, .id = id, .bytes = MutableBytes(to, size)});
  } else if (count == 0 && error == 0) {
    connection.peer_closed = true;
    completions_.push_back({.kind = CompletionKind::PeerClosed, .id = id});
  } else if (count < 0 && !would_block(errno) && errno != EINTR) {
    fail(index, errno, completions_);
  }
  if (error != 0) fail(index, error, completions_);
}

// Paused, past the peer's end, or failed: take the interest back so that the event doesn't come for
// ever.
void Readiness::on_unwanted(uint32_t index, bool broken) {
  Connection& connection = connections_[index];
  if (broken && !connection.failed) {
    int error = take_socket_error(connection.fd);
    if (error != 0) fail(index, error, completions_);
  }
  // A hang-up can't be masked, only unwatched; resume_receiving() or a send watches again.
  uint8_t to = broken ? 0 : wanted_interest(connection);
  if (broken && connection.pending != kNone) to = wanted_interest(connection);
  Status watched = watch(index, to);
  if (!watched.is_ok()) fail(index, watched.error(), completions_);
}

PendingSend& Readiness::take_pending(Connection& connection) {
  if (free_sends_.empty()) {
    free_sends_.push_back(static_cast<uint32_t>(sends_.size()));
    sends_.emplace_back();
  }
  connection.pending = free_sends_.back();
  free_sends_.pop_back();
  return sends_[connection.pending];
}

void Readiness::drop_pending(Connection& connection) {
  if (connection.pending == kNone) return;
  sends_[connection.pending].clear();
  free_sends_.push_back(std::exchange(connection.pending, kNone));
}

void Readiness::flush(uint32_t index) {
  Connection& connection = connections_[index];
  PendingSend& pending = sends_[connection.pending];
  ConnectionId id{index, connection.generation};
  bool progressed = false;
  int error = 0;
  if (pending.file >= 0) {
    size_t before = pending.left;
    error = push_file(connection.fd, pending, scratch_);
    progressed = pending.left < before;
  } else {
    error = push_parts(connection.fd, pending, progressed);
  }
  if (error != 0 && !would_block(error)) return fail(index, error, completions_);
  if (error != 0) {
    if (progressed) completions_.push_back({.kind = CompletionKind::Progressed, .id = id});
    return;
  }
  drop_pending(connection);
  if (std::exchange(connection.shutdown_due, false)) {
    static_cast<void>(::shutdown(connection.fd, SHUT_WR));
  }
  completions_.push_back({.kind = CompletionKind::Sent, .id = id});
  // Not late like the rest: an idle socket is writable all the time.
  Status watched = watch(index, static_cast<uint8_t>(connection.watched & ~kWatchWrite));
  if (!watched.is_ok()) fail(index, watched.error(), completions_);
}

}  // namespace

std::unique_ptr<Poller> make_readiness(std::unique_ptr<Selector> selector) {
  return std::make_unique<Readiness>(std::move(selector));
}

}  // namespace millrace
