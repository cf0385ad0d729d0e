// The poller's contract, once for every back end of this platform and for sim; then what only real
// sockets can show.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/poll/listen.h"
#include "core/poll/poller.h"
#include "test/harness.h"
#include "test/poll_rig.h"

namespace millrace::test {

namespace {

TEST("a poller accepts a connection and names its listener and its peer") {
  each_rig([](PollRig& rig) {
    rig.connect();
    EXPECT(rig.until(CompletionKind::Accepted));
    const SeenCompletion& accepted = rig.last(CompletionKind::Accepted);
    EXPECT(accepted.listener == kListener);
    EXPECT(accepted.id.index == 0);
    EXPECT(accepted.peer == (rig.is_sim() ? "192.0.2.1" : "127.0.0.1"));
    rig.expect_quiet();
  });
}

TEST("bytes travel both ways, and what was received may be written to") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    rig.write(pair.peer, "hello");
    EXPECT(rig.until_received(pair.id, 5));
    EXPECT(rig.received(pair.id) == "hello");
    Bytes parts[] = {"wor", "", "ld"};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Done);
    EXPECT(rig.read_all(pair.peer, 5) == "world");
    rig.write(pair.peer, "again");
    for (int i = 0; i < kTriesMax; i++) {
      std::span<const Completion> batch = rig.poller().wait(20);
      if (batch.empty()) continue;
      EXPECT(batch[0].kind == CompletionKind::Received);
      batch[0].bytes[0] = 'A';
      EXPECT(std::string(batch[0].bytes.data(), batch[0].bytes.size()) == "Again");
      break;
    }
    EXPECT(rig.poller().send(pair.id, {}) == SendResult::Done);
    rig.expect_quiet();
  });
}

TEST("a send that doesn't fit is pending, progresses while the peer reads, and is sent whole") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    // More parts than one gather takes, of sizes that cut everywhere.
    std::string text = letters(3'000'000);
    std::vector<Bytes> parts;
    for (size_t at = 0, size = 1; at < text.size(); at += size, size = size * 3 % 65'521) {
      parts.push_back(Bytes(text).substr(at, size));
      parts.emplace_back();
    }
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Pending);
    parts.clear();
    rig.expect_calm();
    std::string got;
    for (int i = 0; i < 100'000 && got.size() < text.size(); i++) {
      got += rig.read(pair.peer);
      rig.widen(pair.peer);
      rig.wait(got.size() < text.size() ? 5 : 0);
    }
    EXPECT(got == text);
    EXPECT(rig.until(CompletionKind::Sent));
    EXPECT(rig.count(CompletionKind::Sent) == 1);
    EXPECT(rig.count(CompletionKind::Progressed) >= 1);
    EXPECT(rig.count(CompletionKind::Failed) == 0);
    rig.expect_quiet();
    Bytes more[] = {"!"};
    EXPECT(rig.poller().send(pair.id, more) == SendResult::Done);
    EXPECT(rig.read_all(pair.peer, 1) == "!");
  });
}

TEST("the peer's half-close is told once, does not spin, and leaves the way back open") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    rig.write(pair.peer, "last");
    rig.half_close(pair.peer);
    EXPECT(rig.until(CompletionKind::PeerClosed));
    EXPECT(rig.received(pair.id) == "last");
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::PeerClosed) == 1);
    Bytes parts[] = {"answer"};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Done);
    EXPECT(rig.read_all(pair.peer, 6) == "answer");
    // Both halves shut is a hang-up, which a kernel reports whether asked or not.
    rig.poller().shutdown_sending(pair.id);
    EXPECT(rig.ends(pair.peer, PeerEnd::Closed));
    rig.expect_quiet();
  });
}

TEST("a reset is a failure, told once") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    rig.reset(pair.peer);
    EXPECT(rig.until(CompletionKind::Failed));
    EXPECT(rig.last(CompletionKind::Failed).id == pair.id);
    EXPECT(rig.last(CompletionKind::Failed).error == ECONNRESET);
    // As it is met by who sends before the completion is handled.
    Bytes parts[] = {"x"};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Failed);
    EXPECT(rig.poller().send_error() == ECONNRESET);
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Failed) == 1);
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Failed);
    rig.poller().close(pair.id, false);
    EXPECT(rig.until(CompletionKind::Closed));
  });
}

TEST("a reset ends a pending send with Failed and no Sent") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    std::string text = letters(3'000'000);
    Bytes parts[] = {text};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Pending);
    rig.reset(pair.peer);
    EXPECT(rig.until(CompletionKind::Failed));
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Failed) == 1);
    EXPECT(rig.count(CompletionKind::Sent) == 0);
  });
}

TEST("after close nothing comes but Closed, at once, even from an endless wait") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    rig.write(pair.peer, "too late");
    rig.poller().close(pair.id, false);
    size_t before = rig.seen.size();
    EXPECT(rig.wait(kNever) == 1);
    EXPECT(rig.seen[before].kind == CompletionKind::Closed);
    EXPECT(rig.seen[before].id == pair.id);
    rig.expect_quiet();
    EXPECT(rig.received(pair.id).empty());
  });
}

TEST("closing drops the pending send: its bytes are not touched again") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    auto text = std::make_unique<std::string>(letters(3'000'000));
    Bytes parts[] = {*text};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Pending);
    rig.poller().close(pair.id, false);
    text.reset();
    EXPECT(rig.wait(kNever) == 1);
    rig.widen(pair.peer);
    static_cast<void>(rig.read(pair.peer));
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Sent) == 0);
  });
}

TEST("an index is reused after Closed with another generation, and old ids miss") {
  each_rig([](PollRig& rig) {
    PollRig::Pair first = rig.accepted();
    PollRig::Pair second = rig.accepted();
    EXPECT(second.id.index == 1);
    rig.poller().close(second.id, false);
    rig.poller().close(first.id, false);
    // Not before Closed was delivered.
    rig.connect();
    EXPECT(rig.until(CompletionKind::Closed, 2));
    PollRig::Pair third = rig.accepted();
    EXPECT(third.id.index <= 2);
    PollRig::Pair fourth = rig.accepted();
    EXPECT(fourth.id.index <= 2);
    EXPECT(third.id.index != fourth.id.index);
    for (ConnectionId stale : {first.id, second.id}) {
      EXPECT(stale != third.id && stale != fourth.id);
      Bytes parts[] = {"x"};
      EXPECT(rig.poller().send(stale, parts) == SendResult::Failed);
      rig.poller().pause_receiving(stale);
      rig.poller().resume_receiving(stale);
      rig.poller().shutdown_sending(stale);
      rig.poller().close(stale, true);
    }
    rig.expect_quiet();
    rig.write(fourth.peer, "alive");
    EXPECT(rig.until_received(fourth.id, 5));
  });
}

TEST("a paused connection hears nothing and does not spin until it is resumed") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    rig.poller().pause_receiving(pair.id);
    rig.write(pair.peer, "one");
    rig.expect_quiet();
    rig.poller().resume_receiving(pair.id);
    EXPECT(rig.until_received(pair.id, 3));
    rig.poller().pause_receiving(pair.id);
    rig.poller().pause_receiving(pair.id);
    rig.poller().resume_receiving(pair.id);
    rig.poller().resume_receiving(pair.id);
    rig.write(pair.peer, "two");
    EXPECT(rig.until_received(pair.id, 6));
    rig.poller().pause_receiving(pair.id);
    rig.half_close(pair.peer);
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::PeerClosed) == 0);
    rig.poller().resume_receiving(pair.id);
    EXPECT(rig.until(CompletionKind::PeerClosed));
  });
}

TEST("a paused connection can send, also what is pending") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    rig.poller().pause_receiving(pair.id);
    rig.write(pair.peer, "unread");
    rig.expect_quiet();
    std::string text = letters(1'000'000);
    Bytes parts[] = {text};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Pending);
    std::string got;
    for (int i = 0; i < 100'000 && got.size() < text.size(); i++) {
      got += rig.read(pair.peer);
      rig.widen(pair.peer);
      rig.wait(got.size() < text.size() ? 5 : 0);
    }
    EXPECT(got == text);
    EXPECT(rig.until(CompletionKind::Sent));
    rig.expect_quiet();
    rig.poller().resume_receiving(pair.id);
    EXPECT(rig.until_received(pair.id, 6));
  });
}

TEST("a reset of a paused connection is told without spinning") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    rig.poller().pause_receiving(pair.id);
    rig.write(pair.peer, "unread");
    rig.expect_quiet();
    rig.reset(pair.peer);
    if (!has_errors_while_paused(rig)) {
      rig.expect_quiet();
      rig.poller().resume_receiving(pair.id);
    }
    EXPECT(rig.until(CompletionKind::Failed));
    rig.expect_quiet();
    EXPECT(!has_errors_while_paused(rig) || rig.received(pair.id).empty());
  });
}

TEST("half-closing waits for the pending send") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    std::string text = letters(500'000);
    Bytes parts[] = {text};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Pending);
    rig.poller().shutdown_sending(pair.id);
    std::string got;
    for (int i = 0; i < 100'000 && got.size() < text.size(); i++) {
      got += rig.read(pair.peer);
      rig.widen(pair.peer);
      rig.wait(got.size() < text.size() ? 5 : 0);
    }
    EXPECT(got == text);
    EXPECT(rig.until(CompletionKind::Sent));
    EXPECT(rig.ends(pair.peer, PeerEnd::Closed));
    rig.write(pair.peer, "still heard");
    EXPECT(rig.until_received(pair.id, 11));
  });
}

TEST("close ends the stream for the peer, with reset it breaks it") {
  each_rig([](PollRig& rig) {
    PollRig::Pair gentle = rig.accepted();
    PollRig::Pair harsh = rig.accepted();
    rig.poller().close(gentle.id, false);
    rig.poller().close(harsh.id, true);
    EXPECT(rig.ends(gentle.peer, PeerEnd::Closed));
    EXPECT(rig.ends(harsh.peer, PeerEnd::Reset));
    EXPECT(rig.until(CompletionKind::Closed, 2));
  });
}

TEST("accepting can be paused, and whoever waited is accepted on resuming") {
  each_rig([](PollRig& rig) {
    rig.poller().pause_accepting();
    rig.poller().pause_accepting();
    rig.connect();
    rig.connect();
    rig.expect_quiet();
    rig.poller().resume_accepting();
    rig.poller().resume_accepting();
    EXPECT(rig.until(CompletionKind::Accepted, 2));
    rig.expect_quiet();
  });
}

TEST("no more are accepted than the limit says, until it is set again") {
  each_rig([](PollRig& rig) {
    for (int i = 0; i < 3; i++) rig.connect();
    rig.poller().limit_accepts(2);
    EXPECT(rig.until(CompletionKind::Accepted, 2));
    // What is left in the backlog keeps the listener ready: the caller pauses.
    rig.poller().pause_accepting();
    rig.expect_quiet();
    rig.poller().limit_accepts(1);
    rig.poller().resume_accepting();
    EXPECT(rig.until(CompletionKind::Accepted, 3));
    EXPECT(rig.count(CompletionKind::Accepted) == 3);
  });
}

TEST("a listener's id is taken until unlisten") {
  each_rig([](PollRig& rig) {
    EXPECT(rig.poller().listen(kListener, Fd()).error() == EEXIST);
    PollRig::Pair pair = rig.accepted();
    rig.poller().unlisten(kListener);
    rig.write(pair.peer, "still here");
    EXPECT(rig.until_received(pair.id, 10));
    Fd socket = rig.is_sim() ? Fd() : make_listener({.host = "127.0.0.1"}).take();
    EXPECT(rig.poller().listen(kListener, std::move(socket)).is_ok());
  });
}

TEST("those who stand in the backlog when a listener goes are accepted, as far as is allowed") {
  each_rig([](PollRig& rig) {
    rig.connect();
    rig.connect();
    rig.connect();
    rig.poller().limit_accepts(2);
    rig.poller().unlisten(kListener);
    rig.poller().limit_accepts(UINT32_MAX);
    EXPECT(rig.until(CompletionKind::Accepted, 2));
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Accepted) == 2);
    EXPECT(rig.last(CompletionKind::Accepted).listener == kListener);
  });
}

TEST("nobody is accepted from the backlog of a listener that goes while accepting is paused") {
  each_rig([](PollRig& rig) {
    rig.connect();
    rig.poller().pause_accepting();
    rig.poller().unlisten(kListener);
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Accepted) == 0);
  });
}

TEST("waking ends a wait with one Woken, however often it was called") {
  each_rig([](PollRig& rig) {
    rig.poller().wake();
    rig.poller().wake();
    EXPECT(rig.wait(kNever) == 1);
    EXPECT(rig.last(CompletionKind::Woken).kind == CompletionKind::Woken);
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Woken) == 1);
  });
}

TEST("a wait without end is woken from another thread") {
  each_socket_rig([](SocketPollRig& rig) {
    for (int i = 0; i < 50; i++) {
      std::thread other([&rig] { rig.poller().wake(); });
      EXPECT(rig.wait(kNever) == 1);
      other.join();
    }
    EXPECT(rig.count(CompletionKind::Woken) == 50);
  });
}

TEST("many connections with more bytes than the arena holds all get theirs") {
  each_socket_rig([](SocketPollRig& rig) {
    std::vector<PollRig::Pair> pairs;
    std::string text = letters(60'000);
    for (int i = 0; i < 24; i++) {
      pairs.push_back(rig.accepted());
      rig.write(pairs.back().peer, text);
    }
    for (const PollRig::Pair& pair : pairs) {
      EXPECT(rig.until_received(pair.id, text.size()));
      EXPECT(rig.received(pair.id) == text);
    }
    rig.expect_quiet();
  });
}

TEST("running out of descriptors pauses accepting until it is resumed") {
  each_socket_rig([](SocketPollRig& rig) {
    for (int i = 0; i < 4; i++) rig.connect();
    rlimit before = {};
    EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    Fd lowest = rig.listener().duplicate();
    rlimit tight = before;
    tight.rlim_cur = static_cast<rlim_t>(lowest.get()) + 1;  // room for one
    lowest.reset();
    EXPECT(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
    EXPECT(rig.until(CompletionKind::AcceptFailed));
    EXPECT(rig.last(CompletionKind::AcceptFailed).error == EMFILE);
    EXPECT(rig.last(CompletionKind::AcceptFailed).listener == kListener);
    size_t accepted = rig.count(CompletionKind::Accepted);
    EXPECT(accepted == 1);
    rig.expect_quiet();
    rig.poller().resume_accepting();
    EXPECT(rig.until(CompletionKind::AcceptFailed, 2));
    rig.expect_quiet();
    rig.poller().close(rig.last(CompletionKind::Accepted).id, false);
    EXPECT(rig.until(CompletionKind::Closed));
    rig.poller().resume_accepting();
    EXPECT(rig.until(CompletionKind::Accepted, 2));
    EXPECT(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    rig.poller().resume_accepting();
    EXPECT(rig.until(CompletionKind::Accepted, 4));
  });
}

TEST("the descriptors that are left shrink with each connection and grow with each close") {
  each_socket_rig([](SocketPollRig& rig) {
    rlimit before = {};
    EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    rlimit low = before;
    low.rlim_cur = std::min<rlim_t>(before.rlim_cur, 1000);
    EXPECT(::setrlimit(RLIMIT_NOFILE, &low) == 0);
    // The limit is looked at when a listener comes.
    EXPECT(rig.poller().listen(8, make_listener({.host = "127.0.0.1"}).take()).is_ok());
    std::vector<ConnectionId> ids;
    ids.reserve(21);
    for (int i = 0; i < 20; i++) ids.push_back(rig.accepted().id);
    int32_t left = rig.poller().descriptors_left();
    EXPECT(left > 0 && left <= 1000 - 40);
    ids.push_back(rig.accepted().id);
    EXPECT(rig.poller().descriptors_left() < left);
    for (ConnectionId id : ids) rig.poller().close(id, false);
    EXPECT(rig.poller().descriptors_left() >= left + 20 || rig.poller().descriptors_left() > 950);
    EXPECT(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  });
}

TEST("two pollers on one open socket accept each connection once") {
  each_socket_rig([](SocketPollRig& rig) {
    Result<std::unique_ptr<Poller>> other = make_poller();
    EXPECT(other.is_ok());
    EXPECT(other.value()->listen(kListener, rig.listener().duplicate()).is_ok());
    for (int i = 0; i < 20; i++) rig.connect();
    size_t theirs = 0;
    for (int i = 0; i < kTriesMax && rig.count(CompletionKind::Accepted) + theirs < 20; i++) {
      theirs += other.value()->wait(5).size();
      rig.wait(5);
    }
    EXPECT(rig.count(CompletionKind::Accepted) + theirs == 20);
    rig.expect_quiet();
    EXPECT(other.value()->wait(0).empty());
  });
}

TEST("the descriptor is readable exactly when a wait would bring something") {
  each_socket_rig([](SocketPollRig& rig) {
    auto is_readable = [&rig] {
      pollfd one = {.fd = rig.poller().descriptor(), .events = POLLIN, .revents = 0};
      return ::poll(&one, 1, 0) == 1;
    };
    EXPECT(!is_readable());
    PollRig::Pair first = rig.accepted();
    PollRig::Pair second = rig.accepted();
    EXPECT(!is_readable());
    // Closed comes from no kernel, and still whoever polls from outside has to hear of it.
    rig.poller().close(first.id, false);
    rig.poller().close(second.id, false);
    EXPECT(is_readable());
    EXPECT(rig.wait(0) == 2);
    EXPECT(rig.count(CompletionKind::Woken) == 0);
    EXPECT(!is_readable());
    rig.poller().wake();
    EXPECT(is_readable());
    EXPECT(rig.wait(0) == 1);
    EXPECT(!is_readable());
  });
}

TEST("connected sockets can be adopted and are not watched after their close") {
  each_socket_rig([](SocketPollRig& rig) {
    int ends[2] = {-1, -1};
    EXPECT(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    Fd ours(ends[0]);
    Fd theirs(ends[1]);
    Fd kept = ours.duplicate();
    EXPECT(rig.poller().adopt(3, std::move(ours)).is_ok());
    EXPECT(rig.wait(kNever) == 1);
    const SeenCompletion accepted = rig.last(CompletionKind::Accepted);
    EXPECT(accepted.listener == 3);
    EXPECT(accepted.peer.empty());
    EXPECT(::send(theirs.get(), "hi", 2, 0) == 2);
    EXPECT(rig.until_received(accepted.id, 2));
    rig.poller().close(accepted.id, false);
    EXPECT(rig.until(CompletionKind::Closed));
    // `kept` holds the same open socket, which stays readable.
    EXPECT(::send(theirs.get(), "hi", 2, 0) == 2);
    rig.expect_quiet();
    EXPECT(rig.poller().adopt(3, Fd(::socket(AF_UNIX, SOCK_STREAM, 0))).error() == ENOTCONN);
  });
}

TEST("a unix peer that leaves altogether is read to its end and does not spin while paused") {
  each_socket_rig([](SocketPollRig& rig) {
    int ends[2] = {-1, -1};
    EXPECT(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    Fd theirs(ends[1]);
    EXPECT(rig.poller().adopt(3, Fd(ends[0])).is_ok());
    EXPECT(rig.until(CompletionKind::Accepted));
    ConnectionId id = rig.last(CompletionKind::Accepted).id;
    rig.poller().pause_receiving(id);
    EXPECT(::send(theirs.get(), "bye", 3, 0) == 3);
    theirs.reset();
    rig.expect_quiet();
    rig.poller().resume_receiving(id);
    EXPECT(rig.until(CompletionKind::PeerClosed));
    EXPECT(rig.received(id) == "bye");
    rig.expect_quiet();
    Bytes parts[] = {"nobody"};
    EXPECT(rig.poller().send(id, parts) == SendResult::Failed);
    EXPECT(rig.poller().send_error() == EPIPE);
  });
}

Fd connect_to(const sockaddr* address, socklen_t length) {
  Fd peer(::socket(address->sa_family, SOCK_STREAM, 0));
  EXPECT(::connect(peer.get(), address, length) == 0);
  return peer;
}

TEST("unix, IPv6 and dual-stack listeners serve one poller, and peers are shown as they are") {
  each_socket_rig([](SocketPollRig& rig) {
    std::string path = "poll_test." + std::to_string(::getpid()) + ".sock";
    Fd dual = make_listener({.host = "::"}).take();
    uint16_t port = listener_address(dual).value().port;
    EXPECT(rig.poller().listen(1, std::move(dual)).is_ok());
    EXPECT(rig.poller().listen(2, make_listener({.host = "", .unix_path = path}).take()).is_ok());

    sockaddr_in6 ipv6 = {};
    ipv6.sin6_family = AF_INET6;
    ipv6.sin6_port = htons(port);
    ipv6.sin6_addr = in6addr_loopback;
    Fd first = connect_to(reinterpret_cast<const sockaddr*>(&ipv6), sizeof(ipv6));
    EXPECT(rig.until(CompletionKind::Accepted, 1));
    EXPECT(rig.last(CompletionKind::Accepted).listener == 1);
    EXPECT(rig.last(CompletionKind::Accepted).peer == "::1");

    sockaddr_in ipv4 = {};
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(port);
    ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Fd second = connect_to(reinterpret_cast<const sockaddr*>(&ipv4), sizeof(ipv4));
    EXPECT(rig.until(CompletionKind::Accepted, 2));
    EXPECT(rig.last(CompletionKind::Accepted).peer == "127.0.0.1");

    sockaddr_un local = {};
    local.sun_family = AF_UNIX;
    std::memcpy(local.sun_path, path.c_str(), path.size() + 1);
    Fd third = connect_to(reinterpret_cast<const sockaddr*>(&local), sizeof(local));
    EXPECT(rig.until(CompletionKind::Accepted, 3));
    EXPECT(rig.last(CompletionKind::Accepted).listener == 2);
    EXPECT(rig.last(CompletionKind::Accepted).peer.empty());
    ConnectionId id = rig.last(CompletionKind::Accepted).id;
    EXPECT(::send(third.get(), "unix", 4, 0) == 4);
    EXPECT(rig.until_received(id, 4));
    remove_unix_socket(path);
  });
}

TEST("accepted TCP connections send without Nagle's delay") {
  each_socket_rig([](SocketPollRig& rig) {
    // By inheritance on Linux; elsewhere accept_connection() sets it, which nobody can see here.
    if (std::string(rig.poller().name()) != "epoll") return;
    rig.poller().pause_accepting();
    rig.connect();
    Fd accepted(::accept(rig.listener().get(), nullptr, nullptr));
    int value = 0;
    socklen_t size = sizeof(value);
    EXPECT(::getsockopt(accepted.get(), IPPROTO_TCP, TCP_NODELAY, &value, &size) == 0);
    EXPECT(value != 0);
  });
}

}  // namespace

}  // namespace millrace::test
