// Lane: joins one loop and one JS environment (or a C++ consumer in tests and benches): two rings,
// two bells. Back-pressure rule: a full event ring stops the loop from reading requests; a full
// command ring makes the producer keep its command and try again after the loop has taken some.
#pragma once

#include <atomic>
#include <cstddef>

#include "core/base/blob.h"
#include "core/lane/bell.h"
#include "core/lane/meters.h"
#include "core/lane/queue_meter.h"
#include "core/lane/ring.h"
#include "core/model/command.h"
#include "core/model/event.h"

namespace millrace {

class Lane final {
 public:
  static constexpr size_t kEventBytes = 1 << 20;
  static constexpr size_t kCommandBytes = 1 << 20;
  Lane() : events(kEventBytes), commands(kCommandBytes) {}
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  Meters meters;
  QueueMeter queue;  // what the consumer of events measures
  Ring events;       // produced on the loop thread, consumed on the JS thread
  Ring commands;     // the other way round
  Bell js_bell;      // wakes the consumer of events
  Bell loop_bell;    // wakes the consumer of commands
  // Set by the loop when it holds requests or notices back for want of room here. Relaxed: the
  // fences in events_taken() and in the loop_bell's fall_asleep() order it with the room.
  std::atomic<bool> loop_waits_for_room{false};

  // Bytes of bodies that events carry as blobs; a ring of records alone would not bound them.
  static constexpr size_t kBlobBytesMax = size_t{32} << 20;
  // Loop: whether an event of `size` bytes may be written, with whatever body.
  [[nodiscard]] bool has_room(size_t size) {
    return blob_bytes.load(std::memory_order_relaxed) < kBlobBytesMax && events.has_room(size);
  }
  // Loop: an event with a blob is written.
  void add_blob(size_t size) { blob_bytes.fetch_add(size, std::memory_order_relaxed); }
  // Consumer: takes the blob of an event over, before events_taken().
  [[nodiscard]] Blob take_blob(const Event& event) {
    blob_bytes.fetch_sub(event.body_length, std::memory_order_relaxed);
    return Blob::adopt(reinterpret_cast<char*>(event.blob), event.body_length);
  }
  // Relaxed: the fence in events_taken() orders it with the room, as for the flag above.
  std::atomic<size_t> blob_bytes{0};

  // Consumer of events: some were popped.
  void events_taken() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (loop_waits_for_room.load(std::memory_order_relaxed)) loop_bell.ring();
  }

  // What a command owns besides its record: a blob, a descriptor.
  static void drop(const Command& command);

 private:
  void drop_undelivered();
};

}  // namespace millrace
