// Heap bytes with one owner. Crosses threads only by moving ownership inside a record
// (release/adopt).
#pragma once

#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/base/bytes.h"
#include "core/base/check.h"

namespace millrace {

class Blob final {
 public:
  Blob() = default;
  Blob(Blob&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Blob& operator=(Blob&& other) noexcept {
    if (this != &other) {
      drop();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  Blob(const Blob&) = delete;
  Blob& operator=(const Blob&) = delete;
  ~Blob() { drop(); }

  [[nodiscard]] static Blob uninitialized(size_t size) {
    Blob blob;
    if (size == 0) return blob;
    blob.data_ = static_cast<char*>(std::malloc(size));
    MR_CHECK(blob.data_ != nullptr);
    blob.size_ = size;
    return blob;
  }
  [[nodiscard]] static Blob copy(Bytes bytes) {
    Blob blob = uninitialized(bytes.size());
    if (!bytes.empty()) std::memcpy(blob.data_, bytes.data(), bytes.size());
    return blob;
  }
  // Takes over what release() gave up.
  [[nodiscard]] static Blob adopt(char* data, size_t size) {
    Blob blob;
    blob.data_ = data;
    blob.size_ = size;
    return blob;
  }
  [[nodiscard]] char* release() {
    size_ = 0;
    return std::exchange(data_, nullptr);
  }

  void shrink(size_t size) {
    MR_DCHECK(size <= size_);
    size_ = size;
  }
  void grow(size_t size) {
    MR_DCHECK(size >= size_);
    char* data = static_cast<char*>(std::realloc(data_, size));
    MR_CHECK(data != nullptr);
    data_ = data;
    size_ = size;
  }

  [[nodiscard]] char* data() { return data_; }
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] Bytes bytes() const { return Bytes(data_, size_); }

 private:
  // Most blobs that end are empty ones on the hot path: not even a call for them.
  void drop() {
    if (data_ != nullptr) std::free(data_);
  }

  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace millrace
