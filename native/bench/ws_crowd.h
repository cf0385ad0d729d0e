// WsCrowd: the WebSockets of one process and the epoll loop that moves their bytes. What they say
// is up to its user.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/clocks.h"
#include "bench/dial.h"
#include "bench/ws_link.h"

namespace millrace::bench {

class WsCrowd final {
 public:
  WsCrowd(const BlastOptions& options, size_t count)
      : dial_(options), buffer_(1 << 18), links_(count) {
    tools_.expanded_max = options.size + 1024;
    poll_ = epoll_create1(EPOLL_CLOEXEC);
    if (poll_ < 0) fail_call("epoll_create1");
  }
  ~WsCrowd() {
    for (WsLink& link : links_) {
      if (link.fd >= 0) close(link.fd);
    }
    close(poll_);
  }
  WsCrowd(const WsCrowd&) = delete;
  WsCrowd& operator=(const WsCrowd&) = delete;

  // Opens the next one and waits for its 101. Ends the program when it is refused.
  void open(const WsHandshake& handshake) {
    WsLink& link = links_[opened_++];
    int fd = dial_.connect();
    std::string rest;
    WsExtension extension = handshake.perform(fd, rest);
    if (!rest.empty()) early_.push_back(static_cast<uint32_t>(opened_ - 1));
    link.begin(fd, extension, std::move(rest));
    live_++;
    epoll_event event = event_of(link, EPOLLIN);
    if (epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event) != 0) fail_call("epoll_ctl");
  }

  // Adds to what flush() writes.
  void send(size_t index, Opcode opcode, std::string_view message) {
    WsLink& link = links_[index];
    if (link.fd >= 0) link.send(opcode, message, tools_);
  }
  void flush(size_t index) { write_some(links_[index]); }

  // One wait of 10 ms at most: on_message(index, message, now) for each that came; what that adds
  // to its own link is written behind the last one. Returns the time.
  template <typename OnMessage>
  uint64_t turn(OnMessage&& on_message) {
    std::array<epoll_event, 256> events;
    int timeout = early_.empty() ? 10 : 0;
    int count = epoll_wait(poll_, events.data(), static_cast<int>(events.size()), timeout);
    uint64_t now = nanoseconds();
    // What came together with a 101 is in the link already.
    for (uint32_t index : early_) take(links_[index], {}, now, on_message);
    early_.clear();
    for (int i = 0; i < count; i++) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      on_event(links_[event.data.u32], event.events, now, on_message);
    }
    return now;
  }

  [[nodiscard]] size_t live() const { return live_; }
  [[nodiscard]] uint64_t broken() const { return broken_; }
  // Messages that came compressed.
  [[nodiscard]] uint64_t compressed() const { return compressed_; }
  void forget_counts() { compressed_ = 0; }

 private:
  template <typename OnMessage>
  void on_event(WsLink& link, uint32_t events, uint64_t now, OnMessage&& on_message) {
    if ((events & EPOLLOUT) != 0) write_some(link);
    if (link.fd < 0 || (events & ~static_cast<uint32_t>(EPOLLOUT)) == 0) return;
    ssize_t got = recv(link.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return give_up(link, "the server closed the connection");
    take(link, {buffer_.data(), static_cast<size_t>(got)}, now, on_message);
  }

  template <typename OnMessage>
  void take(WsLink& link, std::string_view bytes, uint64_t now, OnMessage&& on_message) {
    auto index = static_cast<size_t>(&link - links_.data());
    bool goes_on = link.receive(bytes, tools_, [&](std::string_view message, bool was_compressed) {
      if (was_compressed) compressed_++;
      on_message(index, message, now);
    });
    if (!goes_on)
      return give_up(link, link.error() == nullptr ? "the server sent a close" : link.error());
    write_some(link);
  }

  void write_some(WsLink& link) {
    while (link.fd >= 0 && link.output_sent < link.output.size()) {
      std::string_view unsent = std::string_view(link.output).substr(link.output_sent);
      ssize_t sent = ::send(link.fd, unsent.data(), unsent.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) return watch(link, true);
      if (sent < 0) return give_up(link, "the server closed the connection");
      link.output_sent += static_cast<size_t>(sent);
    }
    link.output.clear();
    link.output_sent = 0;
    if (link.fd >= 0) watch(link, false);
  }

  void watch(WsLink& link, bool for_room) {
    if (link.waits_for_room == for_room) return;
    link.waits_for_room = for_room;
    epoll_event event = event_of(link, EPOLLIN | (for_room ? EPOLLOUT : 0u));
    if (epoll_ctl(poll_, EPOLL_CTL_MOD, link.fd, &event) != 0) fail_call("epoll_ctl");
  }

  [[nodiscard]] epoll_event event_of(const WsLink& link, uint32_t events) const {
    epoll_event event{};
    event.events = events;
    event.data.u32 = static_cast<uint32_t>(&link - links_.data());
    return event;
  }

  // close() takes the descriptor out of the epoll set; nothing uses its number afterwards.
  void give_up(WsLink& link, const char* why) {
    if (broken_++ == 0) std::fprintf(stderr, "%s: %s\n", program_name, why);
    live_--;
    close(link.fd);
    link.fd = -1;
  }

  Dial dial_;
  WsTools tools_;
  std::vector<char> buffer_;
  std::vector<WsLink> links_;
  std::vector<uint32_t> early_;
  int poll_ = -1;
  size_t opened_ = 0;
  size_t live_ = 0;
  uint64_t broken_ = 0;
  uint64_t compressed_ = 0;
};

}  // namespace millrace::bench
