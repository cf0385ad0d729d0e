// A poller under test with the far ends of its connections: real sockets for every back end of this
// platform, and sim. Used by poll_test.cpp, poll_dial_test.cpp and poll_file_test.cpp.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "core/poll/listen.h"
#include "core/poll/poller.h"
#include "core/poll/sim.h"
#include "test/harness.h"

namespace millrace::test {

constexpr ListenerId kListener = 7;
constexpr int kTriesMax =
    300;  // of 20 ms each on sockets; nothing waits that long when all is well

struct SeenCompletion {
  CompletionKind kind;
  ListenerId listener;
  int error;
  ConnectionId id;
  std::string bytes;
  std::string peer;
};

enum class PeerEnd { Open, Closed, Reset };

// A poller with one listener, and the far ends of its connections.
class PollRig {
 public:
  virtual ~PollRig() = default;
  virtual Poller& poller() = 0;
  virtual bool is_sim() const = 0;
  virtual size_t connect() = 0;
  // The other way round: the poller calls a peer, which is there to be used from answer() on.
  virtual ConnectionId dial() = 0;
  virtual size_t answer(ConnectionId id) = 0;
  virtual Result<ConnectionId> dial_nobody() = 0;  // ECONNREFUSED, at once or later
  virtual ConnectionId dial_silence() = 0;         // no answer ever
  virtual void write(size_t peer, Bytes bytes) = 0;
  virtual std::string read(size_t peer) = 0;  // what is there now
  virtual PeerEnd end(size_t peer) = 0;       // after everything was read
  virtual void half_close(size_t peer) = 0;
  virtual void reset(size_t peer) = 0;
  virtual void narrow() = 0;            // connections from now on buffer little
  virtual void widen(size_t peer) = 0;  // the peer goes on taking

  std::vector<SeenCompletion> seen;

  size_t count(CompletionKind kind) const {
    auto fits = [kind](const SeenCompletion& one) { return one.kind == kind; };
    return static_cast<size_t>(std::count_if(seen.begin(), seen.end(), fits));
  }
  const SeenCompletion& last(CompletionKind kind) const {
    static const SeenCompletion none{};
    for (auto one = seen.rbegin(); one != seen.rend(); ++one) {
      if (one->kind == kind) return *one;
    }
    return none;
  }
  std::string received(ConnectionId id) const {
    std::string all;
    for (const SeenCompletion& one : seen) {
      if (one.kind == CompletionKind::Received && one.id == id) all += one.bytes;
    }
    return all;
  }
  size_t wait(Milliseconds at_most) {
    std::span<const Completion> batch = poller().wait(at_most);
    for (const Completion& one : batch) {
      EXPECT(one.kind != CompletionKind::Received || !one.bytes.empty());
      EXPECT((one.kind == CompletionKind::Accepted) == (one.peer != nullptr));
      seen.push_back({one.kind, one.listener, one.error, one.id,
                      std::string(one.bytes.data(), one.bytes.size()),
                      one.peer != nullptr ? std::string(one.peer->view()) : std::string()});
    }
    return batch.size();
  }
  bool until(CompletionKind kind, size_t times = 1) {
    for (int i = 0; i < kTriesMax && count(kind) < times; i++) wait(20);
    return count(kind) >= times;
  }
  bool until_received(ConnectionId id, size_t size) {
    for (int i = 0; i < kTriesMax && received(id).size() < size; i++) wait(20);
    return received(id).size() == size;
  }
  // Nothing is reported, and the waits take their time: the poller does not spin.
  void expect_quiet() {
    // What is under way may still arrive.
    for (int i = 0; i < 100 && wait(5) > 0; i++) continue;
    size_t before = seen.size();
    Milliseconds started = poller().now();
    for (int i = 0; i < 3; i++) wait(15);
    EXPECT(seen.size() == before);
    EXPECT(is_sim() || poller().now() - started >= 30);
  }
  // Something may be reported, as when a kernel's probe of a shut window gets a few bytes through.
  void expect_calm() {
    if (is_sim()) return;
    int waits = 0;
    for (Milliseconds end = poller().now() + 60; poller().now() < end; waits++) wait(15);
    EXPECT(waits < 30);
  }
  std::string read_all(size_t peer, size_t size) {
    std::string all;
    for (int i = 0; i < kTriesMax && all.size() < size; i++) {
      all += read(peer);
      if (all.size() < size) wait(20);
    }
    return all;
  }
  bool ends(size_t peer, PeerEnd how) {
    for (int i = 0; i < kTriesMax && end(peer) == PeerEnd::Open; i++) wait(20);
    return end(peer) == how;
  }
  struct Pair {
    size_t peer;
    ConnectionId id;
  };
  Pair accepted() {
    size_t peer = connect();
    EXPECT(until(CompletionKind::Accepted, count(CompletionKind::Accepted) + 1));
    return {peer, last(CompletionKind::Accepted).id};
  }
};

class SimPollRig final : public PollRig {
 public:
  SimPollRig() { EXPECT(sim_.listen(kListener, Fd()).is_ok()); }
  Poller& poller() override { return sim_; }
  bool is_sim() const override { return true; }
  size_t connect() override {
    SimPeer peer = sim_.connect(kListener);
    if (narrow_) sim_.limit_window(peer, 1000);
    return peer;
  }
  ConnectionId dial() override {
    sim_.hold_answers(true);
    return sim_.connect(DialTarget{.address = "192.0.2.9", .port = 80}).value();
  }
  size_t answer(ConnectionId id) override {
    SimPeer peer = sim_.dialed(id);
    if (narrow_) sim_.limit_window(peer, 1000);
    sim_.answer(peer);
    return peer;
  }
  Result<ConnectionId> dial_nobody() override {
    ConnectionId id = dial();
    sim_.answer(sim_.dialed(id), ECONNREFUSED);
    return id;
  }
  ConnectionId dial_silence() override { return dial(); }
  void write(size_t peer, Bytes bytes) override { sim_.write(number(peer), bytes); }
  std::string read(size_t peer) override { return sim_.read(number(peer)); }
  PeerEnd end(size_t peer) override {
    if (sim_.saw_reset(number(peer))) return PeerEnd::Reset;
    bool closed = sim_.saw_close(number(peer)) || sim_.saw_half_close(number(peer));
    return closed ? PeerEnd::Closed : PeerEnd::Open;
  }
  void half_close(size_t peer) override { sim_.half_close(number(peer)); }
  void reset(size_t peer) override { sim_.reset(number(peer)); }
  void narrow() override { narrow_ = true; }
  void widen(size_t peer) override { sim_.limit_window(number(peer), 100'000); }

 private:
  static SimPeer number(size_t peer) { return static_cast<SimPeer>(peer); }
  Sim sim_;
  bool narrow_ = false;
};

class SocketPollRig final : public PollRig {
 public:
  explicit SocketPollRig(std::unique_ptr<Poller> poller) : poller_(std::move(poller)) {
    Result<Fd> made = make_listener({.host = "127.0.0.1"});
    EXPECT(made.is_ok());
    listener_ = made.value().duplicate();
    port_ = listener_address(listener_).value().port;
    EXPECT(poller_->listen(kListener, made.take()).is_ok());
    called_ = make_listener({.host = "127.0.0.1"}).take();
  }
  Poller& poller() override { return *poller_; }
  bool is_sim() const override { return false; }
  size_t connect() override {
    Fd peer(::socket(AF_INET, SOCK_STREAM, 0));
    int bytes = 4096;
    if (narrow_) ::setsockopt(peer.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto* raw = reinterpret_cast<const sockaddr*>(&address);
    EXPECT(::connect(peer.get(), raw, sizeof(address)) == 0);
    peers_.push_back(std::move(peer));
    ends_.push_back(PeerEnd::Open);
    return peers_.size() - 1;
  }
  ConnectionId dial() override { return poller_->connect(target_of(called_)).value(); }
  size_t answer(ConnectionId) override {
    pollfd one = {.fd = called_.get(), .events = POLLIN, .revents = 0};
    EXPECT(::poll(&one, 1, kTriesMax * 20) == 1);
    peers_.emplace_back(::accept(called_.get(), nullptr, nullptr));
    EXPECT(peers_.back().is_open());
    ends_.push_back(PeerEnd::Open);
    return peers_.size() - 1;
  }
  // The port is bound, so that nobody else, the caller included, comes to have it.
  Result<ConnectionId> dial_nobody() override {
    nobody_ = Fd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto* raw = reinterpret_cast<const sockaddr*>(&address);
    EXPECT(::bind(nobody_.get(), raw, sizeof(address)) == 0);
    return poller_->connect(target_of(nobody_));
  }
  // A full backlog drops who knocks: on Linux, where it is as long as it was said to be.
  ConnectionId dial_silence() override {
    silence_ = make_listener({.host = "127.0.0.1", .backlog = 0}).take();
    ConnectionId first = poller_->connect(target_of(silence_)).value();
    size_t connected = count(CompletionKind::Connected);
    EXPECT(until(CompletionKind::Connected, connected + 1));
    EXPECT(last(CompletionKind::Connected).id == first);
    return poller_->connect(target_of(silence_)).value();
  }
  void write(size_t peer, Bytes bytes) override {
    ssize_t sent = ::send(peers_[peer].get(), bytes.data(), bytes.size(), 0);
    EXPECT(sent == static_cast<ssize_t>(bytes.size()));
  }
  std::string read(size_t peer) override {
    std::string all;
    char buffer[16384];
    while (true) {
      ssize_t size = ::recv(peers_[peer].get(), buffer, sizeof(buffer), MSG_DONTWAIT);
      if (size == 0 && ends_[peer] == PeerEnd::Open) ends_[peer] = PeerEnd::Closed;
      if (size < 0 && errno == ECONNRESET) ends_[peer] = PeerEnd::Reset;
      if (size <= 0) return all;
      all.append(buffer, static_cast<size_t>(size));
    }
  }
  PeerEnd end(size_t peer) override {
    static_cast<void>(read(peer));
    return ends_[peer];
  }
  void half_close(size_t peer) override { ::shutdown(peers_[peer].get(), SHUT_WR); }
  void reset(size_t peer) override {
    linger at_once = {.l_onoff = 1, .l_linger = 0};
    ::setsockopt(peers_[peer].get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    peers_[peer].reset();
  }
  void narrow() override {
    narrow_ = true;
    int bytes = 4096;  // accepted sockets inherit it
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
  }
  void widen(size_t) override {}

  const Fd& listener() const { return listener_; }
  const Fd& peer(size_t index) const { return peers_[index]; }
  uint16_t port() const { return port_; }

 private:
  static DialTarget target_of(const Fd& socket) {
    return {.address = "127.0.0.1", .port = listener_address(socket).value().port};
  }

  std::unique_ptr<Poller> poller_;
  Fd listener_;
  Fd called_;
  Fd nobody_;
  Fd silence_;
  uint16_t port_ = 0;
  std::vector<Fd> peers_;
  std::vector<PeerEnd> ends_;
  bool narrow_ = false;
};

inline void each_socket_rig(void (*run)(SocketPollRig& rig)) {
  for (const PollerBackEnd& back_end : poller_back_ends()) {
    context = back_end.name;
    Result<std::unique_ptr<Poller>> made = back_end.make();
    EXPECT(made.is_ok());
    if (!made.is_ok()) continue;
    EXPECT(std::string(back_end.name) == made.value()->name());
    SocketPollRig rig(made.take());
    run(rig);
  }
}

template <typename Run>
void each_rig(Run run) {
  each_socket_rig([](SocketPollRig& rig) { Run{}(rig); });
  context = "sim";
  SimPollRig rig;
  run(rig);
}

inline std::string letters(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; i++) text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return text;
}

inline bool has_errors_while_paused(PollRig& rig) {
  return std::string(rig.poller().name()) != "kqueue";
}

}  // namespace millrace::test
