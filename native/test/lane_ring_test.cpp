// The ring: records come out as they went in, at every place of the memory and across two threads.
#include "core/lane/ring.h"

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "test/harness.h"

namespace millrace {
namespace {

constexpr size_t kPrefix = 8;
constexpr size_t kSmallest = 4096;

// A record of `size` bytes whose content follows from `number`.
void fill(char* record, uint32_t size, uint64_t number) {
  uint16_t kind = 1;
  std::memcpy(record, &size, 4);
  std::memcpy(record + 4, &kind, 2);
  std::memset(record + kPrefix, static_cast<char>(number), size - kPrefix);
  if (size >= 16) std::memcpy(record + kPrefix, &number, 8);
}

bool put(Ring& ring, uint32_t size, uint64_t number, uint32_t reserved = 0) {
  char* record = ring.reserve(reserved == 0 ? size : reserved);
  if (record == nullptr) return false;
  fill(record, size, number);
  ring.commit(size);
  return true;
}

// Whether the front is that record; pops it.
bool get(Ring& ring, uint32_t size, uint64_t number) {
  char* record = ring.front();
  if (record == nullptr) return false;
  uint32_t found = 0;
  std::memcpy(&found, record, 4);
  bool same = found == size;
  if (same && size >= 16) {
    uint64_t first = 0;
    std::memcpy(&first, record + kPrefix, 8);
    same = first == number;
  }
  for (uint32_t i = 16; same && i < size; i++) same = record[i] == static_cast<char>(number);
  ring.pop(found);
  return same;
}

TEST("records wrap around at every offset, with padding where they do not fit") {
  for (uint32_t size : {8u, 16u, 24u, 40u, 64u, 200u, 1000u, 2048u}) {
    for (uint32_t offset = 0; offset < kSmallest; offset += 8) {
      test::context = "size " + std::to_string(size) + " offset " + std::to_string(offset);
      Ring ring(kSmallest);
      // Walks to the offset in records of 8 bytes, then round the end three times.
      for (uint32_t at = 0; at < offset; at += 8) {
        if (!put(ring, 8, at) || !get(ring, 8, at)) EXPECT(false);
      }
      for (uint64_t number = 0; number * size < 3 * kSmallest; number++) {
        if (!put(ring, size, number) || !get(ring, size, number)) {
          EXPECT(false);
          break;
        }
      }
      EXPECT(ring.is_empty());
      EXPECT(ring.front() == nullptr);
    }
  }
}

TEST("a ring holds as much as it says and then refuses") {
  Ring ring(kSmallest);
  uint64_t put_count = 0;
  while (put(ring, 64, put_count)) put_count++;
  EXPECT(put_count == kSmallest / 64);
  EXPECT(!ring.has_room(8));
  EXPECT(!put(ring, 8, 0));
  EXPECT(get(ring, 64, 0));
  EXPECT(ring.has_room(64));
  EXPECT(!ring.has_room(72));
  EXPECT(put(ring, 64, put_count));
  for (uint64_t number = 1; number <= put_count; number++) EXPECT(get(ring, 64, number));
  EXPECT(ring.is_empty());
}

TEST("has_room says what reserve does, for the size and all below it") {
  uint64_t random = 1;
  Ring ring(kSmallest);
  std::vector<uint32_t> held;
  uint64_t next = 0;
  for (int i = 0; i < 20'000; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    auto size = static_cast<uint32_t>(8 + ((random >> 40) % 150) * 8);
    bool room = ring.has_room(size);
    EXPECT(room == (ring.reserve(size) != nullptr));
    if (room) {
      for (uint32_t less = 8; less < size; less += 64) EXPECT(ring.reserve(less) != nullptr);
      EXPECT(put(ring, size, next++));
      held.push_back(size);
    } else {
      EXPECT(get(ring, held.front(), next - held.size()));
      held.erase(held.begin());
    }
  }
}

TEST("nothing is seen of a record that was reserved and not committed") {
  Ring ring(kSmallest);
  EXPECT(ring.reserve(2000) != nullptr);
  EXPECT(ring.is_empty());
  EXPECT(ring.front() == nullptr);
  EXPECT(put(ring, 16, 1));
  EXPECT(put(ring, 4000, 2));
  // Too big for the rest: reserved at the start of the memory, then given up.
  EXPECT(get(ring, 16, 1));
  EXPECT(get(ring, 4000, 2));
  EXPECT(ring.reserve(200) != nullptr);
  EXPECT(put(ring, 72, 3));
  EXPECT(get(ring, 72, 3));
}

TEST("a record may turn out smaller than reserved") {
  Ring ring(kSmallest);
  for (uint64_t number = 0; number < 1000; number++) {
    EXPECT(put(ring, 24, number, 1600));
    EXPECT(get(ring, 24, number));
  }
}

TEST("sizes are rounded up to eight") {
  Ring ring(kSmallest);
  EXPECT(put(ring, 9, 1));
  EXPECT(put(ring, 8, 2));
  EXPECT(get(ring, 9, 1));
  EXPECT(get(ring, 8, 2));
  EXPECT(ring.is_empty());
}

TEST("two threads exchange records of all sizes, in order and whole") {
  constexpr uint64_t kRecords = 2'000'000;
  constexpr uint32_t kSizes = 24;  // of 8 to 192 bytes; the ring holds a few dozen
  Ring ring(kSmallest);
  auto size_of = [](uint64_t number) {
    return static_cast<uint32_t>(8 + (number * 0x9E3779B97F4A7C15u >> 32) % kSizes * 8);
  };
  std::thread producer([&ring, &size_of] {
    for (uint64_t number = 0; number < kRecords; number++) {
      while (!put(ring, size_of(number), number)) std::this_thread::yield();
    }
  });
  uint64_t wrong = 0;
  for (uint64_t number = 0; number < kRecords; number++) {
    while (ring.front() == nullptr) std::this_thread::yield();
    wrong += get(ring, size_of(number), number) ? 0 : 1;
  }
  producer.join();
  EXPECT(wrong == 0);
  EXPECT(ring.is_empty());
}

}  // namespace
}  // namespace millrace
