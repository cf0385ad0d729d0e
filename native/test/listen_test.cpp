// What make_listener() takes and refuses, and what it does to files in its way.
#include "core/poll/listen.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "core/poll/poller.h"
#include "test/harness.h"

namespace millrace {

namespace {

int error_of(const ListenRequest& request) { return make_listener(request).status().error(); }

std::string socket_path() { return "listen_test." + std::to_string(::getpid()) + ".sock"; }

ListenRequest on_unix(const std::string& path) {
  ListenRequest request;
  request.unix_path = path;
  return request;
}

ListenRequest on_fd(int fd) {
  ListenRequest request;
  request.fd = fd;
  return request;
}

// A socket bound to the path, never listening: what a process that died leaves behind.
Fd bind_only(const std::string& path, int type) {
  Fd socket(::socket(AF_UNIX, type, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  EXPECT(::bind(socket.get(), raw, sizeof(address)) == 0);
  return socket;
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

TEST("a TCP listener gets a free port and is non-blocking and close-on-exec") {
  Result<Fd> made = make_listener({.host = "127.0.0.1"});
  EXPECT(made.is_ok());
  EXPECT((::fcntl(made.value().get(), F_GETFL) & O_NONBLOCK) != 0);
  EXPECT((::fcntl(made.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
  Address address = listener_address(made.value()).value();
  EXPECT(address.family == Family::IPv4);
  EXPECT(address.view() == "127.0.0.1");
  EXPECT(address.port != 0);
  EXPECT(error_of({.host = "127.0.0.1", .port = address.port}) == EADDRINUSE);
}

TEST("IPv6 listeners take both families on :: unless told otherwise") {
  Fd dual = make_listener({.host = "::"}).take();
  Address address = listener_address(dual).value();
  EXPECT(address.family == Family::IPv6);
  EXPECT(address.view() == "::");
  EXPECT(error_of({.host = "127.0.0.1", .port = address.port}) == EADDRINUSE);
  bool is_apart = false;
  for (int i = 0; i < 10 && !is_apart; i++) {  // somebody else may have the IPv4 port
    Fd only = make_listener({.host = "::", .ipv6_only = true}).take();
    uint16_t port = listener_address(only).value().port;
    is_apart = error_of({.host = "127.0.0.1", .port = port}) == 0;
  }
  EXPECT(is_apart);
}

TEST("only numeric hosts are taken") {
  for (const char* host : {"", "localhost", "127.0.0.1.", "1.2.3", "[::1]", "fe80::1%lo", "::g"}) {
    test::context = host;
    EXPECT(error_of({.host = host}) == EINVAL);
  }
}

TEST("reuse_port lets two listeners share a port") {
  Fd first = make_listener({.host = "127.0.0.1", .reuse_port = true}).take();
  uint16_t port = listener_address(first).value().port;
  EXPECT(error_of({.host = "127.0.0.1", .port = port, .reuse_port = true}) == 0);
  EXPECT(error_of({.host = "127.0.0.1", .port = port}) == EADDRINUSE);
}

TEST("a unix socket has the mode that was asked for and is removed on request") {
  std::string path = socket_path();
  ListenRequest request = on_unix(path);
  request.unix_mode = 0620;
  Result<Fd> made = make_listener(request);
  EXPECT(made.is_ok());
  EXPECT(listener_address(made.value()).value().family == Family::Unix);
  struct stat found = {};
  EXPECT(::stat(path.c_str(), &found) == 0);
  EXPECT((found.st_mode & 0777) == 0620);
  remove_unix_socket(path);
  EXPECT(!exists(path));
}

TEST("a stale unix socket is replaced, a live one is in use") {
  std::string path = socket_path();
  bind_only(path, SOCK_STREAM).reset();
  EXPECT(exists(path));
  Result<Fd> made = make_listener(on_unix(path));
  EXPECT(made.is_ok());
  EXPECT(error_of(on_unix(path)) == EADDRINUSE);
  EXPECT(exists(path));
  made.value().reset();
  EXPECT(error_of(on_unix(path)) == 0);
  remove_unix_socket(path);
}

TEST("a live unix socket with a full backlog is still in use") {
  std::string path = socket_path();
  ListenRequest request = on_unix(path);
  request.backlog = 0;
  Result<Fd> made = make_listener(request);
  EXPECT(made.is_ok());
  for (int i = 0; i < 4; i++) EXPECT(error_of(on_unix(path)) == EADDRINUSE);
  remove_unix_socket(path);
}

TEST("what stands at the path and is not a stale stream socket is left alone") {
  std::string path = socket_path();
  Fd file(::open(path.c_str(), O_CREAT | O_RDWR, 0600));
  EXPECT(error_of(on_unix(path)) == EEXIST);
  remove_unix_socket(path);
  EXPECT(exists(path));
  ::unlink(path.c_str());
  EXPECT(::symlink("/nowhere", path.c_str()) == 0);
  EXPECT(error_of(on_unix(path)) == EEXIST);
  ::unlink(path.c_str());
  Fd datagram = bind_only(path, SOCK_DGRAM);
  EXPECT(error_of(on_unix(path)) == EADDRINUSE);
  EXPECT(exists(path));
  ::unlink(path.c_str());
}

TEST("bad unix paths are told apart") {
  EXPECT(error_of(on_unix("no_such_folder/a.sock")) == ENOENT);
  size_t longest = sizeof(sockaddr_un::sun_path) - 1;
  EXPECT(error_of(on_unix(std::string(longest + 1, 'a'))) == ENAMETOOLONG);
  std::string fits(longest, 'a');
  EXPECT(error_of(on_unix(fits)) == 0);
  remove_unix_socket(fits);
  EXPECT(error_of(on_unix(std::string("a\0b", 3))) == EINVAL);
}

TEST("an abstract name needs no file") {
  // Linux only.
  if (std::string(poller_back_ends().front().name) != "epoll") return;
  std::string name = std::string(1, '\0') + socket_path();
  Result<Fd> made = make_listener(on_unix(name));
  EXPECT(made.is_ok());
  EXPECT(error_of(on_unix(name)) == EADDRINUSE);
  EXPECT(!exists(socket_path()));
  remove_unix_socket(name);
  made.value().reset();
  EXPECT(error_of(on_unix(name)) == 0);
}

TEST("an inherited descriptor must be a listening stream socket and stays the caller's") {
  Fd given(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT(error_of(on_fd(given.get())) == EINVAL);
  EXPECT(::listen(given.get(), 5) == 0);
  Result<Fd> made = make_listener(on_fd(given.get()));
  EXPECT(made.is_ok());
  EXPECT(made.value().get() != given.get());
  EXPECT((::fcntl(made.value().get(), F_GETFL) & O_NONBLOCK) != 0);
  EXPECT((::fcntl(made.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
  uint16_t port = listener_address(given).value().port;
  EXPECT(port != 0);
  made.value().reset();
  EXPECT(listener_address(given).value().port == port);

  int pipe_ends[2] = {-1, -1};
  EXPECT(::pipe(pipe_ends) == 0);
  Fd read_end(pipe_ends[0]);
  Fd write_end(pipe_ends[1]);
  EXPECT(error_of(on_fd(read_end.get())) == EINVAL);
  int closed = read_end.get();
  read_end.reset();
  EXPECT(error_of(on_fd(closed)) == EBADF);
}

}  // namespace

}  // namespace millrace
