// The bell: a sleeper is woken for what came before it slept, and once per sleep.
#include "core/lane/bell.h"

#include <atomic>
#include <semaphore>
#include <thread>

#include "core/lane/lane.h"
#include "test/harness.h"

namespace millrace {
namespace {

void count_wake(void* count) { ++*static_cast<int*>(count); }

TEST("a bell rings once per sleep and never for who is awake") {
  Bell bell;
  int wakes = 0;
  bell.ring();  // without a way to wake: silent
  bell.fall_asleep();
  bell.ring();
  bell.set_wake(&count_wake, &wakes);
  bell.ring();
  EXPECT(wakes == 0);
  bell.fall_asleep();
  bell.ring();
  bell.ring();
  EXPECT(wakes == 1);
  bell.fall_asleep();
  bell.stay_awake();
  bell.ring();
  EXPECT(wakes == 1);
}

// A thread that sleeps for real, as a loop does in its poller and Node in libuv: a wake-up is never
// forgotten.
struct Sleeper {
  std::counting_semaphore<> wakes{0};
  std::atomic<int64_t> wake_count{0};
  int64_t sleeps = 0;

  static void wake(void* who) {
    auto* sleeper = static_cast<Sleeper*>(who);
    sleeper->wake_count.fetch_add(1, std::memory_order_relaxed);
    sleeper->wakes.release();
  }
  void sleep() {
    sleeps++;
    wakes.acquire();
  }
};

constexpr uint64_t kRounds = 200'000;
constexpr size_t kRecordSize = 64;

void put_record(Ring& ring, uint64_t number) {
  char* record = ring.reserve(kRecordSize);
  while (record == nullptr) {
    std::this_thread::yield();
    record = ring.reserve(kRecordSize);
  }
  auto* command = new (record) Command();
  command->size = kRecordSize;
  command->kind = 1;
  command->blob = number;
  ring.commit(kRecordSize);
}

uint64_t take_record(Ring& ring, Bell& bell, Sleeper& sleeper) {
  for (;;) {
    if (char* record = ring.front(); record != nullptr) {
      uint64_t number = reinterpret_cast<const Command*>(record)->blob;
      ring.pop(kRecordSize);
      return number;
    }
    bell.fall_asleep();
    if (ring.is_empty()) {
      sleeper.sleep();
    }
    bell.stay_awake();
  }
}

TEST("no wake-up is lost between two threads that answer each other") {
  Ring there(4096);
  Ring back(4096);
  Bell bell_there;
  Bell bell_back;
  Sleeper sleeper_there;
  Sleeper sleeper_back;
  bell_there.set_wake(&Sleeper::wake, &sleeper_there);
  bell_back.set_wake(&Sleeper::wake, &sleeper_back);
  std::thread other([&] {
    for (uint64_t i = 0; i < kRounds; i++) {
      uint64_t number = take_record(there, bell_there, sleeper_there);
      put_record(back, number);
      bell_back.ring();
    }
  });
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < kRounds; i++) {
    put_record(there, i);
    bell_there.ring();
    wrong += take_record(back, bell_back, sleeper_back) == i ? 0 : 1;
  }
  other.join();
  EXPECT(wrong == 0);
  EXPECT(sleeper_back.sleeps > 0);
  // A wake may cross a second look that found the record; never more than one per falling asleep.
  EXPECT(sleeper_back.wake_count.load() <= static_cast<int64_t>(kRounds) * 2);
}

TEST("a stream of records wakes whenever its reader slept, and never twice for one sleep") {
  Ring ring(4096);
  Bell bell;
  Sleeper sleeper;
  bell.set_wake(&Sleeper::wake, &sleeper);
  std::atomic<int64_t> falls{0};
  std::thread producer([&] {
    for (uint64_t i = 0; i < kRounds; i++) {
      put_record(ring, i);
      bell.ring();
    }
  });
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < kRounds; i++) {
    for (;;) {
      if (char* record = ring.front(); record != nullptr) {
        wrong += reinterpret_cast<const Command*>(record)->blob == i ? 0 : 1;
        ring.pop(kRecordSize);
        break;
      }
      falls.fetch_add(1, std::memory_order_relaxed);
      bell.fall_asleep();
      if (ring.is_empty()) sleeper.sleep();
      bell.stay_awake();
    }
  }
  producer.join();
  EXPECT(wrong == 0);
  EXPECT(sleeper.wake_count.load() <= falls.load());
  EXPECT(sleeper.wake_count.load() >= sleeper.sleeps);
}

TEST("a loop that waits for room is woken when the last event is taken") {
  // The producer fills the lane and sleeps; the consumer only pops and says so, it never writes a
  // command.
  Lane lane;
  Sleeper sleeper;
  lane.loop_bell.set_wake(&Sleeper::wake, &sleeper);
  constexpr uint64_t kEvents = 200'000;
  constexpr size_t kSize = 4096;
  std::thread loop([&] {
    for (uint64_t i = 0; i < kEvents; i++) {
      char* record = lane.events.reserve(kSize);
      while (record == nullptr) {
        lane.loop_waits_for_room.store(true, std::memory_order_relaxed);
        lane.loop_bell.fall_asleep();
        if (!lane.events.has_room(kSize)) sleeper.sleep();
        lane.loop_bell.stay_awake();
        record = lane.events.reserve(kSize);
      }
      lane.loop_waits_for_room.store(false, std::memory_order_relaxed);
      auto* event = new (record) Event();
      event->size = kSize;
      event->kind = static_cast<uint16_t>(EventKind::PeerClosed);
      event->head_a = static_cast<uint32_t>(i);
      lane.events.commit(kSize);
    }
  });
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < kEvents;) {
    char* record = lane.events.front();
    if (record == nullptr) {
      std::this_thread::yield();
      continue;
    }
    wrong += reinterpret_cast<const Event*>(record)->head_a == static_cast<uint32_t>(i) ? 0 : 1;
    lane.events.pop(kSize);
    lane.events_taken();
    i++;
  }
  loop.join();
  EXPECT(wrong == 0);
}

TEST("a lane frees the blobs of what nobody took") {
  Lane lane;
  char* record = lane.events.reserve(sizeof(Event));
  auto* event = new (record) Event();
  event->size = sizeof(Event);
  event->kind = static_cast<uint16_t>(EventKind::Request);
  event->flags = kEventBodyIsBlob;
  event->body_length = 1000;
  event->blob = reinterpret_cast<uint64_t>(Blob::uninitialized(1000).release());
  lane.events.commit(sizeof(Event));
  record = lane.commands.reserve(sizeof(Command));
  auto* command = new (record) Command();
  command->size = sizeof(Command);
  command->kind = static_cast<uint16_t>(CommandKind::Respond);
  command->flags = kCommandBodyIsBlob;
  command->body_length = 1000;
  command->blob = reinterpret_cast<uint64_t>(Blob::uninitialized(1000).release());
  lane.commands.commit(sizeof(Command));
  EXPECT(!lane.events.is_empty() && !lane.commands.is_empty());
}

}  // namespace
}  // namespace millrace
