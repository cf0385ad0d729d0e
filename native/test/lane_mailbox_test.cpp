// The mailbox: order, bounds, wake-ups, and its end while others post.
#include "core/lane/mailbox.h"

#include <atomic>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "core/lane/bell.h"
#include "test/harness.h"

namespace millrace {
namespace {

SharedMessageRef message_of(Bytes payload) {
  return SharedMessageRef(SharedMessage::make(1, payload));
}
void count_wake(void* count) { ++*static_cast<int*>(count); }

TEST("a mailbox hands over all posts in their order, and appends to what is there") {
  Mailbox mailbox;
  std::vector<Post> taken;
  EXPECT(mailbox.is_empty());
  EXPECT(mailbox.post(Bytes("\0a", 2), message_of("one")));
  EXPECT(mailbox.post("b", message_of("two")));
  EXPECT(!mailbox.is_empty());
  mailbox.take(taken);
  EXPECT(mailbox.is_empty());
  EXPECT(mailbox.post("c", message_of("three")));
  mailbox.take(taken);
  mailbox.take(taken);
  if (!EXPECT(taken.size() == 3)) return;
  EXPECT(taken[0].topic == std::string("\0a", 2) && taken[0].message.get()->payload() == "one");
  EXPECT(taken[1].topic == "b" && taken[1].message.get()->payload() == "two");
  EXPECT(taken[2].topic == "c" && taken[2].message.get()->payload() == "three");
}

TEST("a mailbox wakes each time it stops being empty, and then only") {
  Mailbox mailbox;
  int wakes = 0;
  mailbox.set_wake(&count_wake, &wakes);
  std::vector<Post> taken;
  for (int round = 1; round <= 3; round++) {
    mailbox.post("a", message_of("1"));
    EXPECT(wakes == round);
    mailbox.post("a", message_of("2"));
    EXPECT(wakes == round);
    taken.clear();
    mailbox.take(taken);
    EXPECT(taken.size() == 2);
  }
}

TEST("a mailbox takes as many posts as its bound and counts what it drops") {
  Mailbox mailbox;
  SharedMessageRef message = message_of("");
  size_t refused = 0;
  for (size_t i = 0; i < Mailbox::kPostsMax; i++)
    refused += mailbox.post("", message.copy()) ? 0 : 1;
  EXPECT(refused == 0);
  EXPECT(!mailbox.post("", message.copy()));
  EXPECT(!mailbox.post("", message.copy()));
  EXPECT(mailbox.dropped() == 2);
  std::vector<Post> taken;
  mailbox.take(taken);
  EXPECT(taken.size() == Mailbox::kPostsMax);
  EXPECT(mailbox.post("", message.copy()));
  EXPECT(mailbox.dropped() == 2);
}

TEST("a mailbox takes posts until its bytes are reached, and the one that reaches them whole") {
  constexpr size_t kPiece = size_t{1} << 20;
  Mailbox mailbox;
  SharedMessageRef message = message_of(std::string(kPiece - 1, 'x'));
  for (size_t i = 0; i < Mailbox::kBytesMax / kPiece - 1; i++) mailbox.post("k", message.copy());
  // One byte below the bound.
  EXPECT(mailbox.post("", message.copy()));
  EXPECT(mailbox.post("k", message_of("")));
  EXPECT(!mailbox.post("", message_of("")));
  EXPECT(mailbox.dropped() == 1);
  std::vector<Post> taken;
  mailbox.take(taken);
  EXPECT(taken.size() == Mailbox::kBytesMax / kPiece + 1);
  taken.clear();

  char* room = nullptr;
  SharedMessageRef large(SharedMessage::allocate(2, Mailbox::kBytesMax + 1, room));
  EXPECT(mailbox.post("k", message_of("small")));
  EXPECT(mailbox.post("k", large.copy()));
  EXPECT(!mailbox.post("k", message_of("small")));
  mailbox.take(taken);
  EXPECT(taken.size() == 2);
  EXPECT(mailbox.post("k", message_of("small")));
}

TEST("a closed mailbox drops what it had and what comes, and wakes nobody") {
  Mailbox mailbox;
  int wakes = 0;
  mailbox.set_wake(&count_wake, &wakes);
  EXPECT(!mailbox.is_closed());
  EXPECT(mailbox.post("a", message_of("1")));
  mailbox.close();
  EXPECT(mailbox.is_closed() && mailbox.is_empty());
  EXPECT(!mailbox.post("a", message_of("2")));
  EXPECT(wakes == 1 && mailbox.is_empty() && mailbox.dropped() == 0);
  std::vector<Post> taken;
  mailbox.take(taken);
  EXPECT(taken.empty());
  mailbox.close();
}

// A consumer that sleeps for real behind a bell, as a loop does.
struct Sleeper {
  Bell bell;
  std::counting_semaphore<> wakes{0};
  Sleeper() {
    bell.set_wake([](void* who) { static_cast<Sleeper*>(who)->wakes.release(); }, this);
  }
  static void ring(void* who) { static_cast<Sleeper*>(who)->bell.ring(); }
  void sleep_unless_posted(const Mailbox& mailbox) {
    bell.fall_asleep();
    if (mailbox.is_empty()) wakes.acquire();
    bell.stay_awake();
  }
};

TEST("posts of several threads arrive all, each thread's in order, and no wake-up is lost") {
  constexpr size_t kThreads = 3;
  constexpr size_t kPosts = 15'000;  // in all within the bound
  Mailbox mailbox;
  Sleeper sleeper;
  mailbox.set_wake(&Sleeper::ring, &sleeper);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; t++) {
    threads.emplace_back([&mailbox, t] {
      std::string key(1, static_cast<char>(t));
      for (size_t i = 0; i < kPosts; i++) mailbox.post(key, message_of(std::to_string(i)));
    });
  }
  size_t next[kThreads] = {};
  size_t wrong = 0;
  std::vector<Post> taken;
  for (size_t count = 0; count < kThreads * kPosts; count += taken.size()) {
    taken.clear();
    mailbox.take(taken);
    if (taken.empty()) sleeper.sleep_unless_posted(mailbox);
    for (Post& post : taken) {
      size_t& expected = next[static_cast<size_t>(post.topic[0])];
      wrong += post.message.get()->payload() == std::to_string(expected++) ? 0 : 1;
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT(wrong == 0 && mailbox.is_empty() && mailbox.dropped() == 0);
}

TEST("a mailbox that is closed while threads post drops all of it") {
  for (int round = 0; round < 200; round++) {
    Mailbox mailbox;
    int wakes = 0;  // of the only poster that finds it empty
    mailbox.set_wake(&count_wake, &wakes);
    SharedMessageRef message = message_of("shared");
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; t++) {
      threads.emplace_back([&mailbox, mine = message.copy()] {
        while (mailbox.post("some topic that is not short", mine.copy())) {}
      });
    }
    while (mailbox.is_empty()) std::this_thread::yield();
    mailbox.close();
    for (std::thread& thread : threads) thread.join();
    EXPECT(mailbox.is_empty() && wakes == 1);
  }
}

}  // namespace
}  // namespace millrace
