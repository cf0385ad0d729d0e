// Bridge: the JavaScript end of one lane. Drains events into the batch, writes commands by flat
// calls. Owned by: JS thread of its environment.
#pragma once

#include <napi.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/lane/lane.h"
#include "core/loop/loop.h"

namespace millrace::addon {

class Host;

class Bridge final {
 public:
  // `number` distinguishes the lanes of one environment; it travels in the upper bits of an event's
  // handle.
  Bridge(Host& host, Loop& loop, uint32_t number)
      : host_(host), loop_(loop), lane_(loop.lane()), number_(number) {}
  ~Bridge() { std::free(queues_); }
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  static constexpr uint32_t kSlotBits = 20;
  static constexpr uint32_t kSlotMask = (1u << kSlotBits) - 1;
  static constexpr uint32_t kLanesMax = 1u << (31 - kSlotBits);

  // Makes the loop's events wake the JS thread through a thread-safe function, which its Host
  // releases.
  void set_doorbell(napi_threadsafe_function doorbell);
  void ring_doorbell();

  // Moves events into `batch` and their texts into a string, as many as fit; 0 when there are none.
  [[nodiscard]] uint32_t gather(MutableBytes batch, std::string& text);
  [[nodiscard]] bool has_events() { return lane_.events.front() != nullptr; }

  // The command record and where its header lines and body go; waits for room in the ring.
  struct Room {
    Command* command;
    char* content;
  };
  static constexpr size_t kHeaderRoom = 8 * 1024;
  static constexpr size_t kBodyRoom = 32 * 1024;
  // Half the ring less the body: a longer record might never fit, whatever the loop takes.
  static constexpr size_t kHeadersMax = Lane::kCommandBytes / 4;
  [[nodiscard]] Room begin_command(size_t content_size);
  void end_command(Command* command);
  void flush();  // rings the loop if commands were written since the last time

  [[nodiscard]] Napi::Value take_body(Napi::Env env, uint32_t index);
  // Null when it is longer than a string can be.
  [[nodiscard]] napi_value take_text(napi_env env, uint32_t index, bool is_ascii);
  void drop_bodies() { bodies_.clear(); }
  [[nodiscard]] size_t body_count() const { return bodies_.size(); }

  // --- sockets: payload bytes on their way to the peer, by slot ---
  void begin_queue(ExchangeId id);  // the slot has a new socket
  void add_queued(ExchangeId id, uint32_t bytes) {
    if (is_queue_of(id)) queues_[id.slot].bytes += bytes;
  }
  // 0 when the slot is another's by now, or not yet its own.
  [[nodiscard]] uint64_t waiting(ExchangeId id) const;
  // Whether the kernel refuses more than `limit` bytes of what was sent. What the loop has not come
  // to is no fault of the peer's: it is waited for, which takes a turn of the loop at most.
  enum class Fullness : uint8_t { HasRoom, IsFull, IsOver };
  [[nodiscard]] Fullness judge_queue(ExchangeId id, uint64_t limit);
  [[nodiscard]] Mailbox& mailbox() { return loop_.mailbox(); }

  [[nodiscard]] Lane& lane() { return lane_; }
  [[nodiscard]] Host& host() { return host_; }
  [[nodiscard]] uint32_t number() const { return number_; }
  [[nodiscard]] bool has_unflushed() const { return unflushed_; }

 private:
  // What was sent, as a running total that wraps. Generations count from 1 here: memory begins as
  // 0.
  struct Queue {
    uint32_t generation;
    uint32_t bytes;
  };
  [[nodiscard]] bool is_queue_of(ExchangeId id) const {
    return queues_ != nullptr && queues_[id.slot].generation == id.generation + 1;
  }
  void let_loop_take();
  void measure(const Event& event, uint32_t now);
  void copy_event(const Event& event, char* out, size_t size, std::string& text);

  Host& host_;
  Loop& loop_;
  Lane& lane_;
  const uint32_t number_;
  napi_threadsafe_function doorbell_ = nullptr;
  bool unflushed_ = false;
  Queue* queues_ = nullptr;   // by slot; made for the first socket
  std::vector<Blob> bodies_;  // large bodies of the batch that is being dispatched
};

}  // namespace millrace::addon
