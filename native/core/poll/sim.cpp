#include "core/poll/sim.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/base/check.h"

namespace millrace {

namespace {

constexpr Milliseconds kStart = 1000;
// 1994-11-06T08:49:37Z, the example date of RFC 9110.
constexpr UnixSeconds kWallClockAtStart = 784111777;
constexpr SimPeer kNobody = UINT32_MAX;

}  // namespace

SimPeer Sim::connect(ListenerId listener) {
  auto peer = static_cast<SimPeer>(peers_.size());
  peers_.emplace_back();
  peers_.back().listener = listener;
  backlog_.push_back(peer);
  return peer;
}

SimPeer Sim::dialed(ConnectionId id) {
  Connection* connection = find(id);
  return connection == nullptr ? kNobody : connection->peer;
}

void Sim::answer(SimPeer peer, int error) {
  peers_[peer].answers = true;
  peers_[peer].refusal = error;
}

void Sim::write(SimPeer peer, Bytes bytes) {
  Peer& from = peers_[peer];
  // A server that closed reads no more; a peer that ended writes no more.
  if (!from.half_closed && !from.was_reset && !from.saw_close) from.written.append(bytes);
}

void Sim::half_close(SimPeer peer) { peers_[peer].half_closed = true; }

void Sim::close(SimPeer peer) {
  peers_[peer].half_closed = true;
  peers_[peer].gone = true;
}

void Sim::reset(SimPeer peer, int error) {
  peers_[peer].was_reset = true;
  peers_[peer].reset_error = error;
}

uint32_t Sim::open_connections() const {
  auto is_open = [](const Connection& one) { return one.peer != kNobody; };
  return static_cast<uint32_t>(std::count_if(connections_.begin(), connections_.end(), is_open));
}

uint32_t Sim::pending_sends() const {
  auto is_pending = [](const Connection& one) { return one.is_sending(); };
  return static_cast<uint32_t>(std::count_if(connections_.begin(), connections_.end(), is_pending));
}

bool Sim::has_news() const {
  auto is_acceptable = [this](SimPeer peer) {
    return std::find(listeners_.begin(), listeners_.end(), peers_[peer].listener) !=
           listeners_.end();
  };
  bool accepts = accepting_ && accepts_left_ > 0 &&
                 std::any_of(backlog_.begin(), backlog_.end(), is_acceptable);
  if (woken_ || !closed_.empty() || !last_.empty() || accepts) return true;
  return std::any_of(connections_.begin(), connections_.end(), [this](const Connection& one) {
    if (one.peer == kNobody || one.failed) return false;
    const Peer& peer = peers_[one.peer];
    if (one.connecting) return peer.was_reset || is_answered(peer);
    bool readable = peer.taken < peer.written.size() || peer.half_closed;
    return peer.was_reset || (one.is_sending() && peer.window > 0) ||
           (!one.paused && !one.peer_closed && readable);
  });
}

void Sim::set_faults(const SimFaults& faults) {
  faults_ = faults;
  random_ = faults.seed;
}

UnixSeconds Sim::wall_clock() {
  return kWallClockAtStart + wall_clock_shift_ + (now_ - kStart) / 1000;
}

int64_t Sim::wall_clock_ms() { return wall_clock() * 1000 + (now_ - kStart) % 1000; }

Status Sim::listen(ListenerId id, Fd) {
  if (std::find(listeners_.begin(), listeners_.end(), id) != listeners_.end()) {
    return Status::failed(EEXIST, "listen");
  }
  listeners_.push_back(id);
  return Status::ok();
}

void Sim::unlisten(ListenerId id) {
  std::erase(listeners_, id);
  // What stands in the backlog is accepted, or else refused.
  std::erase_if(backlog_, [this, id](SimPeer peer) {
    if (peers_[peer].listener != id) return false;
    if (accepting_ && accepts_left_ > 0) {
      accepts_left_--;
      last_.push_back(peer);
      return true;
    }
    peers_[peer].saw_reset = peers_[peer].saw_close = true;
    return true;
  });
}

Status Sim::adopt(ListenerId, Fd) { return Status::failed(ENOTSUP, "adopt"); }
Status Sim::adopt(ListenerId, Fd, const Address&) { return Status::failed(ENOTSUP, "adopt"); }

Result<ConnectionId> Sim::connect(const DialTarget& target) {
  bool is_connected = target.fd >= 0;
  Fd(target.fd).reset();
  if (connect_error_ != 0) return Status::failed(std::exchange(connect_error_, 0), "connect");
  auto peer = static_cast<SimPeer>(peers_.size());
  peers_.emplace_back();
  peers_.back().address = target.address;
  peers_.back().port = target.port;
  peers_.back().answers = is_connected;
  uint32_t index = take_place(peer);
  connections_[index].connecting = true;
  return ConnectionId{index, connections_[index].generation};
}

void Sim::pause_receiving(ConnectionId id) {
  if (Connection* connection = find(id); connection != nullptr) connection->paused = true;
}

void Sim::resume_receiving(ConnectionId id) {
  if (Connection* connection = find(id); connection != nullptr) connection->paused = false;
}

SendResult Sim::send(ConnectionId id, std::span<const Bytes> parts) {
  Connection* connection = find(id);
  if (!can_send(connection)) return SendResult::Failed;
  for (Bytes part : parts) {
    if (!part.empty()) connection->unsent.push_back(part);
  }
  return begin_send(*connection);
}

SendResult Sim::send_file(ConnectionId id, int file, uint64_t offset, size_t count) {
  Connection* connection = find(id);
  if (!can_send(connection)) return SendResult::Failed;
  if (count == 0) return SendResult::Done;
  struct stat status = {};
  MR_CHECK(::fstat(file, &status) == 0);
  connection->file = {.fd = file,
                      .device = static_cast<uint64_t>(status.st_dev),
                      .inode = static_cast<uint64_t>(status.st_ino),
                      .offset = offset,
                      .left = count};
  return begin_send(*connection);
}

bool Sim::can_send(Connection* connection) {
  send_error_ = 0;
  if (connection == nullptr) return false;
  const Peer& peer = peers_[connection->peer];
  if (!connection->failed) {
    MR_CHECK(!connection->is_sending() && !connection->connecting);
    connection->failed = peer.was_reset || peer.saw_half_close;
  }
  if (connection->failed) send_error_ = peer.was_reset ? peer.reset_error : EPIPE;
  return !connection->failed;
}

SendResult Sim::begin_send(Connection& connection) {
  static_cast<void>(transmit(connection));
  if (connection.failed) {
    send_error_ = EIO;
    return SendResult::Failed;
  }
  if (connection.is_sending()) return SendResult::Pending;
  totals_.bytes_unfinished -= std::exchange(connection.sent_in_part, 0);
  return SendResult::Done;
}

void Sim::shutdown_sending(ConnectionId id) {
  Connection* connection = find(id);
  if (connection == nullptr || connection->failed) return;
  MR_CHECK(!connection->connecting);
  connection->shutdown_due = connection->is_sending();
  if (!connection->shutdown_due) peers_[connection->peer].saw_half_close = true;
}

void Sim::close(ConnectionId id, bool reset) {
  Connection* connection = find(id);
  if (connection == nullptr) return;
  Peer& peer = peers_[connection->peer];
  for (const Completion& one : completions_) {
    if (one.kind == CompletionKind::Received && one.id == id) {
      totals_.bytes_doubtful += one.bytes.size();
    }
  }
  // As kernels do: closing with bytes unread is a reset too.
  peer.saw_reset = reset || peer.taken < peer.written.size() || peer.was_reset;
  peer.saw_close = true;
  *connection = Connection{.generation = connection->generation + 1};
  closed_.push_back(id);
}

std::span<const Completion> Sim::wait(Milliseconds at_most) {
  allowed_sleep_ = at_most;
  if (at_most != 0 && sleep_ != nullptr && !has_news()) sleep_(sleeper_, at_most);
  begin_batch();
  if (std::exchange(woken_, false)) completions_.push_back({.kind = CompletionKind::Woken});
  for (uint32_t index = 0; index < connections_.size(); index++) {
    if (connections_[index].peer != kNobody) serve(index);
  }
  // Last: who is accepted now is heard from the next batch on, as with a kernel.
  accept_waiting();
  totals_.completions += completions_.size();
  return completions_;
}

Sim::Connection* Sim::find(ConnectionId id) {
  if (id.index >= connections_.size()) return nullptr;
  Connection& connection = connections_[id.index];
  bool fits = connection.peer != kNobody && connection.generation == id.generation;
  return fits ? &connection : nullptr;
}

// SplitMix64's step: any seed will do, zero included.
uint64_t Sim::draw() {
  uint64_t mixed = (random_ += 0x9E3779B97F4A7C15);
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
  return mixed ^ (mixed >> 31);
}

bool Sim::chance(uint32_t per_mille) { return per_mille != 0 && draw() % 1000 < per_mille; }

void Sim::begin_batch() {
  completions_.clear();
  addresses_.clear();
  buffers_.clear();
  free_.insert(free_.end(), retired_.begin(), retired_.end());
  retired_.clear();
  for (ConnectionId id : closed_) {
    completions_.push_back({.kind = CompletionKind::Closed, .id = id});
    retired_.push_back(id.index);
  }
  closed_.clear();
}

uint32_t Sim::take_place(SimPeer peer) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(connections_.size()));
    connections_.push_back({.generation = 1});
  }
  uint32_t index = free_.back();
  free_.pop_back();
  connections_[index].peer = peer;
  return index;
}

void Sim::accept_waiting() {
  for (SimPeer peer : last_) accept(peer);
  last_.clear();
  std::deque<SimPeer> later;
  while (accepting_ && accepts_left_ > 0 && !backlog_.empty()) {
    SimPeer peer = backlog_.front();
    ListenerId listener = peers_[peer].listener;
    if (std::find(listeners_.begin(), listeners_.end(), listener) == listeners_.end()) {
      backlog_.pop_front();
      later.push_back(peer);
      continue;
    }
    int error = std::exchange(accept_error_, 0);
    if (error == 0 && chance(faults_.accept_error)) error = EMFILE;
    if (error != 0) {
      accepting_ = false;
      completions_.push_back(
          {.kind = CompletionKind::AcceptFailed, .listener = listener, .error = error});
      break;
    }
    backlog_.pop_front();
    accepts_left_--;
    accept(peer);
  }
  backlog_.insert(backlog_.begin(), later.begin(), later.end());
}

void Sim::accept(SimPeer peer) {
  uint32_t index = take_place(peer);
  peers_[peer].accepted = true;
  totals_.accepted++;
  Address address;
  const std::string& host = peers_[peer].host;
  MR_CHECK(host.size() <= sizeof(address.text));
  if (!host.empty()) {
    address.family = host.find(':') == std::string::npos ? Family::IPv4 : Family::IPv6;
    address.port = static_cast<uint16_t>(1024 + peer % 60000);
  }
  std::memcpy(address.text, host.data(), host.size());
  address.length = static_cast<uint8_t>(host.size());
  addresses_.push_back(address);
  completions_.push_back({.kind = CompletionKind::Accepted,
                          .listener = peers_[peer].listener,
                          .id = {index, connections_[index].generation},
                          .peer = &addresses_.back()});
}

void Sim::serve(uint32_t index) {
  Connection& connection = connections_[index];
  if (connection.failed) return;
  if (chance(faults_.reset)) reset(connection.peer);
  const Peer& peer = peers_[connection.peer];
  if (peer.was_reset) return fail(index, peer.reset_error);
  // Whatever the peer sends is heard from the next batch on.
  if (connection.connecting) return finish_connecting(index);
  if (connection.is_sending()) flush(index);
  if (!connection.failed && !connection.paused && !connection.peer_closed) receive(index);
}

void Sim::fail(uint32_t index, int error) {
  Connection& connection = connections_[index];
  connection.failed = true;
  connection.unsent.clear();
  connection.file = {};
  completions_.push_back(
      {.kind = CompletionKind::Failed, .error = error, .id = {index, connection.generation}});
}

void Sim::finish_connecting(uint32_t index) {
  Connection& connection = connections_[index];
  Peer& peer = peers_[connection.peer];
  if (!is_answered(peer)) return;
  int error = peer.refusal;
  if (error == 0 && chance(faults_.dial_error)) error = ETIMEDOUT;
  if (error != 0) return fail(index, error);
  connection.connecting = false;
  peer.accepted = true;
  totals_.connected++;
  completions_.push_back({.kind = CompletionKind::Connected, .id = {index, connection.generation}});
}

void Sim::flush(uint32_t index) {
  Connection& connection = connections_[index];
  ConnectionId id{index, connection.generation};
  uint64_t sent = transmit(connection);
  if (connection.failed) {
    completions_.push_back({.kind = CompletionKind::Failed, .error = EIO, .id = id});
    return;
  }
  if (connection.is_sending()) {
    if (sent > 0) completions_.push_back({.kind = CompletionKind::Progressed, .id = id});
    return;
  }
  totals_.bytes_unfinished -= std::exchange(connection.sent_in_part, 0);
  if (connection.shutdown_due) peers_[connection.peer].saw_half_close = true;
  completions_.push_back({.kind = CompletionKind::Sent, .id = id});
}

void Sim::receive(uint32_t index) {
  Connection& connection = connections_[index];
  Peer& peer = peers_[connection.peer];
  ConnectionId id{index, connection.generation};
  if (peer.taken == peer.written.size()) {
    if (!peer.half_closed) return;
    connection.peer_closed = true;
    completions_.push_back({.kind = CompletionKind::PeerClosed, .id = id});
    return;
  }
  size_t size = std::min(peer.written.size() - peer.taken, received_bytes_max_);
  if (chance(faults_.short_read)) size = 1 + draw() % size;
  buffers_.push_back(std::make_unique<char[]>(size));
  char* buffer = buffers_.back().get();
  std::memcpy(buffer, peer.written.data() + peer.taken, size);
  peer.taken += size;
  peer.taken_in_all += size;
  totals_.bytes_received += size;
  if (peer.taken > peer.written.size() / 2) peer.written.erase(0, std::exchange(peer.taken, 0));
  completions_.push_back(
      {.kind = CompletionKind::Received, .id = id, .bytes = MutableBytes(buffer, size)});
}

uint64_t Sim::Connection::unsent_bytes() const {
  uint64_t total = file.left;
  for (Bytes part : unsent) total += part.size();
  return total;
}

uint64_t Sim::transmit(Connection& connection) {
  Peer& peer = peers_[connection.peer];
  uint64_t budget = peer.window;
  if (chance(faults_.short_write)) {
    uint64_t total = connection.unsent_bytes();
    budget = std::min(budget, total == 0 ? 0 : draw() % total);
  }
  // A peer that is gone answers with a reset, which only the next operation meets.
  if (peer.gone && connection.is_sending()) peer.was_reset = true;
  uint64_t sent = connection.file.left > 0 ? transmit_file(connection, peer, budget)
                                           : transmit_parts(connection, peer, budget);
  if (peer.window != UINT64_MAX) peer.window -= sent;
  connection.sent_in_part += sent;
  totals_.bytes_sent += sent;
  totals_.bytes_unfinished += sent;
  return sent;
}

uint64_t Sim::transmit_parts(Connection& connection, Peer& peer, uint64_t budget) {
  uint64_t sent = 0;
  size_t done = 0;
  for (Bytes& part : connection.unsent) {
    size_t size = static_cast<size_t>(std::min<uint64_t>(part.size(), budget));
    if (!peer.gone) peer.received.append(part.substr(0, size));
    budget -= size;
    sent += size;
    part.remove_prefix(size);
    if (!part.empty()) break;
    done++;
  }
  connection.unsent.erase(connection.unsent.begin(),
                          connection.unsent.begin() + static_cast<std::ptrdiff_t>(done));
  return sent;
}

uint64_t Sim::transmit_file(Connection& connection, Peer& peer, uint64_t budget) {
  UnsentFile& file = connection.file;
  struct stat status = {};
  MR_CHECK(::fstat(file.fd, &status) == 0);
  MR_CHECK(file.device == static_cast<uint64_t>(status.st_dev));
  MR_CHECK(file.inode == static_cast<uint64_t>(status.st_ino));
  uint64_t sent = 0;
  char buffer[4096];
  while (file.left > 0 && sent < budget) {
    uint64_t size = std::min<uint64_t>({sizeof(buffer), file.left, budget - sent});
    ssize_t got = ::pread(file.fd, buffer, size, static_cast<off_t>(file.offset));
    if (got <= 0) {
      connection.failed = true;
      file = {};
      return sent;
    }
    auto count = static_cast<uint64_t>(got);
    if (!peer.gone) peer.received.append(buffer, static_cast<size_t>(count));
    file.offset += count;
    file.left -= count;
    sent += count;
  }
  return sent;
}

}  // namespace millrace
