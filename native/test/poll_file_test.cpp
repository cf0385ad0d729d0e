// Bytes of files by a poller: the contract, once for every back end of this platform and for sim;
// then what only real sockets can show.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>

#include "core/poll/poller.h"
#include "core/poll/socket.h"
#include "test/harness.h"
#include "test/poll_rig.h"
#include "test/temp_file.h"

namespace millrace::test {

namespace {

// Until `size` bytes have come or the peer can't get any more.
std::string take(PollRig& rig, size_t peer, size_t size) {
  std::string got;
  for (int i = 0; i < 100'000 && got.size() < size; i++) {
    got += rig.read(peer);
    rig.widen(peer);
    rig.wait(got.size() < size ? 5 : 0);
    if (rig.count(CompletionKind::Failed) > 0) break;
  }
  return got + rig.read(peer);
}

TEST("a small file leaves at once, whole or from an offset on, in order with other sends") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    Fd file = file_of("0123456789");
    Bytes before[] = {"<"};
    Bytes after[] = {">"};
    EXPECT(rig.poller().send(pair.id, before) == SendResult::Done);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 0, 10) == SendResult::Done);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 3, 4) == SendResult::Done);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 9, 1) == SendResult::Done);
    EXPECT(rig.poller().send(pair.id, after) == SendResult::Done);
    // Nothing that has left needs it any more.
    file.reset();
    EXPECT(rig.read_all(pair.peer, 17) == "<012345678934569>");
    rig.expect_quiet();
  });
}

TEST("no bytes of a file are sent at once, and its descriptor is not looked at") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    EXPECT(rig.poller().send_file(pair.id, -1, 3, 0) == SendResult::Done);
    rig.expect_quiet();
    EXPECT(rig.read(pair.peer).empty());
  });
}

TEST("the place at which others read the file is not moved") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    Fd file = file_of("abcdef");
    EXPECT(::lseek(file.get(), 2, SEEK_SET) == 2);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 1, 4) == SendResult::Done);
    EXPECT(::lseek(file.get(), 0, SEEK_CUR) == 2);
    EXPECT(rig.read_all(pair.peer, 4) == "bcde");
  });
}

TEST("a file that doesn't fit is pending, progresses while the peer reads, and is sent whole") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    std::string text = letters((size_t{5} << 20) + 77);
    Fd file = file_of(text);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 70, text.size() - 77) ==
           SendResult::Pending);
    rig.expect_calm();
    EXPECT(take(rig, pair.peer, text.size() - 77) == text.substr(70, text.size() - 77));
    EXPECT(rig.until(CompletionKind::Sent));
    EXPECT(rig.count(CompletionKind::Sent) == 1);
    EXPECT(rig.count(CompletionKind::Progressed) >= 1);
    EXPECT(rig.count(CompletionKind::Failed) == 0);
    file.reset();
    rig.expect_quiet();
    // What served the file serves bytes again.
    std::string more = letters(300'000);
    Bytes parts[] = {more};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Pending);
    EXPECT(take(rig, pair.peer, more.size()) == more);
    EXPECT(rig.until(CompletionKind::Sent, 2));
  });
}

TEST("a file that is shorter than asked for is a failure, whatever of it has left") {
  each_rig([](PollRig& rig) {
    PollRig::Pair pair = rig.accepted();
    Fd file = file_of("short");
    SendResult result = rig.poller().send_file(pair.id, file.get(), 2, 4);
    EXPECT(result != SendResult::Done);
    if (result == SendResult::Pending) {
      EXPECT(rig.until(CompletionKind::Failed));
      EXPECT(rig.last(CompletionKind::Failed).id == pair.id);
    }
    rig.expect_quiet();
    Bytes parts[] = {"x"};
    EXPECT(rig.poller().send(pair.id, parts) == SendResult::Failed);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 0, 1) == SendResult::Failed);
    rig.poller().close(pair.id, true);
    EXPECT(rig.until(CompletionKind::Closed));
    EXPECT(rig.count(CompletionKind::Sent) == 0);
  });
}

TEST("a file that becomes shorter while it is sent fails, once") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    std::string text = letters(3'000'000);
    Fd file = file_of(text);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 0, text.size()) == SendResult::Pending);
    EXPECT(::ftruncate(file.get(), 2'000'000) == 0);
    std::string got = take(rig, pair.peer, text.size());
    EXPECT(rig.until(CompletionKind::Failed));
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Failed) == 1);
    EXPECT(rig.count(CompletionKind::Sent) == 0);
    EXPECT(got.size() <= 2'000'000 && got == text.substr(0, got.size()));
  });
}

TEST("a reset ends a pending file with Failed and no Sent") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    Fd file = sparse_file(3'000'000);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 0, 3'000'000) == SendResult::Pending);
    rig.reset(pair.peer);
    EXPECT(rig.until(CompletionKind::Failed));
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Failed) == 1);
    EXPECT(rig.count(CompletionKind::Sent) == 0);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 0, 1) == SendResult::Failed);
  });
}

TEST("closing drops the pending file: its descriptor may be another file's at once") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    Fd file = sparse_file(3'000'000);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 0, 3'000'000) == SendResult::Pending);
    rig.poller().close(pair.id, false);
    Fd other = file_of(letters(3'000'000));
    EXPECT(::dup2(other.get(), file.get()) == file.get());
    EXPECT(rig.wait(kNever) == 1);
    rig.widen(pair.peer);
    EXPECT(rig.read(pair.peer).find('a') == std::string::npos);
    rig.expect_quiet();
    EXPECT(rig.count(CompletionKind::Sent) == 0);
  });
}

TEST("half-closing waits for the pending file") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    PollRig::Pair pair = rig.accepted();
    std::string text = letters(500'000);
    Fd file = file_of(text);
    EXPECT(rig.poller().send_file(pair.id, file.get(), 0, text.size()) == SendResult::Pending);
    rig.poller().shutdown_sending(pair.id);
    EXPECT(take(rig, pair.peer, text.size()) == text);
    EXPECT(rig.until(CompletionKind::Sent));
    EXPECT(rig.ends(pair.peer, PeerEnd::Closed));
  });
}

TEST("files to several connections at once all arrive as they are") {
  each_rig([](PollRig& rig) {
    rig.narrow();
    std::string text = letters(400'000);
    Fd file = file_of(text);
    PollRig::Pair pairs[3] = {rig.accepted(), rig.accepted(), rig.accepted()};
    size_t offset = 0;
    for (const PollRig::Pair& pair : pairs) {
      EXPECT(rig.poller().send_file(pair.id, file.get(), offset, 300'000) == SendResult::Pending);
      offset += 50'000;
    }
    offset = 0;
    for (const PollRig::Pair& pair : pairs) {
      EXPECT(take(rig, pair.peer, 300'000) == text.substr(offset, 300'000));
      offset += 50'000;
    }
    EXPECT(rig.until(CompletionKind::Sent, 3));
  });
}

struct Adopted {
  Fd theirs;
  ConnectionId id;
};

Adopted adopt_pair(PollRig& rig, int flags) {
  int ends[2] = {-1, -1};
  EXPECT(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  if (flags != 0) EXPECT(::fcntl(ends[0], F_SETFL, flags) == 0);
  EXPECT(rig.poller().adopt(3, Fd(ends[0])).is_ok());
  EXPECT(rig.until(CompletionKind::Accepted, rig.count(CompletionKind::Accepted) + 1));
  return {Fd(ends[1]), rig.last(CompletionKind::Accepted).id};
}

TEST("a file that the kernel won't send by itself is read and sent") {
  each_socket_rig([](SocketPollRig& rig) {
    // Linux refuses it to a socket that appends, as it does for files of some file systems.
    if (std::string(rig.poller().name()) != "epoll") return;
    Adopted one = adopt_pair(rig, O_APPEND);
    std::string text = letters((size_t{5} << 20) + 77);
    Fd file = file_of(text);
    Fd probe(::socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT(::fcntl(probe.get(), F_SETFL, O_APPEND) == 0);
    EXPECT(send_file_bytes(probe.get(), file.get(), 0, 1) == -1 && is_file_refused(errno));

    EXPECT(rig.poller().send_file(one.id, file.get(), 7, text.size() - 7) == SendResult::Pending);
    std::string got;
    std::string buffer(100'000, '\0');
    for (int i = 0; i < 100'000 && got.size() < text.size() - 7; i++) {
      ssize_t size = ::recv(one.theirs.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (size > 0) got.append(buffer, 0, static_cast<size_t>(size));
      rig.wait(size > 0 ? 0 : 5);
      if (rig.count(CompletionKind::Failed) > 0) break;
    }
    EXPECT(got == text.substr(7));
    EXPECT(rig.until(CompletionKind::Sent));
    EXPECT(rig.count(CompletionKind::Failed) == 0);
    // Its end is found that way too, and a folder is no file at all.
    EXPECT(rig.poller().send_file(one.id, file.get(), text.size(), 1) == SendResult::Failed);
    Adopted other = adopt_pair(rig, O_APPEND);
    Fd folder(::open("/", O_RDONLY | O_CLOEXEC));
    EXPECT(rig.poller().send_file(other.id, folder.get(), 0, 1) == SendResult::Failed);
  });
}

TEST("a peer that has gone does not kill the process by SIGPIPE") {
  each_socket_rig([](SocketPollRig& rig) {
    struct sigaction before = {};
    struct sigaction deadly = {};
    deadly.sa_handler = SIG_DFL;
    EXPECT(::sigaction(SIGPIPE, &deadly, &before) == 0);
    for (int flags : {0, O_APPEND}) {
      Adopted one = adopt_pair(rig, flags);
      one.theirs.reset();
      Fd file = file_of("for nobody");
      EXPECT(rig.poller().send_file(one.id, file.get(), 0, 10) == SendResult::Failed);
    }
    // Nor is one left behind that would strike later, or a mask that keeps it away from others.
    sigset_t set;
    EXPECT(::sigpending(&set) == 0 && sigismember(&set, SIGPIPE) == 0);
    EXPECT(::pthread_sigmask(SIG_BLOCK, nullptr, &set) == 0 && sigismember(&set, SIGPIPE) == 0);
    EXPECT(::sigaction(SIGPIPE, &before, nullptr) == 0);
  });
}

}  // namespace

}  // namespace millrace::test
