// The bare floor: epoll, recv, send, a fixed answer, and no parser: what the kernel alone costs.
// Takes the length of a connection's first request for that of all others on it, so it serves a
// load maker whose requests are alike, and nobody else.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/floor_server.h"
#include "bench/program.h"
#include "core/base/counter.h"
#include "core/base/fd.h"

namespace millrace::bench {

// One thread with its epoll set; the listening socket is in all sets.
class BareLoop final {
 public:
  BareLoop(int listener, int stop, const std::string& answer)
      : listener_(listener), stop_(stop), answer_(answer), buffer_(64 * 1024) {
    // Answers to pipelined requests leave in one call, as those of the core do.
    for (size_t i = 0; i < kAnswersAtOnce; i++) answers_ += answer_;
    poll_.reset(epoll_create1(EPOLL_CLOEXEC));
    if (!poll_.is_open()) fail_call("epoll_create1");
    watch(listener_, EPOLLIN | EPOLLEXCLUSIVE);
    watch(stop_, EPOLLIN);
    thread_ = std::thread([this] { run(); });
  }
  ~BareLoop() { thread_.join(); }
  BareLoop(const BareLoop&) = delete;
  BareLoop& operator=(const BareLoop&) = delete;

  [[nodiscard]] int64_t requests() const { return requests_.get(); }
  [[nodiscard]] int64_t turns() const { return turns_.get(); }

 private:
  static constexpr size_t kAnswersAtOnce = 64;

  struct Peer {
    Fd socket;
    size_t request_bytes = 0;  // 0: not known yet
    size_t unanswered = 0;     // bytes of a request that is not whole
  };

  void watch(int fd, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) fail_call("epoll_ctl");
  }

  void run() {
    std::array<epoll_event, 256> events;
    for (;;) {
      int count = epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), -1);
      turns_.increment();
      for (int i = 0; i < count; i++) {
        int fd = events[static_cast<size_t>(i)].data.fd;
        if (fd == stop_) return;
        if (fd == listener_)
          accept_all();
        else
          serve(fd);
      }
    }
  }

  void accept_all() {
    for (;;) {
      Fd socket(accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket.is_open()) return;
      int on = 1;
      setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      watch(socket.get(), EPOLLIN);
      auto index = static_cast<size_t>(socket.get());
      if (peers_.size() <= index) peers_.resize(index + 1);
      peers_[index] = {std::move(socket)};
    }
  }

  void serve(int fd) {
    Peer& peer = peers_[static_cast<size_t>(fd)];
    ssize_t got = recv(fd, buffer_.data(), buffer_.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      peer = {};
      return;
    }
    peer.unanswered += static_cast<size_t>(got);
    if (peer.request_bytes == 0) {
      std::string_view input(buffer_.data(), static_cast<size_t>(got));
      size_t end = input.find("\r\n\r\n");
      if (end == std::string_view::npos) fail("bare: a request head came in pieces");
      peer.request_bytes = end + 4;
    }
    size_t count = peer.unanswered / peer.request_bytes;
    peer.unanswered %= peer.request_bytes;
    requests_.add(static_cast<int64_t>(count));
    for (; count > 0 && peer.socket.is_open(); count -= std::min(count, kAnswersAtOnce)) {
      answer(peer, std::min(count, kAnswersAtOnce) * answer_.size());
    }
  }

  void answer(Peer& peer, size_t size) {
    std::string_view left = std::string_view(answers_).substr(0, size);
    while (!left.empty()) {
      ssize_t sent = send(peer.socket.get(), left.data(), left.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        left.remove_prefix(static_cast<size_t>(sent));
      } else if (errno == EAGAIN) {
        pollfd room{peer.socket.get(), POLLOUT, 0};  // the load maker always reads
        static_cast<void>(::poll(&room, 1, -1));
      } else if (errno != EINTR) {
        peer = {};
        return;
      }
    }
  }

  const int listener_;
  const int stop_;
  const std::string& answer_;
  std::string answers_;
  std::vector<char> buffer_;
  std::vector<Peer> peers_;  // by descriptor
  Fd poll_;
  Counter requests_;
  Counter turns_;
  std::thread thread_;
};

class BareFloor final : public FloorServer {
 public:
  explicit BareFloor(const FloorOptions& options) : answer_(answer_of(options)) {
    listen(options.port);
    stop_.reset(eventfd(0, EFD_CLOEXEC));
    if (!stop_.is_open()) fail_call("eventfd");
    for (uint32_t i = 0; i < options.loops; i++) {
      loops_.push_back(std::make_unique<BareLoop>(listener_.get(), stop_.get(), answer_));
    }
  }
  ~BareFloor() override { BareFloor::stop(); }

  uint16_t port() const override { return port_; }
  FloorCounts counts() const override {
    FloorCounts counts = stopped_;
    for (const auto& loop : loops_) {
      counts.requests += loop->requests();
      counts.turns += loop->turns();
    }
    return counts;
  }
  void stop() override {
    uint64_t one = 1;
    if (::write(stop_.get(), &one, sizeof(one)) < 0) fail_call("write");
    FloorCounts last = counts();
    loops_.clear();
    stopped_ = last;
  }

 private:
  // As long as the core's answer, to the byte.
  static std::string answer_of(const FloorOptions& options) {
    std::string body = floor_body(options);
    return std::string("HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\n") +
           kFloorHeaders + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  void listen(uint16_t port) {
    listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!listener_.is_open()) fail_call("socket");
    int on = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    socklen_t length = sizeof(address);
    if (::bind(listener_.get(), raw, length) != 0) fail_call("bind");
    if (::listen(listener_.get(), 511) != 0) fail_call("listen");
    if (getsockname(listener_.get(), raw, &length) != 0) fail_call("getsockname");
    port_ = ntohs(address.sin_port);
  }

  std::string answer_;
  Fd listener_;
  Fd stop_;
  uint16_t port_ = 0;
  FloorCounts stopped_;
  std::vector<std::unique_ptr<BareLoop>> loops_;
};

}  // namespace millrace::bench
