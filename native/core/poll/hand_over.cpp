#include "core/poll/hand_over.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/poll/socket.h"

namespace millrace {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSendMs = 1000;
constexpr size_t kControlBytes = 64 + kHandOverSocketsMax * sizeof(int);  // CMSG_SPACE, or more

Status failed(const char* call) { return Status::failed(errno, call); }

Clock::time_point in_ms(int64_t ms) { return Clock::now() + std::chrono::milliseconds(ms); }

// Until the descriptor is ready for `events`, or broken, which the next call tells.
Status await(int fd, short events, Clock::time_point until) {
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd entry = {fd, events, 0};
    int ready = ::poll(&entry, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 60'000)));
    if (ready > 0) return Status::ok();
    if (ready < 0 && errno != EINTR) return failed("poll");
    if (ready == 0 && Clock::now() >= until) return Status::failed(ETIMEDOUT, "poll");
  }
}

Status send_rest(int fd, Bytes bytes, Clock::time_point until) {
  while (!bytes.empty()) {
    iovec vector = {const_cast<char*>(bytes.data()), bytes.size()};
    ssize_t sent = send_vectors(fd, &vector, 1);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK) return failed("send");
    Status ready = await(fd, POLLOUT, until);
    if (!ready.is_ok()) return ready;
  }
  return Status::ok();
}

// A connect() that would wait for a full backlog says EAGAIN on a unix socket.
Status connect_by(const Fd& socket, const SocketAddress& address, Clock::time_point until) {
  while (::connect(socket.get(), address.raw(), address.length) != 0) {
    if (errno == EINTR) continue;
    if (errno == EISCONN) break;
    if (errno != EAGAIN && errno != EINPROGRESS) return failed("connect");
    if (Clock::now() >= until) return Status::failed(ETIMEDOUT, "connect");
    ::poll(nullptr, 0, 1);
  }
  return Status::ok();
}

// Appends the descriptors of a message. False: there are more than there may be.
bool take_descriptors(msghdr& message, std::vector<Fd>& into) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
      into.emplace_back(fd);
    }
  }
  return (message.msg_flags & MSG_CTRUNC) == 0 && into.size() <= kHandOverSocketsMax;
}

Status receive_line(HandedOver& taken, Clock::time_point until) {
  char bytes[4096];
  alignas(cmsghdr) char control[kControlBytes];
  for (;;) {
    Status ready = await(taken.connection.get(), POLLIN, until);
    if (!ready.is_ok()) return ready;
    iovec vector = {bytes, sizeof(bytes)};
    msghdr message = {};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    ssize_t got = receive_message(taken.connection.get(), message);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) continue;
    if (got < 0) return failed("recvmsg");
    if (!take_descriptors(message, taken.sockets)) return Status::failed(EMSGSIZE, "recvmsg");
    if (got == 0) return Status::failed(ECONNRESET, "recvmsg");
    taken.text.append(bytes, static_cast<size_t>(got));
    if (taken.text.back() == '\n') break;
    if (taken.text.size() > kHandOverTextMax) return Status::failed(EMSGSIZE, "recvmsg");
  }
  taken.text.pop_back();
  return Status::ok();
}

}  // namespace

Status send_descriptors(int connection, std::span<const int> descriptors, Bytes text) {
  if (descriptors.size() > kHandOverSocketsMax || text.size() >= kHandOverTextMax) {
    return Status::failed(EMSGSIZE, "sendmsg");
  }
  std::string line(text);
  line += '\n';
  alignas(cmsghdr) char control[kControlBytes] = {};
  iovec vector = {line.data(), line.size()};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen =
        static_cast<decltype(message.msg_controllen)>(CMSG_SPACE(descriptors.size_bytes()));
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = static_cast<decltype(part->cmsg_len)>(CMSG_LEN(descriptors.size_bytes()));
    std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
  }
  Clock::time_point until = in_ms(kSendMs);
  for (;;) {
    ssize_t sent = send_message(connection, message);
    // The descriptors went with the first byte.
    if (sent > 0)
      return send_rest(connection, Bytes(line).substr(static_cast<size_t>(sent)), until);
    if (errno != EAGAIN && errno != EWOULDBLOCK) return failed("sendmsg");
    Status ready = await(connection, POLLOUT, until);
    if (!ready.is_ok()) return ready;
  }
}

Result<HandedOver> receive_descriptors(Bytes path, Bytes greeting, int64_t timeout_ms) {
  Clock::time_point until = in_ms(timeout_ms);
  SocketAddress address;
  if (!make_unix_address(path, address)) return failed("connect");
  HandedOver taken;
  taken.connection = open_stream_socket(AF_UNIX);
  if (!taken.connection.is_open()) return failed("socket");
  Status status = connect_by(taken.connection, address, until);
  if (status.is_ok()) status = send_rest(taken.connection.get(), greeting, until);
  if (status.is_ok()) status = receive_line(taken, until);
  if (!status.is_ok()) return status;
  return Result<HandedOver>(std::move(taken));
}

Status send_datagram(Bytes path, Bytes text) {
  std::string name(path);
  if (!name.empty() && name[0] == '@') name[0] = '\0';
  SocketAddress address;
  if (!make_unix_address(name, address)) return failed("sendmsg");
  Fd socket(::socket(AF_UNIX, SOCK_DGRAM, 0));
  if (!socket.is_open() || !prepare_socket(socket.get())) return failed("socket");
  iovec vector = {const_cast<char*>(text.data()), text.size()};
  msghdr message = {};
  message.msg_name = &address.storage;
  message.msg_namelen = address.length;
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  return send_message(socket.get(), message) >= 0 ? Status::ok() : failed("sendmsg");
}

}  // namespace millrace
