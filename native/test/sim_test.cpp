// What sim adds to the contract: windows, faults from a seed and time that is told to move. The
// contract itself is tested in poll_test.cpp.
#include "core/poll/sim.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "test/harness.h"

namespace millrace {

namespace {

struct Opened {
  SimPeer peer;
  ConnectionId id;
};

Opened open(Sim& sim) {
  SimPeer peer = sim.connect(0);
  for (const Completion& one : sim.wait(0)) {
    if (one.kind == CompletionKind::Accepted) return {peer, one.id};
  }
  EXPECT(false);
  return {peer, {}};
}

TEST("time stands still until it is advanced") {
  Sim sim;
  Milliseconds started = sim.now();
  UnixSeconds date = sim.wall_clock();
  EXPECT(sim.wait(kNever).empty());
  EXPECT(sim.wait(5000).empty());
  EXPECT(sim.now() == started);
  sim.advance(2500);
  EXPECT(sim.now() == started + 2500);
  EXPECT(sim.wall_clock() == date + 2);
}

TEST("a window takes what it may, and more when it opens") {
  Sim sim;
  EXPECT(sim.listen(0, Fd()).is_ok());
  Opened one = open(sim);
  sim.limit_window(one.peer, 3);
  Bytes parts[] = {"ab", "cdef"};
  EXPECT(sim.send(one.id, parts) == SendResult::Pending);
  EXPECT(sim.read(one.peer) == "abc");
  EXPECT(sim.read(one.peer).empty());
  EXPECT(sim.wait(0).empty());
  sim.limit_window(one.peer, 2);
  std::span<const Completion> batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::Progressed);
  sim.limit_window(one.peer, 1);
  batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::Sent);
  EXPECT(sim.read(one.peer) == "def");
  Bytes more[] = {"g"};
  EXPECT(sim.send(one.id, more) == SendResult::Pending);
}

TEST("bytes can be made to arrive one at a time") {
  Sim sim;
  EXPECT(sim.listen(0, Fd()).is_ok());
  Opened one = open(sim);
  sim.set_received_bytes_max(1);
  sim.write(one.peer, "xyz");
  sim.half_close(one.peer);
  std::string got;
  for (int i = 0; i < 3; i++) {
    std::span<const Completion> batch = sim.wait(0);
    EXPECT(batch.size() == 1 && batch[0].bytes.size() == 1);
    got.append(batch[0].bytes.data(), batch[0].bytes.size());
  }
  EXPECT(got == "xyz");
  std::span<const Completion> batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::PeerClosed);
  sim.write(one.peer, "after the end");
  EXPECT(sim.wait(0).empty());
}

TEST("a peer that left takes one more send and then the connection fails") {
  Sim sim;
  EXPECT(sim.listen(0, Fd()).is_ok());
  Opened one = open(sim);
  sim.close(one.peer);
  std::span<const Completion> batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::PeerClosed);
  Bytes parts[] = {"lost"};
  EXPECT(sim.send(one.id, parts) == SendResult::Done);
  EXPECT(sim.read(one.peer).empty());
  batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::Failed);
}

TEST("closing with bytes unread is a reset for the peer") {
  Sim sim;
  EXPECT(sim.listen(0, Fd()).is_ok());
  Opened one = open(sim);
  sim.write(one.peer, "unread");
  sim.close(one.id, false);
  EXPECT(sim.saw_close(one.peer));
  EXPECT(sim.saw_reset(one.peer));
  EXPECT(sim.open_connections() == 0);
}

TEST("an accept can be made to fail, once, and goes on when resumed") {
  Sim sim;
  EXPECT(sim.listen(0, Fd()).is_ok());
  sim.connect(0);
  sim.connect(0);
  sim.fail_next_accept(ENFILE);
  std::span<const Completion> batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::AcceptFailed);
  EXPECT(batch[0].error == ENFILE);
  EXPECT(sim.wait(0).empty());
  sim.resume_accepting();
  EXPECT(sim.wait(0).size() == 2);
  EXPECT(sim.open_connections() == 2);
}

TEST("who waits at a listener that goes away is accepted before, or else refused") {
  Sim sim;
  EXPECT(sim.listen(0, Fd()).is_ok());
  SimPeer first = sim.connect(0);
  SimPeer second = sim.connect(0);
  sim.limit_accepts(1);
  sim.unlisten(0);
  EXPECT(sim.wait(0).size() == 1);
  EXPECT(!sim.saw_close(first));
  EXPECT(sim.saw_close(second));
  EXPECT(sim.wait(0).empty());
}

TEST("a peer that is called answers with the next wait, and is named by its connection") {
  Sim sim;
  ConnectionId id = sim.connect(DialTarget{.address = "192.0.2.7", .port = 443}).value();
  SimPeer peer = sim.dialed(id);
  EXPECT(sim.dialed_address(peer) == "192.0.2.7");
  EXPECT(sim.dialed_port(peer) == 443);
  EXPECT(!sim.was_accepted(peer));
  EXPECT(sim.has_news());
  sim.write(peer, "early");
  std::span<const Completion> batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::Connected && batch[0].id == id);
  EXPECT(sim.was_accepted(peer));
  EXPECT(sim.totals().connected == 1);
  batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::Received);
  sim.close(id, false);
  EXPECT(sim.dialed(id) == UINT32_MAX);
  EXPECT(sim.saw_close(peer));
  EXPECT(!sim.saw_reset(peer));
}

TEST("answers that are held come when told to, as a yes or as an errno") {
  Sim sim;
  sim.hold_answers(true);
  ConnectionId yes = sim.connect(DialTarget{}).value();
  ConnectionId no = sim.connect(DialTarget{}).value();
  ConnectionId lost = sim.connect(DialTarget{}).value();
  EXPECT(!sim.has_news());
  EXPECT(sim.wait(0).empty());
  sim.answer(sim.dialed(no), EHOSTUNREACH);
  EXPECT(sim.has_news());
  std::span<const Completion> batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::Failed && batch[0].id == no);
  EXPECT(batch[0].error == EHOSTUNREACH);
  EXPECT(!sim.has_news());
  sim.answer(sim.dialed(yes));
  sim.reset(sim.dialed(lost));
  batch = sim.wait(0);
  EXPECT(batch.size() == 2);
  EXPECT(batch[0].kind == CompletionKind::Connected && batch[0].id == yes);
  EXPECT(batch[1].kind == CompletionKind::Failed && batch[1].error == ECONNRESET);
  EXPECT(sim.open_connections() == 3);
}

TEST("dialing can be made to fail, at once or by a fault, and takes the descriptor along") {
  Sim sim;
  sim.fail_next_connect(EMFILE);
  int ends[2] = {-1, -1};
  EXPECT(::pipe(ends) == 0);
  EXPECT(sim.connect(DialTarget{.fd = ends[0]}).status().error() == EMFILE);
  EXPECT(::fcntl(ends[0], F_GETFD) == -1);
  EXPECT(sim.open_connections() == 0);
  sim.hold_answers(true);
  EXPECT(sim.connect(DialTarget{.fd = ends[1]}).is_ok());
  EXPECT(::fcntl(ends[1], F_GETFD) == -1);
  EXPECT(sim.wait(0)[0].kind == CompletionKind::Connected);
  sim.set_faults({.dial_error = 1000});
  sim.hold_answers(false);
  EXPECT(sim.connect(DialTarget{}).is_ok());
  std::span<const Completion> batch = sim.wait(0);
  EXPECT(batch.size() == 1 && batch[0].kind == CompletionKind::Failed);
  EXPECT(batch[0].error == ETIMEDOUT);
  EXPECT(sim.totals().connected == 1);
}

// Echoes for a while under faults; the log holds all that was seen, in order.
std::string run_with_faults(const SimFaults& faults) {
  Sim sim(faults);
  EXPECT(sim.listen(0, Fd()).is_ok());
  std::string log;
  std::string expected;
  std::string echoed;
  std::string held[64];  // bytes of pending sends, by index
  SimPeer peer = sim.connect(0);
  for (int i = 0; i < 400; i++) {
    if (i < 100) {
      std::string text = "message " + std::to_string(i) + ";";
      sim.write(peer, text);
      expected += text;
    }
    for (const Completion& one : sim.wait(0)) {
      log += std::to_string(static_cast<int>(one.kind)) + ":" + std::to_string(one.bytes.size());
      log += " ";
      if (one.kind == CompletionKind::AcceptFailed) sim.resume_accepting();
      if (one.kind == CompletionKind::Failed) sim.close(one.id, false);
      if (one.kind == CompletionKind::Sent) sim.resume_receiving(one.id);
      if (one.kind != CompletionKind::Received) continue;
      held[one.id.index].assign(one.bytes.data(), one.bytes.size());
      Bytes parts[] = {held[one.id.index]};
      if (sim.send(one.id, parts) == SendResult::Pending) sim.pause_receiving(one.id);
    }
    echoed += sim.read(peer);
  }
  if (faults.reset == 0) EXPECT(echoed == expected);
  return log;
}

TEST("faults follow from the seed, and without resets every byte arrives in order") {
  SimFaults faults = {.seed = 3, .short_read = 500, .short_write = 500, .accept_error = 500};
  std::string log = run_with_faults(faults);
  EXPECT(log == run_with_faults(faults));
  EXPECT(log.find(std::to_string(static_cast<int>(CompletionKind::Progressed)) + ":") !=
         std::string::npos);
  faults.seed = 4;
  EXPECT(log != run_with_faults(faults));
  EXPECT(run_with_faults({}) == run_with_faults({}));
  faults.reset = 20;
  EXPECT(run_with_faults(faults) == run_with_faults(faults));
}

TEST("a shifted wall clock leaves monotonic time alone") {
  Sim sim;
  Milliseconds started = sim.now();
  UnixSeconds date = sim.wall_clock();
  sim.shift_wall_clock(-100);
  EXPECT(sim.wall_clock() == date - 100);
  EXPECT(sim.now() == started);
}

TEST("what happens while a wait sleeps is in its batch") {
  Sim sim;
  EXPECT(sim.listen(0, Fd()).is_ok());
  Opened opened = open(sim);
  struct World {
    Sim& sim;
    SimPeer peer;
    int sleeps;
  } world{sim, opened.peer, 0};
  sim.set_sleep(
      [](void* who, Milliseconds at_most) {
        auto& seen = *static_cast<World*>(who);
        seen.sleeps++;
        seen.sim.write(seen.peer, "late");
        seen.sim.advance(at_most);
      },
      &world);
  Milliseconds started = sim.now();
  EXPECT(sim.wait(0).empty());
  EXPECT(world.sleeps == 0);
  EXPECT(sim.wait(50).size() == 1);
  EXPECT(world.sleeps == 1);
  EXPECT(sim.now() == started + 50);
  sim.write(opened.peer, "at hand");
  EXPECT(sim.wait(50).size() == 1);
  EXPECT(world.sleeps == 1);
}

TEST("there is news when a wait would return something") {
  Sim sim;
  SimPeer early = sim.connect(0);
  EXPECT(!sim.has_news());
  EXPECT(!sim.was_accepted(early));
  EXPECT(sim.listen(0, Fd()).is_ok());
  EXPECT(sim.has_news());
  ConnectionId id = sim.wait(0)[0].id;
  EXPECT(sim.was_accepted(early));
  EXPECT(!sim.has_news());
  sim.write(early, "a");
  EXPECT(sim.has_news());
  sim.pause_receiving(id);
  EXPECT(!sim.has_news());
  sim.close(id, false);
  EXPECT(sim.has_news());
  EXPECT(sim.closing_connections() == 1);
  EXPECT(sim.wait(0).size() == 1);
  EXPECT(sim.closing_connections() == 0);
  EXPECT(!sim.has_news());
}

TEST("totals tell what came, what left, and what of a send has not left") {
  Sim sim;
  EXPECT(sim.listen(0, Fd()).is_ok());
  Opened opened = open(sim);
  sim.limit_window(opened.peer, 4);
  sim.write(opened.peer, "12345");
  EXPECT(sim.wait(0).size() == 1);
  EXPECT(sim.totals().accepted == 1);
  EXPECT(sim.totals().bytes_received == 5);
  EXPECT(sim.bytes_taken(opened.peer) == 5);
  Bytes parts[] = {"abc", "def"};
  EXPECT(sim.send(opened.id, parts) == SendResult::Pending);
  EXPECT(sim.pending_sends() == 1);
  EXPECT(sim.totals().bytes_sent == 4);
  EXPECT(sim.totals().bytes_unfinished == 4);
  sim.limit_window(opened.peer, 2);
  EXPECT(sim.wait(0).size() == 1);
  EXPECT(sim.pending_sends() == 0);
  EXPECT(sim.totals().bytes_sent == 6);
  EXPECT(sim.totals().bytes_unfinished == 0);
  EXPECT(sim.totals().completions == 3);
}

}  // namespace

}  // namespace millrace
