// Mailbox: what other threads of the process have published for one loop. Many producers, one
// consumer. Bounded: a loop that does not keep up loses what is published beyond the bound, and the
// loss is counted. Outlives its posters: see Hub::forget().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/model/shared_message.h"

namespace millrace {

struct Post {
  std::string topic;  // with its space: as Hub has keys
  SharedMessageRef message;
};

class Mailbox final {
 public:
  static constexpr size_t kPostsMax = 65536;
  // Of payloads and keys. The post that reaches it still passes, however large.
  static constexpr size_t kBytesMax = size_t{64} << 20;

  Mailbox() = default;
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  // Called, from the poster's thread and without a lock, each time the mailbox stops being empty.
  // It must not call the hub. Set before it is known to anybody.
  void set_wake(void (*wake)(void*), void* who) {
    wake_ = wake;
    who_ = who;
  }
  // Any thread. False when it is full or closed: the message is dropped, and counted when for want
  // of room.
  bool post(Bytes key, SharedMessageRef message);
  // Consumer. Never true after the wake-up for a post that was not taken yet.
  [[nodiscard]] bool is_empty() const;
  // Consumer: appends all, in the order in which they came.
  void take(std::vector<Post>& into);
  // Consumer: drops what is there, and whatever comes. The mailbox must be forgotten by the hub
  // before it is destroyed.
  void close();
  [[nodiscard]] bool is_closed() const;
  // Relaxed both here and in post(): a figure, no order rests on it.
  [[nodiscard]] uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  void (*wake_)(void*) = nullptr;
  void* who_ = nullptr;
  static constexpr size_t kIdlePosts = 1024;  // room that an emptied list keeps

  mutable std::mutex mutex_;  // guards posts_, bytes_, closed_
  std::vector<Post> posts_;
  size_t bytes_ = 0;
  bool closed_ = false;
  std::atomic<bool> is_empty_{true};  // written under mutex_
  std::atomic<uint64_t> dropped_{0};
};

}  // namespace millrace
