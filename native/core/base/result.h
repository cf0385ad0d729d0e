// Status: what the system answered. errno plus the name of the call, or success.
#pragma once

#include <string>
#include <utility>

namespace millrace {

class [[nodiscard]] Status final {
 public:
  static Status ok() { return Status(0, ""); }
  // `call` is the name of the system call; it must be a literal.
  static Status failed(int error, const char* call) { return Status(error, call); }

  [[nodiscard]] bool is_ok() const { return error_ == 0; }
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] const char* call() const { return call_; }

 private:
  Status(int error, const char* call) : error_(error), call_(call) {}
  int error_;
  const char* call_;
};

// A value, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result final {
 public:
  Result(T value)
      : status_(Status::ok()), value_(std::move(value)) {}  // NOLINT: implicit by design
  Result(Status status) : status_(status) {}                // NOLINT: implicit by design
  [[nodiscard]] bool is_ok() const { return status_.is_ok(); }
  [[nodiscard]] Status status() const { return status_; }
  [[nodiscard]] T& value() { return value_; }
  [[nodiscard]] T take() { return std::move(value_); }

 private:
  Status status_;
  T value_{};
};

}  // namespace millrace
