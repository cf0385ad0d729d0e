// The counts of a lane's consumer: bins of delays and of batch sizes, and what a loop knows of the
// age of what waits.
#include "core/lane/queue_meter.h"

#include <cmath>
#include <vector>

#include "core/lane/meters.h"
#include "core/loop/queue_age.h"
#include "test/harness.h"

namespace millrace::test {
namespace {

std::vector<double> sums_of(const QueueMeter& meter) {
  std::vector<double> sums(kQueueCount, 0);
  add_queue_meter(meter, sums.data());
  return sums;
}

// A record of 16 bytes.
void put(Ring& ring) {
  char* out = ring.reserve(16);
  EXPECT(out != nullptr);
  if (out == nullptr) return;
  uint32_t head[2] = {16, 1};
  std::memset(out, 0, 16);
  std::memcpy(out, head, sizeof(head));
  ring.commit(16);
}

void take(Ring& ring, int count) {
  for (int i = 0; i < count; i++) {
    EXPECT(ring.front() != nullptr);
    ring.pop(16);
  }
}

TEST("queue meter has a bin per millisecond and then eight per factor of two") {
  QueueMeter meter;
  for (int32_t ms : {-5, 0, 1, 127, 128, 139, 140, 256, 1024, INT32_MAX}) meter.add_delay(ms);
  EXPECT(meter.delays(0) == 2);  // what came from before counts as nothing
  EXPECT(meter.delays(1) == 1);
  EXPECT(meter.delays(127) == 1);
  EXPECT(meter.delays(128) == 2);  // 128 to 139
  EXPECT(meter.delays(129) == 1);
  EXPECT(meter.delays(136) == 1);
  EXPECT(meter.delays(152) == 1);
  EXPECT(meter.delays(255) == 1);
  EXPECT(meter.delay_max() == INT32_MAX);
}

TEST("queue meter counts exactly up to the bounds that are exported") {
  QueueMeter meter;
  for (int32_t ms : {128, 200, 201, 500, 501, 30'000, 30'001}) meter.add_delay(ms);
  const int64_t expected[] = {2, 2, 1, 0, 0, 0, 1, 1};
  for (size_t i = 0; i < QueueMeter::kSlowDelays.size(); i++) EXPECT(meter.slow(i) == expected[i]);
  EXPECT(meter.delay_sum() == 128 + 200 + 201 + 500 + 501 + 30'000 + 30'001);
}

TEST("queue meter bins batches by powers of two") {
  QueueMeter meter;
  for (uint32_t size : {0u, 1u, 2u, 3u, 4u, 5u, 512u, 513u, 100'000u}) meter.add_batch(size);
  EXPECT(meter.batches() == 8);  // one without a request is none
  EXPECT(meter.largest() == 100'000);
  EXPECT(meter.requests() == 1 + 2 + 3 + 4 + 5 + 512 + 513 + 100'000);
  const int64_t expected[] = {1, 1, 2, 1, 0, 0, 0, 0, 0, 1, 2};
  for (size_t i = 0; i < QueueMeter::kSizeBins; i++) EXPECT(meter.sizes(i) == expected[i]);
}

TEST("queue meters of loops add up but for what is largest") {
  QueueMeter one;
  QueueMeter other;
  one.add_delay(3);
  one.add_batch(1);
  for (int i = 0; i < 4; i++) other.add_delay(40);
  other.add_batch(4);
  std::vector<double> sums = sums_of(one);
  add_queue_meter(other, sums.data());
  EXPECT(sums[0] == 2 && sums[1] == 5 && sums[2] == 4 && sums[3] == 40);
  EXPECT(sums[4 + 3] == 1 && sums[4 + 40] == 4);
}

TEST("meters tell the delay of an exchange and of none before it in its slot") {
  Meters meters;
  meters.keep_delays();
  meters.begin_delay(7, 1000);
  meters.set_delay({7, 0}, 12);
  EXPECT(meters.delay({7, 0}, 2000) == 12);
  meters.begin_delay(7, 3000);
  EXPECT(meters.delay({7, 1}, 3250) == 250);  // nobody has taken it so far
  meters.set_delay({7, 1}, 0);
  EXPECT(meters.delay({7, 1}, 4000) == 0);
}

TEST("queue age is that of the oldest event that was not taken") {
  Ring ring(4096);
  QueueAge age(100);
  EXPECT(!age.is_over(ring, 1'000'000));
  put(ring);
  age.written(ring, 1000);
  put(ring);
  age.written(ring, 1060);
  EXPECT(!age.is_over(ring, 1100));
  EXPECT(age.is_over(ring, 1101));
  take(ring, 1);
  EXPECT(!age.is_over(ring, 1101));
  EXPECT(!age.is_over(ring, 1160));
  EXPECT(age.is_over(ring, 1161));
  take(ring, 1);
  EXPECT(!age.is_over(ring, 10'000));
}

TEST("queue age is never over when it is switched off") {
  Ring ring(4096);
  QueueAge age(0);
  put(ring);
  age.written(ring, 1000);
  EXPECT(!age.is_over(ring, INT64_MAX));
}

// More turns than there are marks: they are merged, and nothing seems older than it is.
TEST("queue age merges marks and stays within a step") {
  constexpr Milliseconds kMost = 320;  // a step is 10 ms
  Ring ring(1 << 16);
  QueueAge age(kMost);
  for (Milliseconds at = 0; at < 1000; at++) {
    put(ring);
    age.written(ring, at);
  }
  for (Milliseconds oldest = 0; oldest < 600; oldest++) {
    EXPECT(!age.is_over(ring, oldest + kMost));
    EXPECT(age.is_over(ring, oldest + kMost + 11));
    take(ring, 1);
  }
}

TEST("queue age begins anew when all marks are in use and were taken") {
  Ring ring(1 << 16);
  QueueAge age(64);  // a step is 2 ms
  Milliseconds now = 0;
  for (size_t i = 0; i < 3 * QueueAge::kMarks; i++) {
    now += 50;
    put(ring);
    age.written(ring, now);
    take(ring, 1);
  }
  put(ring);
  age.written(ring, now + 50);
  EXPECT(!age.is_over(ring, now + 50 + 64));
  EXPECT(age.is_over(ring, now + 50 + 65));
}

}  // namespace
}  // namespace millrace::test
