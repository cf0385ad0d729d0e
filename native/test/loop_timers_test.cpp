// The wheel: a deadline is never early, at most a tick late, and nobody sleeps past it.
#include "core/loop/timers.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "test/harness.h"

namespace millrace {
namespace {

constexpr Milliseconds kStart = 1'000'003;
constexpr Milliseconds kRound = Timers::kTick * static_cast<Milliseconds>(Timers::kSlots);

std::vector<uint32_t> expire(Timers& timers, Milliseconds now) {
  std::vector<uint32_t> expired;
  timers.expire(now, expired);
  return expired;
}

// Sleeps as a loop does until the owner expires; when that was, or -1 after too many turns.
Milliseconds when_expired(Timers& timers, Milliseconds now, uint32_t index, int turns_max) {
  for (int i = 0; i < turns_max; i++) {
    Milliseconds sleep = timers.until_next(now);
    if (sleep == kNever) return -1;
    now += sleep;
    std::vector<uint32_t> expired = expire(timers, now);
    if (std::find(expired.begin(), expired.end(), index) != expired.end()) return now;
  }
  return -1;
}

TEST("a deadline is never early and at most one tick late, however far away") {
  for (Milliseconds span : {0, 1, 15, 16, 17, 100, 16'383, 16'384, 16'385, 75'000, 86'400'000}) {
    for (Milliseconds phase = 0; phase < Timers::kTick; phase++) {
      test::context = std::to_string(span) + " ms, phase " + std::to_string(phase);
      Milliseconds now = kStart + phase;
      Timers timers(now);
      timers.set(3, now + span);
      EXPECT(timers.armed() == 1);
      Milliseconds at = when_expired(timers, now, 3, static_cast<int>(span / kRound) + 2);
      EXPECT(at >= now + span);
      EXPECT(at <= now + span + Timers::kTick);
      EXPECT(timers.armed() == 0);
      EXPECT(timers.at(3) == kNever);
      EXPECT(timers.until_next(at) == kNever);
    }
  }
}

TEST("a deadline in the past expires with the next tick") {
  Timers timers(kStart);
  timers.set(0, kStart - 500);
  EXPECT(timers.until_next(kStart) <= Timers::kTick);
  EXPECT(expire(timers, kStart + Timers::kTick) == std::vector<uint32_t>{0});
}

TEST("a deadline that moves later is looked at once where it stood and fires where it stands") {
  Timers timers(kStart);
  timers.set(5, kStart + 100);
  for (Milliseconds now = kStart; now < kStart + 5000; now += 50) {
    EXPECT(expire(timers, now).empty());
    timers.set(5, now + 100);
  }
  EXPECT(timers.armed() == 1);
  Milliseconds at = when_expired(timers, kStart + 4950, 5, 10);
  EXPECT(at >= kStart + 5050 && at <= kStart + 5050 + Timers::kTick);
}

TEST("a deadline that moves earlier fires there") {
  Timers timers(kStart);
  timers.set(5, kStart + 75'000);
  timers.set(5, kStart + 50);
  Milliseconds at = when_expired(timers, kStart, 5, 3);
  EXPECT(at >= kStart + 50 && at <= kStart + 50 + Timers::kTick);
}

TEST("a disarmed deadline never fires, and can be armed again") {
  Timers timers(kStart);
  timers.set(1, kStart + 100);
  timers.set(1, kNever);
  EXPECT(timers.armed() == 0);
  EXPECT(expire(timers, kStart + 1000).empty());
  EXPECT(timers.until_next(kStart + 1000) == kNever);
  timers.set(1, kNever);
  timers.set(900, kNever);
  EXPECT(timers.armed() == 0);
  timers.set(1, kStart + 2000);
  timers.set(1, kNever);
  timers.set(1, kStart + 3000);
  EXPECT(timers.armed() == 1);
  Milliseconds at = when_expired(timers, kStart + 1000, 1, 4);
  EXPECT(at >= kStart + 3000 && at <= kStart + 3000 + Timers::kTick);
}

TEST("a long sleep expires what is due and keeps what is not") {
  for (Milliseconds jump :
       {kRound - 16, kRound, kRound + 16, 3 * kRound + 5, Milliseconds{7'200'000}}) {
    test::context = std::to_string(jump);
    Timers timers(kStart);
    for (uint32_t i = 0; i < 3000; i++) timers.set(i, kStart + 10 + i * 7);
    timers.set(5000, kStart + jump + 1);
    timers.set(5001, kStart + jump + 100'000);
    size_t overdue = 0;
    for (uint32_t i = 0; i < 3000; i++)
      overdue += kStart + 10 + i * 7 + Timers::kTick <= kStart + jump ? 1 : 0;
    std::vector<uint32_t> expired = expire(timers, kStart + jump);
    EXPECT(expired.size() >= overdue && expired.size() <= overdue + 3);
    for (uint32_t index : expired) EXPECT(kStart + 10 + index * 7 <= kStart + jump);
    EXPECT(timers.armed() == 3002 - expired.size());
    EXPECT(timers.until_next(kStart + jump) <= Timers::kTick + 1);
    EXPECT(timers.at(5001) == kStart + jump + 100'000);
    Milliseconds at = when_expired(timers, kStart + jump, 5001, 2000);
    EXPECT(at >= kStart + jump + 100'000 && at <= kStart + jump + 100'000 + Timers::kTick);
  }
}

TEST("ten thousand random steps agree with a list of deadlines") {
  uint64_t random = 42;
  auto draw = [&random](uint64_t below) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int64_t>((random >> 33) % below);
  };
  Milliseconds now = kStart;
  Timers timers(now);
  std::map<uint32_t, Milliseconds> model;
  for (int step = 0; step < 10'000; step++) {
    test::context = "step " + std::to_string(step);
    auto index = static_cast<uint32_t>(draw(200));
    switch (draw(8)) {
      case 0:
        timers.set(index, kNever);
        model.erase(index);
        break;
      case 1:
      case 2: {
        constexpr int64_t kSpans[] = {20, 500, 20'000, 200'000};
        now += draw(static_cast<uint64_t>(kSpans[draw(4)]));
        for (uint32_t expired : expire(timers, now)) {
          EXPECT(model.count(expired) == 1 && model[expired] <= now);
          model.erase(expired);
        }
        for (const auto& [owner, at] : model) EXPECT(at > now - Timers::kTick);
        break;
      }
      default: {
        Milliseconds at = now + draw(100'000) - 10;
        timers.set(index, at);
        model[index] = at;
      }
    }
    EXPECT(timers.armed() == model.size());
    EXPECT(timers.at(index) == (model.count(index) == 0 ? kNever : model[index]));
    Milliseconds sleep = timers.until_next(now);
    for (const auto& [owner, at] : model) {
      EXPECT(sleep != kNever && now + sleep <= std::max(at, now) + Timers::kTick);
    }
  }
  test::context.clear();
}

}  // namespace
}  // namespace millrace
