#include "core/poll/listen.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

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

bool set_option(const Fd& socket, int level, int option, int value) {
  return ::setsockopt(socket.get(), level, option, &value, sizeof(value)) == 0;
}

Result<Fd> listen_on_tcp(const ListenRequest& request) {
  SocketAddress address;
  if (!make_ip_address(request.host, request.port, address)) {
    return Status::failed(EINVAL, "inet_pton");
  }
  Fd socket = open_stream_socket(address.storage.ss_family);
  if (!socket.is_open()) return failed("socket");
  if (!set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1)) return failed("setsockopt");
  if (request.reuse_port && !set_option(socket, SOL_SOCKET, SO_REUSEPORT, 1)) {
    return failed("setsockopt");
  }
  // Set both ways: the default differs between systems.
  if (address.storage.ss_family == AF_INET6 &&
      !set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, request.ipv6_only ? 1 : 0)) {
    return failed("setsockopt");
  }
  if (::bind(socket.get(), address.raw(), address.length) != 0) return failed("bind");
  if (::listen(socket.get(), request.backlog) != 0) return failed("listen");
  return socket;
}

// The file stands in the way of bind(). Success: it was a stale socket and is gone.
Status remove_stale(const std::string& path, const SocketAddress& address) {
  struct stat found = {};
  if (::lstat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? Status::ok() : failed("lstat");
  }
  if (!S_ISSOCK(found.st_mode)) return Status::failed(EEXIST, "bind");
  Fd probe = open_stream_socket(AF_UNIX);
  if (!probe.is_open()) return failed("socket");
  // Nobody listening is the only proof that it is stale; a full backlog (EAGAIN), a datagram socket
  // (EPROTOTYPE) or a file we may not touch (EACCES) all belong to somebody.
  if (::connect(probe.get(), address.raw(), address.length) == 0 ||
      (errno != ECONNREFUSED && errno != ENOENT)) {
    return Status::failed(EADDRINUSE, "bind");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed("unlink");
  return Status::ok();
}

Status bind_unix(const Fd& socket, const std::string& path, const SocketAddress& address) {
  if (::bind(socket.get(), address.raw(), address.length) == 0) return Status::ok();
  if (errno != EADDRINUSE || path[0] == '\0') return failed("bind");
  Status removed = remove_stale(path, address);
  if (!removed.is_ok()) return removed;
  return ::bind(socket.get(), address.raw(), address.length) == 0 ? Status::ok() : failed("bind");
}

Result<Fd> listen_on_unix(const ListenRequest& request) {
  const std::string& path = request.unix_path;
  bool abstract = path[0] == '\0';
  SocketAddress address;
  if (!make_unix_address(path, address)) return failed("bind");
  Fd socket = open_stream_socket(AF_UNIX);
  if (!socket.is_open()) return failed("socket");
  Status bound = bind_unix(socket, path, address);
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

bool make_socket_pair(Fd& one, Fd& other) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return false;
  one.reset(pair[0]);
  other.reset(pair[1]);
  return prepare_socket(pair[0]) && prepare_socket(pair[1]);
}

}  // namespace millrace
