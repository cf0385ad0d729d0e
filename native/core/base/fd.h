// An owned descriptor: closed exactly once.
#pragma once

#include <utility>

namespace millrace {

class Fd final {
 public:
  Fd() = default;
  explicit Fd(int value) : value_(value) {}
  Fd(Fd&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.value_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  [[nodiscard]] int get() const { return value_; }
  [[nodiscard]] bool is_open() const { return value_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(value_, -1); }
  void reset(int value = -1);
  // A second descriptor for the same open file, close-on-exec; not open when the system refuses.
  [[nodiscard]] Fd duplicate() const;

 private:
  int value_ = -1;
};

}  // namespace millrace
