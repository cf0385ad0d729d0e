// A Poller without a kernel: peers in memory, faults from a seed, time that moves only when told
// to. For tests and fuzzers; one thread, wake() included. wait() never blocks.
#pragma once

#include <cerrno>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/poll/poller.h"

namespace millrace {

// Chances out of 1000, drawn per operation. The same seed and calls give the same run.
struct SimFaults {
  uint64_t seed = 1;
  uint32_t short_read = 0;    // a Received carries part of what is there
  uint32_t short_write = 0;   // the kernel takes part of a send, or nothing
  uint32_t reset = 0;         // per connection and wait
  uint32_t accept_error = 0;  // EMFILE
  uint32_t dial_error = 0;    // ETIMEDOUT, instead of Connected
};

using SimPeer = uint32_t;

// Sums over all connections so far.
struct SimTotals {
  uint64_t accepted = 0;
  uint64_t connected = 0;
  uint64_t bytes_received = 0;    // in Received completions
  uint64_t bytes_sent = 0;        // taken from sends
  uint64_t bytes_unfinished = 0;  // of those, from sends that are pending or were given up
  uint64_t bytes_doubtful = 0;    // received in a batch in which their connection was closed
  uint64_t completions = 0;
};

class Sim final : public Poller {
 public:
  explicit Sim(const SimFaults& faults = {}) : faults_(faults), random_(faults.seed) {}

  // The peers' side. A peer is named by its number for as long as the Sim lives.
  SimPeer connect(ListenerId listener);
  // Where it comes from; 192.0.2.1 at first. An IP address as text, or nothing for a unix socket.
  void set_host(SimPeer peer, Bytes host) { peers_[peer].host = host; }
  // The peer whom the server called: from the connect() that returned `id` until close().
  [[nodiscard]] SimPeer dialed(ConnectionId id);
  // What it was called by: an address and port, a unix path, or nothing when it was a descriptor.
  [[nodiscard]] Bytes dialed_address(SimPeer peer) const { return peers_[peer].address; }
  [[nodiscard]] uint16_t dialed_port(SimPeer peer) const { return peers_[peer].port; }
  // Whoever is called answers with the next wait, or only when told to; the former at first.
  void hold_answers(bool held) { answers_held_ = held; }
  // Not 0: Failed with this errno. Descriptors are connected already.
  void answer(SimPeer peer, int error = 0);
  void write(SimPeer peer, Bytes bytes);
  void half_close(SimPeer peer);  // the last byte was written
  void close(SimPeer peer);       // half_close, and what is sent from now on meets a reset
  void reset(SimPeer peer, int error = ECONNRESET);
  // How many more bytes the peer's window takes before sends become pending; without end at first.
  void limit_window(SimPeer peer, uint64_t bytes) { peers_[peer].window = bytes; }
  // What the server sent since the last call.
  [[nodiscard]] std::string read(SimPeer peer) { return std::move(peers_[peer].received); }
  [[nodiscard]] bool saw_half_close(SimPeer peer) const { return peers_[peer].saw_half_close; }
  [[nodiscard]] bool saw_close(SimPeer peer) const { return peers_[peer].saw_close; }
  [[nodiscard]] bool saw_reset(SimPeer peer) const { return peers_[peer].saw_reset; }
  // Connections that were accepted or begun and not closed by the server.
  [[nodiscard]] uint32_t open_connections() const;
  // Or has accepted; still waiting, or refused: false.
  [[nodiscard]] bool was_accepted(SimPeer peer) const { return peers_[peer].accepted; }
  // Bytes of the peer that the server was given.
  [[nodiscard]] uint64_t bytes_taken(SimPeer peer) const { return peers_[peer].taken_in_all; }
  // How long the last wait() was allowed to sleep.
  [[nodiscard]] Milliseconds allowed_sleep() const { return allowed_sleep_; }

  // What a checker of the loop compares its gauges with.
  [[nodiscard]] const SimTotals& totals() const { return totals_; }
  // close() was called, its Closed was not delivered yet.
  [[nodiscard]] uint32_t closing_connections() const {
    return static_cast<uint32_t>(closed_.size());
  }
  [[nodiscard]] uint32_t pending_sends() const;
  // Indexes of connections lie below; the peer of one, UINT32_MAX when it is free or closed.
  [[nodiscard]] uint32_t places() const { return static_cast<uint32_t>(connections_.size()); }
  [[nodiscard]] SimPeer peer_at(uint32_t index) const { return connections_[index].peer; }
  // Whether a wait() would return something, faults aside.
  [[nodiscard]] bool has_news() const;
  [[nodiscard]] bool is_woken() const { return woken_; }
  // Called by a wait() that would sleep: what the rest of the world does meanwhile. May do all that
  // peers and the other side of a lane do, and advance the time.
  void set_sleep(void (*sleep)(void* who, Milliseconds at_most), void* who) {
    sleep_ = sleep;
    sleeper_ = who;
  }
  // Somebody sets the wall clock; now() does not see it.
  void shift_wall_clock(UnixSeconds span) { wall_clock_shift_ += span; }

  void advance(Milliseconds span) { now_ += span; }
  void set_faults(const SimFaults& faults);
  void set_received_bytes_max(size_t bytes) { received_bytes_max_ = bytes; }
  void fail_next_accept(int error) { accept_error_ = error; }
  void fail_next_connect(int error) { connect_error_ = error; }  // at once, as a Status
  void set_descriptors_left(int32_t left) { descriptors_left_ = left; }

  const char* name() const override { return "sim"; }
  Milliseconds now() override { return now_; }
  UnixSeconds wall_clock() override;
  int64_t wall_clock_ms() override;
  int descriptor() const override { return -1; }

  // The socket may be one that is not open.
  Status listen(ListenerId id, Fd socket) override;
  void unlisten(ListenerId id) override;
  void pause_accepting() override { accepting_ = false; }
  void resume_accepting() override { accepting_ = true; }
  void limit_accepts(uint32_t count) override { accepts_left_ = count; }
  void set_placement(Placement&) override {}
  Status adopt(ListenerId as, Fd socket) override;
  Status adopt(ListenerId as, Fd socket, const Address& peer) override;
  // A descriptor is closed at once.
  Result<ConnectionId> connect(const DialTarget& target) override;

  void pause_receiving(ConnectionId id) override;
  void resume_receiving(ConnectionId id) override;
  SendResult send(ConnectionId id, std::span<const Bytes> parts) override;
  SendResult send_file(ConnectionId id, int file, uint64_t offset, size_t count) override;
  [[nodiscard]] int send_error() const override { return send_error_; }
  [[nodiscard]] int64_t unacknowledged(ConnectionId) override { return -1; }
  void shutdown_sending(ConnectionId id) override;
  void close(ConnectionId id, bool reset) override;

  std::span<const Completion> wait(Milliseconds at_most) override;
  void wake() override { woken_ = true; }
  int32_t descriptors_left() const override { return descriptors_left_; }

 private:
  struct Peer {
    ListenerId listener = 0;
    std::string host = "192.0.2.1";
    std::string address;  // as dialed
    uint16_t port = 0;
    int refusal = 0;
    bool answers = false;
    std::string written;
    size_t taken = 0;  // bytes of `written` that the server received
    std::string received;
    uint64_t window = UINT64_MAX;
    uint64_t taken_in_all = 0;
    bool accepted = false;
    bool half_closed = false;
    bool gone = false;
    bool was_reset = false;
    int reset_error = ECONNRESET;  // what was_reset is reported as
    bool saw_half_close = false;
    bool saw_close = false;
    bool saw_reset = false;
  };
  // The open file must stay the same one until all has left: descriptors are used again.
  struct UnsentFile {
    int fd = -1;
    uint64_t device = 0;
    uint64_t inode = 0;
    uint64_t offset = 0;
    uint64_t left = 0;
  };
  struct Connection {
    [[nodiscard]] bool is_sending() const { return !unsent.empty() || file.left > 0; }
    [[nodiscard]] uint64_t unsent_bytes() const;

    uint32_t generation = 0;
    SimPeer peer = UINT32_MAX;       // UINT32_MAX: closed
    std::vector<Bytes> unsent = {};  // of the pending send; the caller's bytes
    UnsentFile file = {};            // of the pending send, which has no bytes of the caller then
    uint64_t sent_in_part = 0;       // bytes of that send that have left
    bool connecting = false;
    bool paused = false;
    bool peer_closed = false;
    bool failed = false;
    bool shutdown_due = false;
  };

  Connection* find(ConnectionId id);
  [[nodiscard]] bool chance(uint32_t per_mille);
  [[nodiscard]] uint64_t draw();
  [[nodiscard]] uint32_t take_place(SimPeer peer);
  void begin_batch();
  void accept_waiting();
  void accept(SimPeer peer);
  void serve(uint32_t index);
  void fail(uint32_t index, int error);
  [[nodiscard]] bool is_answered(const Peer& peer) const { return peer.answers || !answers_held_; }
  void finish_connecting(uint32_t index);
  void flush(uint32_t index);
  void receive(uint32_t index);
  [[nodiscard]] bool can_send(Connection* connection);
  [[nodiscard]] SendResult begin_send(Connection& connection);
  // Takes what the window and the faults allow off the front; how many bytes. Sets `failed` when
  // the file ends too early.
  uint64_t transmit(Connection& connection);
  uint64_t transmit_parts(Connection& connection, Peer& peer, uint64_t budget);
  uint64_t transmit_file(Connection& connection, Peer& peer, uint64_t budget);

  SimFaults faults_;
  uint64_t random_;
  Milliseconds now_ = 1000;
  Milliseconds allowed_sleep_ = 0;
  size_t received_bytes_max_ = size_t{64} * 1024;
  SimTotals totals_;
  UnixSeconds wall_clock_shift_ = 0;
  void (*sleep_)(void* who, Milliseconds at_most) = nullptr;
  void* sleeper_ = nullptr;
  int accept_error_ = 0;
  int connect_error_ = 0;
  int send_error_ = 0;
  bool answers_held_ = false;
  int32_t descriptors_left_ = INT32_MAX;
  uint32_t accepts_left_ = UINT32_MAX;
  bool accepting_ = true;
  bool woken_ = false;

  std::deque<Peer> peers_;
  std::deque<SimPeer> backlog_;
  std::deque<SimPeer> last_;  // accepted when their listener was closed
  std::vector<ListenerId> listeners_;
  std::vector<Connection> connections_;
  std::vector<uint32_t> free_;
  std::vector<ConnectionId> closed_;
  std::vector<uint32_t> retired_;  // their Closed is in the current batch
  std::vector<Completion> completions_;
  std::deque<Address> addresses_;
  // One allocation per Received, so that a sanitizer sees who reads past it or after the next wait.
  std::vector<std::unique_ptr<char[]>> buffers_;
};

}  // namespace millrace
