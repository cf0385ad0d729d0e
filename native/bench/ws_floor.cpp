// ws_floor: what a WebSocket message costs the kernel: epoll, recv, unmask, send. Checks nothing,
// answers every handshake as if its key were that of ws_handshake.h, and takes no fragments; so it
// serves blast and nobody else.
//
//   ws_floor [--port 0]
//
// Paths are those of bench/servers/ws-*.mjs. Prints {"port":N}, then the CPU time of the process
// for each line of stdin, until that ends.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/clocks.h"
#include "bench/dial.h"
#include "bench/program.h"
#include "bench/ws_frame.h"

namespace millrace::bench {
namespace {

// One thread, one epoll set.
class WsFloor final {
 public:
  explicit WsFloor(uint16_t port) : buffer_(1 << 18) {
    poll_ = epoll_create1(EPOLL_CLOEXEC);
    if (poll_ < 0) fail_call("epoll_create1");
    listen(port);
    watch(listener_);
    watch(STDIN_FILENO);
  }
  ~WsFloor() { close(poll_); }
  WsFloor(const WsFloor&) = delete;
  WsFloor& operator=(const WsFloor&) = delete;

  void run() {
    std::array<epoll_event, 256> events;
    for (;;) {
      int count = epoll_wait(poll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; i++) {
        int fd = events[static_cast<size_t>(i)].data.fd;
        if (fd == listener_) {
          accept_all();
        } else if (fd != STDIN_FILENO) {
          serve(fd);
        } else if (!answer_lines()) {
          return;
        }
      }
    }
  }

 private:
  enum class Role : uint8_t { Shaking, Echo, Subscriber, Publisher };
  struct Peer {
    Role role = Role::Shaking;
    std::string input;  // the beginning of a frame, or of the handshake
  };

  void listen(uint16_t port) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener_ < 0) fail_call("socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    socklen_t length = sizeof(address);
    if (::bind(listener_, raw, length) != 0) fail_call("bind");
    if (::listen(listener_, 511) != 0) fail_call("listen");
    if (getsockname(listener_, raw, &length) != 0) fail_call("getsockname");
    std::printf("{\"port\":%d}\n", ntohs(address.sin_port));
    std::fflush(stdout);
  }

  void watch(int fd) const {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event) != 0) fail_call("epoll_ctl");
  }

  // False when stdin has ended.
  [[nodiscard]] static bool answer_lines() {
    std::array<char, 256> input;
    ssize_t got = ::read(STDIN_FILENO, input.data(), input.size());
    if (got <= 0) return false;
    for (auto lines = std::count(input.begin(), input.begin() + got, '\n'); lines > 0; lines--) {
      CpuTime cpu = cpu_time();
      std::printf("{\"user_us\":%lld,\"system_us\":%lld}\n", static_cast<long long>(cpu.user_us),
                  static_cast<long long>(cpu.system_us));
    }
    std::fflush(stdout);
    return true;
  }

  void accept_all() {
    for (;;) {
      int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      auto index = static_cast<size_t>(fd);
      if (peers_.size() <= index) peers_.resize(index + 1);
      peers_[index] = {};
      watch(fd);
    }
  }

  void serve(int fd) {
    ssize_t got = recv(fd, buffer_.data(), buffer_.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return leave(fd);
    Peer& peer = peers_[static_cast<size_t>(fd)];
    char* input = buffer_.data();
    auto size = static_cast<size_t>(got);
    std::string kept;
    if (!peer.input.empty()) {
      kept.swap(peer.input);
      kept.append(input, size);
      input = kept.data();
      size = kept.size();
    }
    if (peer.role == Role::Shaking) return shake(fd, {input, size});
    output_.clear();
    size_t used = take_frames(input, size);
    peer.input.assign(input + used, size - used);
    if (peer.role == Role::Echo) send_all(fd, output_);
    if (peer.role != Role::Publisher) return;
    for (int subscriber : subscribers_) send_all(subscriber, output_);
  }

  void shake(int fd, std::string_view head) {
    Peer& peer = peers_[static_cast<size_t>(fd)];
    if (head.find("\r\n\r\n") == std::string_view::npos) {
      peer.input = head;
      return;
    }
    std::string answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    peer.role = Role::Echo;
    if (head.starts_with("GET /publish ")) peer.role = Role::Publisher;
    if (head.starts_with("GET /subscribe ")) {
      peer.role = Role::Subscriber;
      subscribers_.push_back(fd);
      answer += "\x81\x05ready";
    }
    send_all(fd, answer);
  }

  // Whole frames of the input go to the output, unmasked. Returns their bytes.
  size_t take_frames(char* input, size_t size) {
    size_t at = 0;
    while (size - at >= 2) {
      size_t length = static_cast<uint8_t>(input[at + 1]) & 127;
      size_t length_bytes = length < 126 ? 0 : length == 126 ? 2 : 8;
      size_t head = 2 + length_bytes;
      if (size - at < head + 4) break;
      if (length_bytes > 0) length = big_endian_of({input + at + 2, length_bytes});
      if (size - at - head - 4 < length) break;
      uint32_t key;
      std::memcpy(&key, input + at + head, 4);
      char* payload = input + at + head + 4;
      mask(payload, length, key);
      size_t begin = output_.size();
      output_.append(input + at, head);
      output_[begin + 1] &= 0x7f;
      output_.append(payload, length);
      at += head + 4 + length;
    }
    return at;
  }

  void send_all(int fd, std::string_view left) {
    while (!left.empty()) {
      ssize_t sent = send(fd, left.data(), left.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        left.remove_prefix(static_cast<size_t>(sent));
      } else if (errno == EAGAIN) {
        pollfd room{fd, POLLOUT, 0};  // blast always reads
        static_cast<void>(::poll(&room, 1, -1));
      } else if (errno != EINTR) {
        return;  // recv() tells of it
      }
    }
  }

  void leave(int fd) {
    std::erase(subscribers_, fd);
    close(fd);
  }

  int poll_ = -1;
  int listener_ = -1;
  std::vector<char> buffer_;
  std::string output_;
  std::vector<Peer> peers_;  // by descriptor
  std::vector<int> subscribers_;
};

}  // namespace
}  // namespace millrace::bench

int main(int count, char** words) {
  using namespace millrace::bench;  // NOLINT: the whole program is of that namespace
  Arguments arguments("ws_floor", count, words);
  uint16_t port = 0;
  while (arguments.next()) {
    if (!arguments.is("--port")) arguments.refuse();
    port = static_cast<uint16_t>(arguments.whole(0, 65535));
  }
  raise_descriptor_limit();
  std::make_unique<WsFloor>(port)->run();
  return 0;
}
