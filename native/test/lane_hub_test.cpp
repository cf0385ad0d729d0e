// The hub: counts by topic and mailbox, what reaches whom, and mailboxes that end meanwhile.
#include "core/lane/hub.h"

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "test/harness.h"

namespace millrace {
namespace {

SharedMessageRef message_of(Bytes payload) {
  return SharedMessageRef(SharedMessage::make(1, payload));
}
size_t publish(Hub& hub, Bytes topic, Bytes payload) {
  return hub.publish("", topic, message_of(payload), {}, {});
}
std::string taken_from(Mailbox& mailbox) {
  std::vector<Post> posts;
  mailbox.take(posts);
  std::string all;
  for (Post& post : posts) {
    all += post.topic + "=";
    all += post.message.get()->payload();
    all += ";";
  }
  return all;
}

TEST("a hub counts by topic and space, and never below zero") {
  Hub hub;
  Mailbox a;
  Mailbox b;
  hub.remove("", "t", a);
  EXPECT(hub.count("", "t") == 0);
  hub.add("", "t", a);
  hub.add("", "t", a);
  hub.add("", "t", b);
  hub.add("s", "t", b);
  EXPECT(hub.count("", "t") == 3 && hub.count("s", "t") == 1 && hub.count("", "st") == 0);
  hub.remove("", "t", b);
  hub.remove("", "t", b);
  EXPECT(hub.count("", "t") == 2 && hub.count("s", "t") == 1);
  hub.remove("", "t", a);
  hub.remove("", "t", a);
  hub.remove("", "t", a);
  EXPECT(hub.count("", "t") == 0);
  hub.add("", "t", a);
  EXPECT(hub.count("", "t") == 1);
}

TEST("a message is posted once to each mailbox with subscribers of its topic, and to no other") {
  Hub hub;
  Mailbox a;
  Mailbox b;
  Mailbox c;
  hub.add("", "t", a);
  hub.add("", "t", a);
  hub.add("", "t", b);
  hub.add("", "u", c);
  hub.add("s", "t", c);
  EXPECT(publish(hub, "t", "1") == 3);
  EXPECT(publish(hub, "none", "2") == 0);
  EXPECT(hub.publish("s", "t", message_of("3"), {}, {}) == 1);
  EXPECT(taken_from(a) == std::string("\0t=1;", 5));
  EXPECT(taken_from(b) == std::string("\0t=1;", 5));
  EXPECT(taken_from(c) == std::string("s\0t=3;", 6));
  hub.remove("", "t", a);
  EXPECT(publish(hub, "t", "4") == 2);
  hub.remove("", "t", a);
  EXPECT(publish(hub, "t", "5") == 1);
  EXPECT(taken_from(a) == std::string("\0t=4;", 5));
  EXPECT(taken_from(b) == std::string("\0t=4;\0t=5;", 10));
}

TEST("a publisher's own mailboxes get no post, and it learns which are interested") {
  Hub hub;
  Mailbox a;
  Mailbox b;
  Mailbox c;
  hub.add("", "t", a);
  hub.add("", "t", c);
  hub.add("", "t", c);
  std::array<Mailbox*, 2> own = {&b, &c};
  std::array<bool, 2> interested = {true, false};
  EXPECT(hub.publish("", "t", message_of("1"), own, interested) == 3);
  EXPECT(!interested[0] && interested[1]);
  EXPECT(!a.is_empty() && b.is_empty() && c.is_empty());
  interested = {true, true};
  EXPECT(hub.publish("", "none", message_of("1"), own, interested) == 0);
  EXPECT(!interested[0] && !interested[1]);
}

TEST("a message reaches more mailboxes than have their place on the stack, by long keys too") {
  for (size_t count : {15u, 16u, 17u, 100u}) {
    Hub hub;
    std::string topic(count * 10, 't');  // 1000 is a long one
    std::vector<std::unique_ptr<Mailbox>> mailboxes;
    for (size_t i = 0; i < count; i++) {
      mailboxes.push_back(std::make_unique<Mailbox>());
      hub.add("space", topic, *mailboxes.back());
    }
    EXPECT(hub.publish("space", topic, message_of("1"), {}, {}) == count);
    for (auto& mailbox : mailboxes)
      EXPECT(taken_from(*mailbox) == "space" + std::string(1, '\0') + topic + "=1;");
  }
}

TEST("topics that only differ behind a long beginning are two") {
  Hub hub;
  Mailbox a;
  for (size_t length : {254u, 255u, 256u, 257u}) {
    std::string topic(length, 't');
    hub.add("", topic, a);
    EXPECT(hub.count("", topic) == 1);
    EXPECT(hub.count("", topic + "t") == 0);
    topic.back() = 'u';
    EXPECT(hub.count("", topic) == 0);
  }
}

TEST("a forgotten mailbox has no counts left, and a closed one gets no new ones") {
  Hub hub;
  Mailbox a;
  Mailbox b;
  for (const char* topic : {"t", "u", "v"}) {
    hub.add("", topic, a);
    hub.add("", topic, a);
  }
  hub.add("", "u", b);
  a.close();
  hub.add("", "w", a);
  EXPECT(hub.count("", "w") == 0 && hub.count("", "t") == 2);
  hub.forget(a);
  hub.forget(a);
  EXPECT(hub.count("", "t") == 0 && hub.count("", "u") == 1 && hub.count("", "v") == 0);
  hub.add("", "t", a);
  hub.remove("", "u", a);
  EXPECT(hub.count("", "t") == 0 && hub.count("", "u") == 1);
  EXPECT(publish(hub, "u", "1") == 1);
}

TEST("the hub of the process is one") { EXPECT(&Hub::of_process() == &Hub::of_process()); }

// The publisher is held in its wake-up until the forgetter has taken the counts away. That it sees
// them go shows that the hub is not locked while a message is posted.
struct HeldWake {
  Hub* hub;
  std::atomic<bool> is_inside{false};
  std::atomic<bool> has_forgotten{false};
  bool was_early = false;
  static void wake(void* who) {
    auto& self = *static_cast<HeldWake*>(who);
    self.is_inside.store(true);
    while (self.hub->count("", "t") > 0) std::this_thread::yield();
    for (int i = 0; i < 2000; i++) std::this_thread::yield();  // time for what must not happen
    self.was_early = self.has_forgotten.load();
  }
};

TEST("forgetting a mailbox waits for who is posting to it, and for nobody else") {
  Hub hub;
  Mailbox a;
  Mailbox b;
  HeldWake held{&hub};
  a.set_wake(&HeldWake::wake, &held);
  hub.add("", "t", a);
  hub.add("", "u", b);
  std::thread publisher([&] { publish(hub, "t", "1"); });
  while (!held.is_inside.load()) std::this_thread::yield();
  hub.forget(b);
  EXPECT(publish(hub, "u", "2") == 0);
  a.close();
  hub.forget(a);
  held.has_forgotten.store(true);
  publisher.join();
  EXPECT(!held.was_early);
}

// Mailboxes that come and go on one thread, while others publish to them and count.
TEST("mailboxes come and end while others publish, and none is touched after its end") {
  Hub hub;
  std::atomic<bool> is_over{false};
  std::atomic<int> wrong{0};
  Mailbox lasting;
  hub.add("", "t", lasting);
  std::vector<std::thread> publishers;
  std::array<size_t, 2> counts{};
  for (size_t& count : counts) {
    publishers.emplace_back([&] {
      while (!is_over.load(std::memory_order_relaxed)) {
        size_t reached = publish(hub, "t", "message");
        if (reached < 1 || reached > 4) wrong.fetch_add(1);
        count++;
      }
    });
  }
  std::atomic<int> wakes{0};
  for (int round = 0; round < 1000; round++) {
    std::vector<std::unique_ptr<Mailbox>> mailboxes;
    std::vector<Post> posts;
    for (int i = 0; i < 3; i++) {
      mailboxes.push_back(std::make_unique<Mailbox>());
      mailboxes.back()->set_wake(
          [](void* who) { static_cast<std::atomic<int>*>(who)->fetch_add(1); }, &wakes);
      hub.add("", "t", *mailboxes.back());
    }
    if (round % 8 == 0) {
      while (mailboxes[0]->is_empty()) std::this_thread::yield();
    }
    mailboxes[0]->take(posts);
    for (auto& mailbox : mailboxes) {
      mailbox->close();
      hub.forget(*mailbox);
      mailbox.reset();
    }
    lasting.take(posts);
  }
  is_over.store(true);
  for (std::thread& thread : publishers) thread.join();
  EXPECT(wrong.load() == 0 && counts[0] > 0 && counts[1] > 0 && wakes.load() > 0);
  EXPECT(hub.count("", "t") == 1);
}

TEST("counts of several threads add up") {
  Hub hub;
  std::vector<std::thread> threads;
  std::array<Mailbox, 3> mailboxes;
  for (Mailbox& mailbox : mailboxes) {
    threads.emplace_back([&hub, &mailbox] {
      for (int i = 0; i < 3000; i++) {
        std::string topic = std::to_string(i % 7);
        hub.add("", topic, mailbox);
        if (i % 3 != 0) hub.remove("", topic, mailbox);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  size_t sum = 0;
  for (int i = 0; i < 7; i++) sum += hub.count("", std::to_string(i));
  EXPECT(sum == 3000);
}

}  // namespace
}  // namespace millrace
