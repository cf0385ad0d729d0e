// Ring: bounded byte queue of records between exactly one producer and one consumer thread.
// A record is contiguous, begins with its uint32_t size (a multiple of 8) and a uint16_t kind; kind
// 0 is padding up to the end of the memory and never shown.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/base/blob.h"
#include "core/base/check.h"

namespace millrace {

class Ring final {
 public:
  explicit Ring(size_t capacity) : memory_(Blob::uninitialized(capacity)), capacity_(capacity) {
    MR_CHECK(capacity >= 4096 && (capacity & (capacity - 1)) == 0);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  [[nodiscard]] static constexpr size_t rounded(size_t size) { return (size + 7) & ~size_t{7}; }

  // --- producer ---

  // Room for a record of `size` bytes, or null when there is none. Nothing is visible before
  // commit().
  [[nodiscard]] char* reserve(size_t size) {
    if (!has_room(size)) return nullptr;
    uint64_t offset = tail_ & (capacity_ - 1);
    padding_ = padding_before(rounded(size));
    return memory_.data() + (padding_ == 0 ? offset : 0);
  }

  // Publishes the record last reserved; `size` may be smaller than reserved. The record's own size
  // field must agree.
  void commit(size_t size) {
    size = rounded(size);
    if (padding_ != 0) {
      Prefix pad{static_cast<uint32_t>(padding_), 0, 0};
      std::memcpy(memory_.data() + (tail_ & (capacity_ - 1)), &pad, sizeof(pad));
      tail_ += padding_;
      padding_ = 0;
    }
    tail_ += size;
    // Pairs with the acquire load in front(): the record's bytes are written.
    shared_tail_.store(tail_, std::memory_order_release);
  }

  // Whether reserve() of this size, or of any smaller one, would succeed.
  [[nodiscard]] bool has_room(size_t size) {
    size = rounded(size);
    uint64_t end = tail_ + padding_before(size) + size;
    if (end - head_seen_ <= capacity_) return true;
    // Pairs with the release store in pop(): the consumer is done with those bytes.
    head_seen_ = shared_head_.load(std::memory_order_acquire);
    return end - head_seen_ <= capacity_;
  }

  // Whether the consumer is done with all that was committed.
  [[nodiscard]] bool is_consumed() const {
    // Pairs with the release store in pop(): what it did with the records is seen.
    return shared_head_.load(std::memory_order_acquire) == tail_;
  }

  // --- consumer ---

  // The oldest record, or null when there is none.
  [[nodiscard]] char* front() {
    for (;;) {
      if (head_ == tail_seen_) {
        tail_seen_ = shared_tail_.load(std::memory_order_acquire);
        if (head_ == tail_seen_) return nullptr;
      }
      char* record = memory_.data() + (head_ & (capacity_ - 1));
      Prefix prefix;
      std::memcpy(&prefix, record, sizeof(prefix));
      if (prefix.kind != 0) return record;
      head_ += prefix.size;
    }
  }

  // Frees the record that front() showed.
  void pop(size_t size) {
    head_ += rounded(size);
    // Pairs with the acquire load in reserve().
    shared_head_.store(head_, std::memory_order_release);
  }

  // --- positions, in bytes from the start, padding included ---
  // Producer: the end of what was committed.
  [[nodiscard]] uint64_t written() const { return tail_; }
  // Either: the end of what was popped. Relaxed: says how far the consumer is, frees nothing.
  [[nodiscard]] uint64_t taken() const { return shared_head_.load(std::memory_order_relaxed); }

  // --- either ---
  [[nodiscard]] bool is_empty() const {
    // Relaxed: as the second look before a sleep it is ordered by the fence in Bell::fall_asleep().
    return shared_head_.load(std::memory_order_relaxed) ==
           shared_tail_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] size_t capacity() const { return capacity_; }

 private:
  struct Prefix {
    uint32_t size;
    uint16_t kind;
    uint16_t flags;
  };
  static_assert(sizeof(Prefix) == 8);

  // Bytes left at the end of the memory when a record does not fit there any more.
  [[nodiscard]] uint64_t padding_before(size_t size) const {
    uint64_t to_end = capacity_ - (tail_ & (capacity_ - 1));
    return to_end >= size ? 0 : to_end;
  }

  Blob memory_;
  const size_t capacity_;
  // Producer's line.
  alignas(64) uint64_t tail_ = 0;
  uint64_t head_seen_ = 0;
  uint64_t padding_ = 0;
  // Consumer's line.
  alignas(64) uint64_t head_ = 0;
  uint64_t tail_seen_ = 0;
  // Shared lines.
  alignas(64) std::atomic<uint64_t> shared_tail_{0};
  alignas(64) std::atomic<uint64_t> shared_head_{0};
};

}  // namespace millrace
