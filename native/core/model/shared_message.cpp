#include "core/model/shared_message.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "core/base/check.h"

namespace millrace {

// One piece of memory: the object, room for the largest head, the payload. The head ends where the
// payload begins, so that both are one span.
SharedMessage* SharedMessage::make(uint8_t opcode, Bytes payload) {
  char* room = nullptr;
  SharedMessage* made = allocate(opcode, payload.size(), room);
  if (made != nullptr && !payload.empty()) std::memcpy(room, payload.data(), payload.size());
  return made;
}

SharedMessage* SharedMessage::allocate(uint8_t opcode, size_t size, char*& payload) {
  MR_CHECK(opcode == 1 || opcode == 2);
  if (size > SIZE_MAX - sizeof(SharedMessage) - kHeadMax) return nullptr;
  void* memory = std::malloc(sizeof(SharedMessage) + kHeadMax + size);
  if (memory == nullptr) return nullptr;
  auto* made = new (memory) SharedMessage();
  made->opcode_ = opcode;
  made->size_ = size;
  made->write_head();
  payload = made->payload_begin();
  return made;
}

// RFC 6455 5.2: FIN, no RSV bit, no mask, the shortest form of the length.
void SharedMessage::write_head() {
  size_t length_bytes = size_ < 126 ? 0 : size_ <= UINT16_MAX ? 2 : 8;
  head_size_ = static_cast<uint8_t>(2 + length_bytes);
  char* head = payload_begin() - head_size_;
  head[0] = static_cast<char>(0x80 | opcode_);
  head[1] = static_cast<char>(length_bytes == 0 ? size_ : length_bytes == 2 ? 126 : 127);
  uint64_t left = size_;
  for (size_t i = length_bytes; i > 0; i--) {
    head[1 + i] = static_cast<char>(left & 0xff);
    left >>= 8;
  }
}

void SharedMessage::drop() {
  // Pairs with itself on other threads: their reads of the message happen before it is freed.
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  // Relaxed: nobody else is left, and the line above has ordered what they did.
  std::free(compressed_.load(std::memory_order_relaxed));
  this->~SharedMessage();
  std::free(this);
}

char* SharedMessage::payload_begin() { return reinterpret_cast<char*>(this + 1) + kHeadMax; }
const char* SharedMessage::payload_begin() const {
  return reinterpret_cast<const char*>(this + 1) + kHeadMax;
}
Bytes SharedMessage::payload() const { return {payload_begin(), size_}; }
Bytes SharedMessage::frame() const { return {payload_begin() - head_size_, head_size_ + size_}; }

// Acquire: pairs with the exchange in install_compressed(), whose bytes are read here.
Bytes SharedMessage::compressed_frame() const {
  Compressed* made = compressed_.load(std::memory_order_acquire);
  return made == nullptr ? Bytes() : Bytes(made->bytes(), made->size);
}

void SharedMessage::install_compressed(Bytes frame) {
  MR_CHECK(!frame.empty());
  // Relaxed: only saves the copy; the exchange decides.
  if (compressed_.load(std::memory_order_relaxed) != nullptr) return;
  void* memory = std::malloc(sizeof(Compressed) + frame.size());
  if (memory == nullptr) return;  // whoever asks next tries again
  auto* made = new (memory) Compressed{frame.size()};
  std::memcpy(made->bytes(), frame.data(), frame.size());
  Compressed* none = nullptr;
  // Release: pairs with the acquire in compressed_frame(). Relaxed when it fails: the other's is
  // not looked at here.
  if (!compressed_.compare_exchange_strong(none, made, std::memory_order_release,
                                           std::memory_order_relaxed)) {
    std::free(made);
  }
}

// Relaxed both: a loop that does not see it yet tries in vain once more.
bool SharedMessage::is_incompressible() const {
  return incompressible_.load(std::memory_order_relaxed);
}
void SharedMessage::set_incompressible() { incompressible_.store(true, std::memory_order_relaxed); }

}  // namespace millrace
