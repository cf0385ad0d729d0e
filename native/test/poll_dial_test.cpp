// Connections of our own, for every back end of this platform and for sim; then what only real
// sockets can show.
#include "core/poll/dial.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "core/poll/listen.h"
#include "core/poll/poller.h"
#include "test/harness.h"
#include "test/poll_rig.h"

namespace millrace::test {

namespace {

PollRig::Pair connected(PollRig& rig) {
  size_t before = rig.count(CompletionKind::Connected);
  ConnectionId id = rig.dial();
  size_t peer = rig.answer(id);
  EXPECT(rig.until(CompletionKind::Connected, before + 1));
  EXPECT(rig.last(CompletionKind::Connected).id == id);
  return {peer, id};
}

int open_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

std::string socket_path() { return "poll_dial_test." + std::to_string(::getpid()) + ".sock"; }

DialTarget on_unix(Bytes path) { return {.family = Family::Unix, .address = path}; }

TEST("a connection that was dialed is told once and carries bytes both ways") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = connected(rig);
    EXPECT(pair.id.index == 0);
    rig.expect_quiet();
    EXPECT(rig.seen.size() == 1);
    Bytes parts[] = {"to ", "them"};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Done);
    EXPECT(rig.read_all(pair.peer, 7) == "to them");
    rig.write(pair.peer, "to us");
    EXPECT(rig.until_received(pair.id, 5));
    EXPECT(rig.received(pair.id) == "to us");
    rig.half_close(pair.peer);
    EXPECT(rig.until(CompletionKind::PeerClosed));
    rig.expect_quiet();
    rig.poller().close(pair.id, false);
    EXPECT(rig.until(CompletionKind::Closed));
    EXPECT(rig.ends(pair.peer, PeerEnd::Closed));
    rig.expect_quiet();
  });
}

TEST("what a dialed peer says before Connected is delivered comes right after it") {
  each_rig([](PollRig& rig) {
    ConnectionId id = rig.dial();
    size_t peer = rig.answer(id);
    rig.write(peer, "hello and goodbye");
    rig.half_close(peer);
    EXPECT(rig.until(CompletionKind::PeerClosed));
    EXPECT(rig.seen.size() == 3);
    EXPECT(rig.seen[0].kind == CompletionKind::Connected);
    EXPECT(rig.seen[1].kind == CompletionKind::Received);
    EXPECT(rig.seen[1].bytes == "hello and goodbye");
    EXPECT(rig.seen[2].kind == CompletionKind::PeerClosed);
    for (const SeenCompletion& one : rig.seen) EXPECT(one.id == id);
  });
}

TEST("a dialed connection takes sends that don't fit, one after the other") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = connected(rig);
    std::string text = letters(8'000'000);
    for (size_t round = 1; round <= 2; round++) {
      Bytes parts[] = {text};
      EXPECT(rig.poller().send(pair.id, parts) == SendResult::Pending);
      std::string got;
      for (int i = 0; i < 100'000 && got.size() < text.size(); i++) {
        got += rig.read(pair.peer);
        rig.widen(pair.peer);
        if (got.size() < text.size() && rig.count(CompletionKind::Sent) < round) rig.wait(5);
      }
      EXPECT(got == text);
      EXPECT(rig.until(CompletionKind::Sent, round));
      rig.expect_quiet();
    }
  });
}

TEST("nobody at the other end is a failure, told once") {
  each_rig([](PollRig& rig) {
    Result<ConnectionId> dialed = rig.dial_nobody();
    if (!dialed.is_ok()) {  // some kernels know at once
      EXPECT(dialed.status().error() == ECONNREFUSED);
      return rig.expect_quiet();
    }
    EXPECT(rig.until(CompletionKind::Failed));
    EXPECT(rig.last(CompletionKind::Failed).id == dialed.value());
    EXPECT(rig.last(CompletionKind::Failed).error == ECONNREFUSED);
    rig.expect_quiet();
    EXPECT(rig.seen.size() == 1);
    Bytes parts[] = {"x"};
    EXPECT(rig.poller().send(dialed.value(), parts) == SendResult::Failed);
    rig.poller().close(dialed.value(), false);
    EXPECT(rig.wait(kNever) == 1);
    EXPECT(rig.seen[1].kind == CompletionKind::Closed);
    rig.expect_quiet();
  });
}

TEST("closing right after dialing leaves nothing but Closed") {
  each_rig([](PollRig& rig) {
    for (bool reset : {false, true}) {
      rig.seen.clear();
      ConnectionId id = rig.dial();
      rig.poller().close(id, reset);
      EXPECT(rig.wait(kNever) == 1);
      EXPECT(rig.seen[0].kind == CompletionKind::Closed);
      EXPECT(rig.seen[0].id == id);
      rig.expect_quiet();
    }
    ConnectionId next = connected(rig).id;
    EXPECT(next.index == 0);
    EXPECT(next.generation == 3);
  });
}

TEST("who gets no answer hears nothing and can give up") {
  each_rig([](PollRig& rig) {
    if (std::string(rig.poller().name()) == "kqueue") return;
    ConnectionId id = rig.dial_silence();
    rig.poller().pause_receiving(id);
    rig.poller().resume_receiving(id);
    rig.seen.clear();
    rig.expect_quiet();
    EXPECT(rig.seen.empty());
    rig.poller().close(id, false);
    EXPECT(rig.wait(kNever) == 1);
    EXPECT(rig.seen[0].kind == CompletionKind::Closed);
    rig.expect_quiet();
  });
}

TEST("a pause that was asked for before Connected holds after it") {
  each_rig([](PollRig& rig) {
    ConnectionId id = rig.dial();
    rig.poller().pause_receiving(id);
    size_t peer = rig.answer(id);
    rig.write(peer, "later");
    EXPECT(rig.until(CompletionKind::Connected));
    rig.expect_quiet();
    EXPECT(rig.seen.size() == 1);
    rig.poller().resume_receiving(id);
    EXPECT(rig.until_received(id, 5));
    EXPECT(rig.received(id) == "later");
  });
}

TEST("a dialed peer's reset is a failure") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = connected(rig);
    rig.reset(pair.peer);
    EXPECT(rig.until(CompletionKind::Failed));
    EXPECT(rig.last(CompletionKind::Failed).error == ECONNRESET);
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Failed) == 1);
  });
}

// Both ends belong to one poller: what one says the other hears.
void expect_talk(SocketPollRig& rig, const DialTarget& target) {
  rig.seen.clear();
  Result<ConnectionId> dialed = rig.poller().connect(target);
  EXPECT(dialed.is_ok());
  if (!dialed.is_ok()) return;
  EXPECT(rig.until(CompletionKind::Connected));
  EXPECT(rig.until(CompletionKind::Accepted));
  ConnectionId ours = dialed.value();
  ConnectionId theirs = rig.last(CompletionKind::Accepted).id;
  EXPECT(ours.index != theirs.index);
  Bytes ask[] = {"ask"};
  EXPECT(rig.poller().send(ours, ask) == SendResult::Done);
  EXPECT(rig.until_received(theirs, 3));
  Bytes tell[] = {"tell"};
  EXPECT(rig.poller().send(theirs, tell) == SendResult::Done);
  EXPECT(rig.until_received(ours, 4));
  rig.poller().close(theirs, false);
  EXPECT(rig.until(CompletionKind::PeerClosed));
  EXPECT(rig.last(CompletionKind::PeerClosed).id == ours);
  rig.poller().close(ours, false);
  EXPECT(rig.until(CompletionKind::Closed, 2));
  rig.expect_quiet();
}

TEST("IPv4, IPv6, unix paths and abstract names can be dialed") {
  each_socket_rig([](SocketPollRig& rig) {
    expect_talk(rig, {.address = "127.0.0.1", .port = rig.port()});

    Fd ipv6 = make_listener({.host = "::1"}).take();
    uint16_t port = listener_address(ipv6).value().port;
    EXPECT(rig.poller().listen(1, std::move(ipv6)).is_ok());
    expect_talk(rig, {.family = Family::IPv6, .address = "::1", .port = port});

    std::string path = socket_path();
    EXPECT(rig.poller().listen(2, make_listener({.unix_path = path}).take()).is_ok());
    expect_talk(rig, on_unix(path));
    remove_unix_socket(path);

    if (std::string(rig.poller().name()) != "epoll") return;
    std::string abstract = std::string(1, '\0') + path;
    EXPECT(rig.poller().listen(3, make_listener({.unix_path = abstract}).take()).is_ok());
    expect_talk(rig, on_unix(abstract));
  });
}

TEST("a refusal that is known at once names the call and leaves no descriptor") {
  each_socket_rig([](SocketPollRig& rig) {
    int before = open_descriptors();
    auto refused = [&rig](const DialTarget& target, int error, const char* call) {
      Result<ConnectionId> dialed = rig.poller().connect(target);
      return dialed.status().error() == error && std::string(dialed.status().call()) == call;
    };
    std::string path = socket_path();
    std::string long_path(200, 'x');
    EXPECT(refused(on_unix(path), ENOENT, "connect"));
    EXPECT(refused(on_unix(long_path), ENAMETOOLONG, "connect"));
    EXPECT(refused(on_unix(""), EINVAL, "connect"));
    EXPECT(refused(on_unix(Bytes("a\0b", 3)), EINVAL, "connect"));
    EXPECT(refused({.address = "localhost", .port = 1}, EINVAL, "inet_pton"));
    EXPECT(refused({.address = "", .port = 1}, EINVAL, "inet_pton"));
    EXPECT(refused({.address = Bytes("127.0.0.1\0", 10), .port = 1}, EINVAL, "inet_pton"));
    EXPECT(refused({.address = long_path, .port = 1}, EINVAL, "inet_pton"));
    // Its owner has gone, the file has stayed.
    make_listener({.unix_path = path}).take().reset();
    EXPECT(refused(on_unix(path), ECONNREFUSED, "connect"));
    remove_unix_socket(path);
    EXPECT(open_descriptors() == before);
    rig.expect_quiet();
    EXPECT(rig.seen.empty());
  });
}

TEST("a unix listener whose backlog is full refuses at once") {
  each_socket_rig([](SocketPollRig& rig) {
    std::string path = socket_path();
    Fd listener = make_listener({.unix_path = path, .backlog = 1}).take();
    int error = 0;
    for (int i = 0; i < 1000 && error == 0; i++) {
      error = rig.poller().connect(on_unix(path)).status().error();
    }
    EXPECT(error == (std::string(rig.poller().name()) == "epoll" ? EAGAIN : ECONNREFUSED));
    remove_unix_socket(path);
  });
}

TEST("dialing without a free descriptor is refused, and counts when there is one") {
  each_socket_rig([](SocketPollRig& rig) {
    rlimit before = {};
    EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    rlimit low = before;
    low.rlim_cur = 500;
    EXPECT(::setrlimit(RLIMIT_NOFILE, &low) == 0);
    // The limit is looked at when a listener comes.
    EXPECT(rig.poller().listen(8, make_listener({.host = "127.0.0.1"}).take()).is_ok());
    std::vector<ConnectionId> ids;
    for (int i = 0; i < 40; i++) ids.push_back(rig.dial());
    int32_t left = rig.poller().descriptors_left();
    EXPECT(left > 0 && left <= 500 - 40);
    ids.push_back(rig.dial());
    EXPECT(rig.poller().descriptors_left() == left - 1);
    low.rlim_cur = 3;
    EXPECT(::setrlimit(RLIMIT_NOFILE, &low) == 0);
    Status refused = rig.poller().connect({.address = "127.0.0.1", .port = rig.port()}).status();
    EXPECT(refused.error() == EMFILE);
    EXPECT(std::string(refused.call()) == "socket");
    EXPECT(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    for (ConnectionId id : ids) rig.poller().close(id, true);
    EXPECT(rig.poller().descriptors_left() >= left + 40);
    EXPECT(rig.until(CompletionKind::Closed, ids.size()));
    EXPECT(rig.count(CompletionKind::Connected) == 0);
  });
}

TEST("a poller that goes takes along what it is dialing") {
  int before = open_descriptors();
  each_socket_rig([](SocketPollRig& rig) {
    rig.dial();
    if (std::string(rig.poller().name()) != "kqueue") rig.dial_silence();
    int ends[2] = {-1, -1};
    EXPECT(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    EXPECT(rig.poller().connect({.fd = ends[0]}).is_ok());
    ::close(ends[1]);
  });
  EXPECT(open_descriptors() == before);
}

TEST("a connected socket is taken over, made non-blocking, and not watched after its close") {
  each_socket_rig([](SocketPollRig& rig) {
    int ends[2] = {-1, -1};
    EXPECT(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    Fd theirs(ends[1]);
    Fd kept(::dup(ends[0]));
    Result<ConnectionId> dialed = rig.poller().connect({.fd = ends[0]});
    EXPECT(dialed.is_ok());
    ConnectionId id = dialed.value();
    EXPECT((::fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0);
    EXPECT((::fcntl(ends[0], F_GETFD) & FD_CLOEXEC) != 0);
    EXPECT(rig.wait(kNever) == 1);
    EXPECT(rig.seen[0].kind == CompletionKind::Connected);
    EXPECT(rig.seen[0].id == id);
    EXPECT(::send(theirs.get(), "hi", 2, 0) == 2);
    EXPECT(rig.until_received(id, 2));
    rig.poller().close(id, false);
    EXPECT(::fcntl(ends[0], F_GETFD) == -1);
    EXPECT(rig.until(CompletionKind::Closed));
    // `kept` holds the same open socket, which stays readable.
    EXPECT(::send(theirs.get(), "hi", 2, 0) == 2);
    rig.expect_quiet();
  });
}

TEST("a socket taken over whose peer has spoken and left tells that in order") {
  each_socket_rig([](SocketPollRig& rig) {
    int ends[2] = {-1, -1};
    EXPECT(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    EXPECT(::send(ends[1], "bye", 3, 0) == 3);
    ::close(ends[1]);
    EXPECT(rig.poller().connect({.fd = ends[0]}).is_ok());
    EXPECT(rig.until(CompletionKind::PeerClosed));
    EXPECT(rig.seen.size() == 3);
    EXPECT(rig.seen[0].kind == CompletionKind::Connected);
    EXPECT(rig.seen[1].bytes == "bye");
    rig.expect_quiet();
  });
}

TEST("a Connected that waits to be delivered is taken back by close") {
  each_socket_rig([](SocketPollRig& rig) {
    int ends[2] = {-1, -1};
    EXPECT(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    Fd theirs(ends[1]);
    Result<ConnectionId> dialed = rig.poller().connect({.fd = ends[0]});
    rig.poller().close(dialed.value(), false);
    EXPECT(rig.wait(kNever) == 1);
    EXPECT(rig.seen[0].kind == CompletionKind::Closed);
    rig.expect_quiet();
  });
}

TEST("a socket that isn't connected is not taken over, and closed") {
  each_socket_rig([](SocketPollRig& rig) {
    int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT(rig.poller().connect({.fd = fd}).status().error() == ENOTCONN);
    EXPECT(::fcntl(fd, F_GETFD) == -1);
  });
}

TEST("the descriptor is readable when Connected is to be delivered, however it came about") {
  each_socket_rig([](SocketPollRig& rig) {
    auto is_readable = [&rig](int at_most) {
      pollfd one = {.fd = rig.poller().descriptor(), .events = POLLIN, .revents = 0};
      return ::poll(&one, 1, at_most) == 1;
    };
    EXPECT(!is_readable(0));
    int ends[2] = {-1, -1};
    EXPECT(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    Fd theirs(ends[1]);
    EXPECT(rig.poller().connect({.fd = ends[0]}).is_ok());
    EXPECT(is_readable(0));
    EXPECT(rig.wait(0) == 1);
    EXPECT(!is_readable(0));
    rig.dial();
    EXPECT(is_readable(kTriesMax * 20));
    EXPECT(rig.wait(0) == 1);
    EXPECT(rig.count(CompletionKind::Connected) == 2);
    EXPECT(!is_readable(0));
  });
}

TEST("a dialed TCP socket is non-blocking, close-on-exec and without Nagle's delay") {
  Fd listener = make_listener({.host = "127.0.0.1"}).take();
  uint16_t port = listener_address(listener).value().port;
  Result<Dialed> dialed = dial({.address = "127.0.0.1", .port = port});
  EXPECT(dialed.is_ok());
  int fd = dialed.value().socket.get();
  EXPECT((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  EXPECT((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  int value = 0;
  socklen_t size = sizeof(value);
  EXPECT(::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size) == 0);
  EXPECT(value != 0);
}

}  // namespace

}  // namespace millrace::test
