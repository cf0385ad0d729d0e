// A server on real sockets of 127.0.0.1, a thread per lane that answers, and a blocking client.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/server/server.h"
#include "test/loop_rig.h"

namespace millrace::test {

// True as soon as the condition holds; false when it never does within ten seconds.
template <typename Condition>
bool eventually(Condition condition) {
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

inline void limit_waiting(int fd) {
  timeval limit{10, 0};
  static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
  static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
}

inline bool connect_socket(Fd& socket, uint16_t port) {
  limit_waiting(socket.get());
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

inline Fd connect_to(uint16_t port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connect_socket(socket, port)) socket.reset();
  return socket;
}

inline Fd connect_to(const std::string& path) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  limit_waiting(socket.get());
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size() + 1, sizeof(address.sun_path)));
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket.get(), raw, sizeof(address)) != 0) socket.reset();
  return socket;
}

inline bool send_all(const Fd& socket, const std::string& bytes) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    ssize_t count = ::send(socket.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return false;
    sent += static_cast<size_t>(count);
  }
  return true;
}

// Reads until `part` has been seen `count` times; what came until then or until the end.
inline std::string read_until(const Fd& socket, const std::string& part, size_t count = 1) {
  std::string all;
  char buffer[16 * 1024];
  while (count_of(all, part) < count) {
    ssize_t got = ::recv(socket.get(), buffer, sizeof(buffer), 0);
    if (got <= 0) break;
    all.append(buffer, static_cast<size_t>(got));
  }
  return all;
}

// One request and its answer on a connection of its own.
template <typename Where>
std::string ask(const Where& where, const std::string& target) {
  Fd socket = connect_to(where);
  if (!socket.is_open() || !send_all(socket, get(target))) return "";
  return read_until(socket, target);
}

// The consumer of one lane on a thread of its own: answers each request with its target, until it
// is told to stop.
class LaneConsumer final {
 public:
  explicit LaneConsumer(Lane& lane) : lane_(lane) {
    lane.js_bell.set_wake([](void* who) { static_cast<LaneConsumer*>(who)->wakes_.release(); },
                          this);
    lane.js_bell.fall_asleep();
    thread_ = std::thread([this] { run(); });
  }
  LaneConsumer(const LaneConsumer&) = delete;
  LaneConsumer& operator=(const LaneConsumer&) = delete;
  ~LaneConsumer() { stop(); }

  void stop() {
    if (!thread_.joinable()) return;
    stopping_.store(true);
    wakes_.release();
    thread_.join();
  }
  [[nodiscard]] uint64_t requests() const { return requests_.load(); }
  [[nodiscard]] uint64_t aborted() const { return aborted_.load(); }
  [[nodiscard]] uint64_t drained() const { return drained_.load(); }

 private:
  void run() {
    while (!stopping_.load()) {
      std::vector<Taken> batch = take_events(lane_, 64);
      for (const Taken& taken : batch) answer(taken);
      if (!batch.empty()) continue;
      lane_.js_bell.fall_asleep();
      if (lane_.events.is_empty()) wakes_.acquire();
      lane_.js_bell.stay_awake();
    }
  }
  void answer(const Taken& taken) {
    if (taken.kind == EventKind::Aborted) aborted_++;
    if (taken.kind == EventKind::Drained) drained_++;
    if (taken.kind != EventKind::Request) return;
    requests_++;
    while (!put_response(lane_, taken.id, taken.target + taken.body) && !stopping_.load()) {
      std::this_thread::yield();
    }
  }

  Lane& lane_;
  std::counting_semaphore<> wakes_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> requests_{0};
  std::atomic<uint64_t> aborted_{0};
  std::atomic<uint64_t> drained_{0};
  std::thread thread_;
};

inline ServerOptions options_of(uint32_t loops, std::vector<ListenRequest> requests) {
  ServerOptions options;
  options.loops = loops;
  for (ListenRequest& request : requests) options.listeners.push_back({std::move(request)});
  Route handler;
  handler.kind = RouteKind::Handler;
  options.routes.fallback = std::move(handler);
  return options;
}

inline ListenRequest tcp(uint16_t port = 0) { return {.host = "127.0.0.1", .port = port}; }

// A started server with its answerers; stops the server before them.
class Running final {
 public:
  explicit Running(ServerOptions options) {
    server_ = Server::open(std::move(options), failure_);
    if (server_ == nullptr) return;
    for (size_t i = 0; i < server_->loop_count(); i++) {
      answerers_.push_back(std::make_unique<LaneConsumer>(server_->loop(i).lane()));
    }
    EXPECT(server_->start().is_ok());
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (server_ != nullptr) server_->stop();
    answerers_.clear();
  }

  [[nodiscard]] bool is_open() const { return server_ != nullptr; }
  [[nodiscard]] const OpenFailure& failure() const { return failure_; }
  [[nodiscard]] Server& server() { return *server_; }
  [[nodiscard]] uint16_t port(size_t listener = 0) const {
    return server_->addresses()[listener].port;
  }
  [[nodiscard]] LaneConsumer& answerer(size_t index) { return *answerers_[index]; }
  [[nodiscard]] uint64_t sum(uint64_t (LaneConsumer::*what)() const) const {
    uint64_t all = 0;
    for (const auto& answerer : answerers_) all += (answerer.get()->*what)();
    return all;
  }
  [[nodiscard]] int64_t sum(Counter Stats::*what) const {
    int64_t all = 0;
    for (size_t i = 0; i < server_->loop_count(); i++) {
      all += (server_->loop(i).stats_view().*what).get();
    }
    return all;
  }

 private:
  OpenFailure failure_;
  std::unique_ptr<Server> server_;
  std::vector<std::unique_ptr<LaneConsumer>> answerers_;
};

}  // namespace millrace::test
