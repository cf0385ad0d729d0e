// blast: a load maker with its own epoll loop. Shares nothing with the core, so not its bugs.
// Keeps `depth` requests in flight on each of `connections`, checks every response against the
// first one (same bytes but for the Date value), and prints one line of JSON.
//
//   blast --port 3000 [--host 127.0.0.1] | --unix PATH   [--connections 64] [--depth 1]
//         [--seconds 5] [--warmup 0] [--method GET] [--path /] [--header "Name: value"]...
//         [--body-bytes 0] [--request FILE] [--expect-body-file FILE] [--json-histogram] [--idle N]
//
// FILE of --request holds one request as it is sent; "{n}" in it (or in path and headers) becomes a
// number of ten digits that differs from request to request. --idle: see blast_idle.h.
//
//   blast ... --ws echo|broadcast [--size 64] [--binary | --json] [--deflate]
//         [--publish-path /publish] [--gated]
//
// WebSockets (ws_echo.h, ws_broadcast.h): messages of --size bytes, each with its number, each
// verified; --depth of them on their way on each connection, or from the one that publishes.
// --gated says {"connected":N} and begins when a line comes on stdin; the connections are closed
// when stdin ends. So whoever measures the server can leave opening and closing out.
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/blast_idle.h"
#include "bench/blast_options.h"
#include "bench/clocks.h"
#include "bench/dial.h"
#include "bench/histogram.h"
#include "bench/request_template.h"
#include "bench/response_pattern.h"
#include "bench/ws_broadcast.h"
#include "bench/ws_echo.h"

namespace millrace::bench {
namespace {

struct Asked {
  uint64_t at = 0;  // when, in nanoseconds
  uint64_t number = 0;
};

struct Connection {
  int fd = -1;                   // -1: broken and closed
  bool waits_for_room = false;   // EPOLLOUT is watched
  size_t unsent = 0;             // bytes not written yet, of requests that are all alike
  std::string output;            // requests that differ, and
  size_t output_sent = 0;        // how much of them is written
  std::string input;             // the beginning of a response
  std::vector<Asked> in_flight;  // ring of `depth`
  size_t oldest = 0;
};

class Blast final {
 public:
  Blast(const BlastOptions& options, const RequestTemplate& request)
      : options_(options),
        request_(request),
        dial_(options),
        pattern_(request, expected_body_of(options)),
        buffer_(1 << 18),
        connections_(options.connections) {
    if (request.counts()) return;
    for (size_t i = 0; i < options.depth; i++) request.append_to(burst_, 0);
  }

  // The exit code of the program.
  [[nodiscard]] int run() {
    poll_ = epoll_create1(EPOLL_CLOEXEC);
    if (poll_ < 0) fail_call("epoll_create1");
    for (Connection& connection : connections_) open(connection);
    uint64_t start = nanoseconds();
    for (Connection& connection : connections_) ask(connection, options_.depth, start);
    if (options_.warmup > 0) {
      start = serve_until(start + nanoseconds_of(options_.warmup));
      latency_.clear();
    }
    uint64_t end = serve_until(start + nanoseconds_of(options_.seconds));
    report(static_cast<double>(end - start) / 1e9);
    for (Connection& connection : connections_) {
      if (connection.fd >= 0) close(connection.fd);
    }
    close(poll_);
    return wrong_ + broken_ == 0 && latency_.count() > 0 ? 0 : 1;
  }

 private:
  void open(Connection& connection) {
    connection.fd = dial_.connect();
    connection.in_flight.resize(options_.depth);
    live_++;
    epoll_event event = event_of(connection, EPOLLIN);
    if (epoll_ctl(poll_, EPOLL_CTL_ADD, connection.fd, &event) != 0) fail_call("epoll_ctl");
  }

  // Returns when it ended.
  uint64_t serve_until(uint64_t end) {
    std::array<epoll_event, 256> events;
    uint64_t now = nanoseconds();
    while (now < end && live_ > 0) {
      int count = epoll_wait(poll_, events.data(), static_cast<int>(events.size()), 10);
      now = nanoseconds();
      for (int i = 0; i < count; i++) {
        const epoll_event& event = events[static_cast<size_t>(i)];
        on_event(connections_[event.data.u32], event.events, now);
      }
    }
    return now;
  }

  void on_event(Connection& connection, uint32_t events, uint64_t now) {
    if ((events & EPOLLOUT) != 0) write_some(connection);
    if (connection.fd < 0 || (events & ~static_cast<uint32_t>(EPOLLOUT)) == 0) return;
    ssize_t got = recv(connection.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return give_up(connection);
    std::string_view input(buffer_.data(), static_cast<size_t>(got));
    if (!connection.input.empty()) {
      connection.input.append(input);
      input = connection.input;
    }
    size_t answered = 0;
    size_t used = take_answers(connection, input, now, answered);
    if (used < input.size() && answered == options_.depth) {
      wrong_++;  // more was answered than asked
      return give_up(connection);
    }
    std::string rest(input.substr(used));
    connection.input.swap(rest);
    if (answered > 0) ask(connection, answered, now);
  }

  // Returns the bytes of whole responses.
  size_t take_answers(Connection& connection, std::string_view input, uint64_t now,
                      size_t& answered) {
    size_t used = 0;
    while (answered < options_.depth) {
      const Asked& asked = connection.in_flight[connection.oldest];
      bool right = false;
      size_t length = pattern_.match(input.substr(used), asked.number, right);
      if (length == 0) break;
      if (!right) wrong_++;
      latency_.add(now - asked.at);
      connection.oldest = (connection.oldest + 1) % options_.depth;
      used += length;
      answered++;
    }
    return used;
  }

  void ask(Connection& connection, size_t count, uint64_t now) {
    size_t depth = options_.depth;
    for (size_t i = 0; i < count; i++) {
      Asked& asked = connection.in_flight[(connection.oldest + depth - count + i) % depth];
      asked = {now, next_number_++};
      if (request_.counts()) request_.append_to(connection.output, asked.number);
    }
    if (!request_.counts()) connection.unsent += count * request_.size();
    write_some(connection);
  }

  // Requests that are all alike need no copy: the unsent bytes are the end of a burst.
  [[nodiscard]] std::string_view unsent_of(const Connection& connection) const {
    if (request_.counts())
      return std::string_view(connection.output).substr(connection.output_sent);
    return std::string_view(burst_).substr(burst_.size() - connection.unsent);
  }

  void write_some(Connection& connection) {
    for (;;) {
      std::string_view unsent = unsent_of(connection);
      if (unsent.empty()) break;
      ssize_t sent = send(connection.fd, unsent.data(), unsent.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) return watch(connection, true);
      if (sent < 0) return give_up(connection);
      if (request_.counts()) {
        connection.output_sent += static_cast<size_t>(sent);
      } else {
        connection.unsent -= static_cast<size_t>(sent);
      }
    }
    connection.output.clear();
    connection.output_sent = 0;
    watch(connection, false);
  }

  void watch(Connection& connection, bool for_room) {
    if (connection.waits_for_room == for_room) return;
    connection.waits_for_room = for_room;
    epoll_event event = event_of(connection, EPOLLIN | (for_room ? EPOLLOUT : 0u));
    if (epoll_ctl(poll_, EPOLL_CTL_MOD, connection.fd, &event) != 0) fail_call("epoll_ctl");
  }

  [[nodiscard]] epoll_event event_of(const Connection& connection, uint32_t events) const {
    epoll_event event{};
    event.events = events;
    event.data.u32 = static_cast<uint32_t>(&connection - connections_.data());
    return event;
  }

  // close() takes the descriptor out of the epoll set; nothing uses its number afterwards.
  void give_up(Connection& connection) {
    broken_++;
    live_--;
    close(connection.fd);
    connection.fd = -1;
    connection.unsent = 0;
    connection.output.clear();
    connection.output_sent = 0;
  }

  void report(double elapsed) const {
    auto microseconds = [this](double share) {
      return static_cast<double>(latency_.quantile(share)) / 1e3;
    };
    std::printf(
        "{\"requests\":%llu,\"wrong\":%llu,\"broken\":%llu,\"seconds\":%.3f,\"rps\":%.0f,"
        "\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,"
        "\"mean_us\":%.1f",
        static_cast<unsigned long long>(latency_.count()), static_cast<unsigned long long>(wrong_),
        static_cast<unsigned long long>(broken_), elapsed,
        static_cast<double>(latency_.count()) / elapsed, microseconds(0.5), microseconds(0.9),
        microseconds(0.99), microseconds(0.999), static_cast<double>(latency_.max()) / 1e3,
        latency_.mean() / 1e3);
    if (options_.histogram) {
      std::printf(",\"histogram_us\":");
      latency_.print_buckets(stdout, 1e3);
    }
    std::printf("}\n");
  }

  const BlastOptions& options_;
  const RequestTemplate& request_;
  Dial dial_;
  ResponsePattern pattern_;
  std::vector<char> buffer_;
  std::vector<Connection> connections_;
  std::string burst_;
  int poll_ = -1;
  size_t live_ = 0;
  uint64_t next_number_ = RequestTemplate::kFirstNumber;
  Histogram latency_;
  uint64_t wrong_ = 0;
  uint64_t broken_ = 0;
};

}  // namespace
}  // namespace millrace::bench

int main(int count, char** words) {
  using namespace millrace::bench;  // NOLINT: the whole program is of that namespace
  BlastOptions options = read_blast_options(count, words);
  raise_descriptor_limit();
  if (options.ws == "broadcast") return std::make_unique<WsBroadcast>(options)->run();
  if (options.ws == "echo" && options.idle > 0) return std::make_unique<WsIdle>(options)->run();
  if (options.ws == "echo") return std::make_unique<WsEcho>(options)->run();
  RequestTemplate request(request_text_of(options));
  if (options.idle > 0) return std::make_unique<IdleCrowd>(options, request)->run();
  return std::make_unique<Blast>(options, request)->run();
}
