// The group by itself: who is chosen, what a closed inbox does with a descriptor, and the bound.
#include "core/lane/group.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "test/harness.h"

namespace millrace::test {
namespace {

constexpr uint32_t kLoops = 3;

struct Members {
  explicit Members(uint32_t connections_max = 100) {
    for (uint32_t i = 0; i < kLoops; i++) {
      group.join(
          i, connections_max, [](void* who) { ++*static_cast<std::atomic<int>*>(who); }, &wakes[i]);
    }
  }
  std::array<std::atomic<int>, kLoops> wakes{};
  Group group{kLoops};
};

Handed made() {
  Handed handed{.listener = 7, .socket = Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), .peer = {}};
  handed.peer.port = 4711;
  return handed;
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST("the fewest is chosen, and the one that asks where none has fewer") {
  Members members;
  Group& group = members.group;
  EXPECT(group.reserve(2) == 2);
  EXPECT(group.reserve(2) == 0);
  EXPECT(group.reserve(2) == 1);
  EXPECT(group.reserve(1) == 1);
  group.give_back(2);
  EXPECT(group.reserve(1) == 2);
  for (int i = 0; i < 5; i++) group.add(0);
  for (int i = 0; i < 4; i++) EXPECT(group.reserve(0) != 0);
}

TEST("who takes none is not chosen by others, and nobody is where all are full") {
  Members members(2);
  Group& group = members.group;
  group.set_taking(1, false);
  for (int i = 0; i < 4; i++) EXPECT(group.reserve(0) != 1);
  EXPECT(group.reserve(0) == Group::kNobody);
  EXPECT(group.reserve(2) == Group::kNobody);
  group.set_taking(1, true);
  EXPECT(group.reserve(0) == 1);
  EXPECT(group.reserve(0) == 1);
  EXPECT(group.reserve(0) == Group::kNobody);
  group.give_back(1);
  EXPECT(group.reserve(0) == 1);
}

TEST("what is handed over arrives whole, with one wake-up until it is taken") {
  Members members;
  Handed first = made();
  Handed second = made();
  int number = first.socket.get();
  EXPECT(members.group.hand_over(1, first));
  EXPECT(members.group.hand_over(1, second));
  EXPECT(members.wakes[1] == 1 && members.wakes[0] == 0);
  EXPECT(members.group.has_any(1) && !members.group.has_any(0));
  std::vector<Handed> taken;
  members.group.take(1, taken);
  EXPECT(!members.group.has_any(1));
  EXPECT(taken.size() == 2 && taken[0].socket.get() == number);
  EXPECT(taken[0].listener == 7 && taken[0].peer.port == 4711);
  Handed third = made();
  EXPECT(members.group.hand_over(1, third));
  EXPECT(members.wakes[1] == 2);
}

TEST("who closes takes what was handed over before, and gives back what comes after") {
  Members members;
  Group& group = members.group;
  EXPECT(group.reserve(0) == 0);
  EXPECT(group.reserve(0) == 1);
  Handed before = made();
  EXPECT(group.hand_over(1, before));
  EXPECT(group.reserve(0) == 2);
  group.give_back(2);
  group.give_back(1);
  EXPECT(group.reserve(0) == 1);  // chosen before it closes
  std::vector<Handed> rest;
  group.close(1, rest);
  EXPECT(rest.size() == 1);
  Handed after = made();
  EXPECT(!group.hand_over(1, after));
  EXPECT(after.socket.is_open() && is_open(after.socket.get()));
  EXPECT(group.connections(1) == 0);
  EXPECT(group.reserve(2) == 2);  // not the closed one
}

TEST("a group that ends closes what nobody took") {
  int number = -1;
  {
    Members members;
    Handed handed = made();
    number = handed.socket.get();
    EXPECT(members.group.hand_over(1, handed));
    EXPECT(is_open(number));
  }
  EXPECT(!is_open(number));
}

TEST("threads that choose at once never pass the bound and stay in balance") {
  constexpr uint32_t kMax = 400;
  Members members(kMax);
  std::vector<std::thread> threads;
  std::atomic<uint32_t> places{0};
  for (uint32_t self = 0; self < kLoops; self++) {
    threads.emplace_back([&members, &places, self] {
      while (members.group.reserve(self) != Group::kNobody) places++;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT(places == kLoops * kMax);
  for (uint32_t i = 0; i < kLoops; i++) EXPECT(members.group.connections(i) == kMax);
}

}  // namespace
}  // namespace millrace::test
