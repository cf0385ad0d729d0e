// blast: a load maker with its own epoll loop. Shares nothing with the core, so not its bugs.
// Keeps `depth` requests in flight on each of `connections`, checks every response against the
// first one (same bytes but for the Date value), and prints one line of JSON.
//
//   blast --port 3000 [--host 127.0.0.1] [--connections 64] [--depth 1] [--seconds 5] [--path /]
//         [--header "Name: value"]... [--body-bytes 0]
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr size_t kDateLength = 29;  // "Sat, 21 Nov 2026 05:00:00 GMT"

struct Options {
  std::string host = "127.0.0.1";
  int port = 0;
  int connections = 64;
  int depth = 1;
  double seconds = 5;
  std::string path = "/";
  std::string headers;
  size_t body_bytes = 0;
};

struct Connection {
  int fd = -1;
  size_t unsent = 0;              // bytes of the request text not written yet
  std::string input;              // the beginning of a response
  std::vector<uint64_t> sent_at;  // ring of `depth` start times
  size_t oldest = 0;
};

// Buckets of equal ratio: 64 per doubling, from 1 µs on.
class Histogram {
 public:
  void add(uint64_t nanoseconds) {
    double microseconds = static_cast<double>(nanoseconds) / 1000.0;
    size_t bucket = 0;
    while (microseconds >= 2.0 && bucket + 64 < counts_.size() - 64) {
      microseconds /= 2.0;
      bucket += 64;
    }
    bucket += static_cast<size_t>(std::clamp((microseconds - 1.0) * 64.0, 0.0, 63.0));
    counts_[bucket]++;
    total_++;
  }
  [[nodiscard]] double quantile(double share) const {
    auto rank = static_cast<uint64_t>(share * static_cast<double>(total_));
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); i++) {
      seen += counts_[i];
      if (seen > rank)
        return static_cast<double>(1ull << (i / 64)) * (1.0 + static_cast<double>(i % 64) / 64.0);
    }
    return 0;
  }

 private:
  std::array<uint64_t, 64 * 32> counts_{};
  uint64_t total_ = 0;
};

uint64_t nanoseconds() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000ull +
         static_cast<uint64_t>(time.tv_nsec);
}

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "blast: %s: %s\n", what, std::strerror(errno));
  std::exit(2);
}

// Knows one response by heart: the first one.
class Pattern {
 public:
  // Bytes of the first whole response in `input`; 0: incomplete. Learns it when it is the first.
  size_t match(std::string_view input, bool& right) {
    if (length_ == 0 && !learn(input)) return 0;
    if (input.size() < length_) return 0;
    right = same(input);
    return length_;
  }

 private:
  bool learn(std::string_view input) {
    size_t end = input.find("\r\n\r\n");
    if (end == std::string_view::npos) return false;
    std::string head(input.substr(0, end));
    std::transform(head.begin(), head.end(), head.begin(),
                   [](char c) { return static_cast<char>(std::tolower(c)); });
    size_t at = head.find("\r\ncontent-length:");
    if (at == std::string::npos || head.compare(0, 12, "http/1.1 200") != 0) {
      std::fprintf(stderr, "blast: not a 200 with Content-Length:\n%.*s\n", static_cast<int>(end),
                   input.data());
      std::exit(2);
    }
    size_t total = end + 4 + std::strtoul(head.c_str() + at + 17, nullptr, 10);
    if (input.size() < total) return false;
    text_ = input.substr(0, total);
    size_t date = head.find("\r\ndate: ");
    date_ = date == std::string::npos ? total : date + 8;
    length_ = total;
    return true;
  }
  [[nodiscard]] bool same(std::string_view input) const {
    if (date_ == length_) return std::memcmp(input.data(), text_.data(), length_) == 0;
    size_t after = date_ + kDateLength;
    return std::memcmp(input.data(), text_.data(), date_) == 0 &&
           std::memcmp(input.data() + after, text_.data() + after, length_ - after) == 0;
  }

  std::string text_;
  size_t date_ = 0;
  size_t length_ = 0;
};

class Blast {
 public:
  explicit Blast(Options options) : options_(std::move(options)) {
    request_ = (options_.body_bytes > 0 ? "POST " : "GET ") + options_.path +
               " HTTP/1.1\r\nHost: " + options_.host + "\r\n" + options_.headers;
    if (options_.body_bytes > 0)
      request_ += "Content-Length: " + std::to_string(options_.body_bytes) + "\r\n";
    request_ += "\r\n" + std::string(options_.body_bytes, 'x');
    for (int i = 0; i < options_.depth; i++) burst_ += request_;
  }

  int run() {
    poll_ = epoll_create1(0);
    connections_.resize(static_cast<size_t>(options_.connections));
    for (Connection& connection : connections_) open(connection);
    uint64_t start = nanoseconds();
    uint64_t end = start + static_cast<uint64_t>(options_.seconds * 1e9);
    for (Connection& connection : connections_)
      send_requests(connection, static_cast<size_t>(options_.depth), start);
    std::array<epoll_event, 256> events;
    uint64_t now = start;
    while (now < end) {
      int count = epoll_wait(poll_, events.data(), static_cast<int>(events.size()), 100);
      now = nanoseconds();
      for (int i = 0; i < count; i++)
        on_event(connections_[events[static_cast<size_t>(i)].data.u32],
                 events[static_cast<size_t>(i)].events, now);
    }
    double elapsed = static_cast<double>(now - start) / 1e9;
    std::printf(
        "{\"requests\":%llu,\"wrong\":%llu,\"broken\":%llu,\"seconds\":%.3f,\"rps\":%.0f,\"p50_"
        "us\":%.0f,\"p99_us\":%.0f}\n",
        static_cast<unsigned long long>(responses_), static_cast<unsigned long long>(wrong_),
        static_cast<unsigned long long>(broken_), elapsed,
        static_cast<double>(responses_) / elapsed, latency_.quantile(0.50),
        latency_.quantile(0.99));
    return wrong_ + broken_ == 0 && responses_ > 0 ? 0 : 1;
  }

 private:
  void open(Connection& connection) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(options_.port));
    if (inet_pton(AF_INET, options_.host.c_str(), &address.sin_addr) != 1) die("host");
    connection.fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection.fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
      die("connect");
    int on = 1;
    setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connection.sent_at.resize(static_cast<size_t>(options_.depth));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = static_cast<uint32_t>(&connection - connections_.data());
    epoll_ctl(poll_, EPOLL_CTL_ADD, connection.fd, &event);
  }

  void send_requests(Connection& connection, size_t count, uint64_t now) {
    size_t depth = connection.sent_at.size();
    for (size_t i = 0; i < count; i++)
      connection.sent_at[(connection.oldest + depth - count + i) % depth] = now;
    connection.unsent += count * request_.size();
    write_some(connection);
  }

  void write_some(Connection& connection) {
    while (connection.unsent > 0) {
      // All requests are alike: the unsent bytes are a suffix of a burst.
      size_t part = std::min(connection.unsent, burst_.size());
      const char* from = burst_.data() + burst_.size() - part;
      ssize_t sent = send(connection.fd, from, part, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0) return watch(connection, errno == EAGAIN);
      connection.unsent -= static_cast<size_t>(sent);
    }
    if (connection.unsent == 0) watch(connection, false);
  }

  void watch(Connection& connection, bool writable) {
    if (!writable && !waits_for_room_) return;
    waits_for_room_ = true;
    epoll_event event{};
    event.events = EPOLLIN | (writable ? EPOLLOUT : 0u);
    event.data.u32 = static_cast<uint32_t>(&connection - connections_.data());
    epoll_ctl(poll_, EPOLL_CTL_MOD, connection.fd, &event);
  }

  void on_event(Connection& connection, uint32_t events, uint64_t now) {
    if ((events & EPOLLOUT) != 0) write_some(connection);
    if ((events & ~static_cast<uint32_t>(EPOLLOUT)) == 0) return;
    ssize_t got = recv(connection.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      broken_++;
      close(connection.fd);
      return;
    }
    std::string_view input(buffer_.data(), static_cast<size_t>(got));
    if (!connection.input.empty()) {
      connection.input.append(input);
      input = connection.input;
    }
    size_t used = 0;
    size_t answered = 0;
    bool right = true;
    while (size_t length = pattern_.match(input.substr(used), right)) {
      if (!right) wrong_++;
      latency_.add(now - connection.sent_at[connection.oldest]);
      connection.oldest = (connection.oldest + 1) % connection.sent_at.size();
      used += length;
      answered++;
    }
    responses_ += answered;
    std::string rest(input.substr(used));
    connection.input.swap(rest);
    if (answered > 0) send_requests(connection, answered, now);
  }

  Options options_;
  std::string request_;
  std::string burst_;
  int poll_ = -1;
  bool waits_for_room_ = false;
  std::vector<Connection> connections_;
  std::array<char, 1 << 18> buffer_;
  Pattern pattern_;
  Histogram latency_;
  uint64_t responses_ = 0;
  uint64_t wrong_ = 0;
  uint64_t broken_ = 0;
};

Options read_options(int count, char** words) {
  Options options;
  for (int i = 1; i + 1 < count; i += 2) {
    std::string_view name = words[i];
    const char* value = words[i + 1];
    if (name == "--host")
      options.host = value;
    else if (name == "--port")
      options.port = std::atoi(value);
    else if (name == "--connections")
      options.connections = std::atoi(value);
    else if (name == "--depth")
      options.depth = std::atoi(value);
    else if (name == "--seconds")
      options.seconds = std::atof(value);
    else if (name == "--path")
      options.path = value;
    else if (name == "--header")
      options.headers += std::string(value) + "\r\n";
    else if (name == "--body-bytes")
      options.body_bytes = static_cast<size_t>(std::atoll(value));
    else {
      std::fprintf(stderr, "blast: unknown option %s\n", words[i]);
      std::exit(2);
    }
  }
  if (options.port <= 0 || options.connections <= 0 || options.depth <= 0) {
    std::fprintf(stderr, "blast: --port, --connections and --depth must be positive\n");
    std::exit(2);
  }
  return options;
}

}  // namespace

int main(int count, char** words) {
  auto* blast = new Blast(read_options(count, words));  // too large for the stack
  return blast->run();
}
