#include "core/poll/listen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "core/poll/socket.h"

namespace millrace {

namespace {

Result<Fd> listen_on_tcp(const ListenRequest& request);
Result<Fd> listen_on_unix(const ListenRequest& request);
Result<Fd> inherit(int fd);

Status failed(const char* call) { return Status::failed(errno, call); }

}  // namespace

Result<Fd> make_listener(const ListenRequest& request) {
  if (request.fd >= 0) return inherit(request.fd);
  if (!request.unix_path.empty()) return listen_on_unix(request);
  return listen_on_tcp(request);
}

Result<Address> listener_address(const Fd& socket) {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return failed("getsockname");
  }
  return address_of(address);
}

void remove_unix_socket(const std::string& path) {
  if (path.empty() || path[0] == '\0') return;
  struct stat found = {};
  if (::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) ::unlink(path.c_str());
}

namespace {

// Only numeric addresses: a zone ("%eth0") or a name is refused.
bool parse_host(const ListenRequest& request, sockaddr_storage& address, socklen_t& length) {
  auto& ipv4 = reinterpret_cast<sockaddr_in&>(address);
  if (::inet_pton(AF_INET, request.host.c_str(), &ipv4.sin_addr) == 1) {
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(request.port);
    length = sizeof(ipv4);
    return true;
  }
  address = {};
  auto& ipv6 = reinterpret_cast<sockaddr_in6&>(address);
  if (::inet_pton(AF_INET6, request.host.c_str(), &ipv6.sin6_addr) != 1) return false;
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_port = htons(request.port);
  length = sizeof(ipv6);
  return true;
}

bool set_option(const Fd& socket, int level, int option, int value) {
  return ::setsockopt(socket.get(), level, option, &value, sizeof(value)) == 0;
}

Result<Fd> listen_on_tcp(const ListenRequest& request) {
  sockaddr_storage address = {};
  socklen_t length = 0;
  if (!parse_host(request, address, length)) return Status::failed(EINVAL, "inet_pton");
  Fd socket = open_stream_socket(address.ss_family);
  if (!socket.is_open()) return failed("socket");
  if (!set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1)) return failed("setsockopt");
  if (request.reuse_port && !set_option(socket, SOL_SOCKET, SO_REUSEPORT, 1)) {
    return failed("setsockopt");
  }
  // Set both ways: the default differs between systems.
  if (address.ss_family == AF_INET6 &&
      !set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, request.ipv6_only ? 1 : 0)) {
    return failed("setsockopt");
  }
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return failed("bind");
  }
  if (::listen(socket.get(), request.backlog) != 0) return failed("listen");
  return socket;
}

// The file stands in the way of bind(). Success: it was a stale socket and is gone.
Status remove_stale(const sockaddr_un& address, socklen_t length) {
  struct stat found = {};
  if (::lstat(address.sun_path, &found) != 0) {
    return errno == ENOENT ? Status::ok() : failed("lstat");
  }
  if (!S_ISSOCK(found.st_mode)) return Status::failed(EEXIST, "bind");
  Fd probe = open_stream_socket(AF_UNIX);
  if (!probe.is_open()) return failed("socket");
  // Nobody listening is the only proof that it is stale; a full backlog (EAGAIN), a datagram socket
  // (EPROTOTYPE) or a file we may not touch (EACCES) all belong to somebody.
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0 ||
      (errno != ECONNREFUSED && errno != ENOENT)) {
    return Status::failed(EADDRINUSE, "bind");
  }
  if (::unlink(address.sun_path) != 0 && errno != ENOENT) return failed("unlink");
  return Status::ok();
}

Status bind_unix(const Fd& socket, const sockaddr_un& address, socklen_t length) {
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(socket.get(), raw, length) == 0) return Status::ok();
  if (errno != EADDRINUSE || address.sun_path[0] == '\0') return failed("bind");
  Status removed = remove_stale(address, length);
  if (!removed.is_ok()) return removed;
  return ::bind(socket.get(), raw, length) == 0 ? Status::ok() : failed("bind");
}

Result<Fd> listen_on_unix(const ListenRequest& request) {
  const std::string& path = request.unix_path;
  bool abstract = path[0] == '\0';
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // An abstract name is as long as it says; a path ends with a NUL that has to fit too.
  size_t size = path.size() + (abstract ? 0 : 1);
  if (size > sizeof(address.sun_path)) return Status::failed(ENAMETOOLONG, "bind");
  if (!abstract && path.find('\0') != std::string::npos) return Status::failed(EINVAL, "bind");
  std::memcpy(address.sun_path, path.data(), path.size());
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);

  Fd socket = open_stream_socket(AF_UNIX);
  if (!socket.is_open()) return failed("socket");
  Status bound = bind_unix(socket, address, length);
  if (!bound.is_ok()) return bound;
  // Between bind() and listen() connecting is refused, so nobody slips in under the wrong mode.
  Status status = Status::ok();
  if (!abstract && request.unix_mode >= 0 &&
      ::chmod(path.c_str(), static_cast<mode_t>(request.unix_mode)) != 0) {
    status = failed("chmod");
  }
  if (status.is_ok() && ::listen(socket.get(), request.backlog) != 0) status = failed("listen");
  if (status.is_ok()) return socket;
  remove_unix_socket(path);
  return status;
}

Result<Fd> inherit(int fd) {
  Fd socket(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!socket.is_open()) return failed("fcntl");
  int type = 0;
  int listening = 0;
  socklen_t size = sizeof(int);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 ||
      listening == 0) {
    return Status::failed(EINVAL, "getsockopt");
  }
  if (!prepare_socket(socket.get())) return failed("fcntl");
  return socket;
}

}  // namespace

}  // namespace millrace
