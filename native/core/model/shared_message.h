// SharedMessage: one message for many sockets. Its frame is made once; every loop and connection
// that still has to send it holds a reference. Immutable after make(), so any thread may read it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/base/bytes.h"

namespace millrace {

class SharedMessage final {
 public:
  // Room for the largest head of an unmasked frame before the payload (RFC 6455 5.2).
  static constexpr size_t kHeadMax = 10;

  // One reference, the caller's. `opcode` is 1 (text) or 2 (binary). Null when memory is short.
  [[nodiscard]] static SharedMessage* make(uint8_t opcode, Bytes payload);
  // The same, whose payload the caller writes (`size` bytes) before anybody else knows of it.
  [[nodiscard]] static SharedMessage* allocate(uint8_t opcode, size_t size, char*& payload);

  // Relaxed: who keeps has a reference already, and hands the new one on in its own way.
  void keep() { references_.fetch_add(1, std::memory_order_relaxed); }
  void drop();

  [[nodiscard]] uint8_t opcode() const { return opcode_; }
  [[nodiscard]] Bytes payload() const;
  [[nodiscard]] Bytes frame() const;  // head and payload, unmasked, uncompressed
  // The frame of the payload compressed without memory of other messages, made by whichever loop
  // needs it first; empty until install_compressed() was called.
  [[nodiscard]] Bytes compressed_frame() const;
  // `frame` is copied. Two loops may try at once: the first stays. Nothing when memory is short.
  void install_compressed(Bytes frame);
  // Compression was tried and is not worth it, or cannot be had.
  [[nodiscard]] bool is_incompressible() const;
  void set_incompressible();

  SharedMessage(const SharedMessage&) = delete;
  SharedMessage& operator=(const SharedMessage&) = delete;

 private:
  SharedMessage() = default;
  ~SharedMessage() = default;

  struct Compressed {
    size_t size;
    char* bytes() { return reinterpret_cast<char*>(this + 1); }
  };
  void write_head();
  [[nodiscard]] char* payload_begin();
  [[nodiscard]] const char* payload_begin() const;

  std::atomic<uint32_t> references_{1};
  uint8_t opcode_ = 0;
  uint8_t head_size_ = 0;
  std::atomic<bool> incompressible_{false};
  size_t size_ = 0;  // of the payload
  std::atomic<Compressed*> compressed_{nullptr};
};

// One reference to it.
class SharedMessageRef final {
 public:
  SharedMessageRef() = default;
  explicit SharedMessageRef(SharedMessage* adopted) : message_(adopted) {}
  SharedMessageRef(SharedMessageRef&& other) noexcept
      : message_(std::exchange(other.message_, nullptr)) {}
  SharedMessageRef& operator=(SharedMessageRef&& other) noexcept {
    std::swap(message_, other.message_);
    return *this;
  }
  ~SharedMessageRef() {
    if (message_ != nullptr) message_->drop();
  }
  [[nodiscard]] SharedMessageRef copy() const {
    if (message_ != nullptr) message_->keep();
    return SharedMessageRef(message_);
  }
  [[nodiscard]] SharedMessage* get() const { return message_; }
  [[nodiscard]] SharedMessage* release() { return std::exchange(message_, nullptr); }

 private:
  SharedMessage* message_ = nullptr;
};

}  // namespace millrace
