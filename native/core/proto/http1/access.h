// What the access log says of answers: an AccessEntry comes into being with a request, where the
// log is wanted, stays with its answer, and waits in AccessLines until its bytes have left.
// Owned by: their session, loop thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/model/head.h"
#include "core/model/observation.h"
#include "core/proto/session.h"

namespace millrace::http1 {

class AccessEntry final {
 public:
  // `client`: its address, where a gateway says it. `since`: the first byte of the request. A head
  // that was not understood is an empty one.
  AccessEntry(const RequestHead& head, Bytes client, Milliseconds since, Sink& sink);

  // Exactly once. `is_whole`: all of the answer is with the kernel.
  void log(bool is_whole, Sink& sink) const;

  ExchangeId exchange;      // not valid: answered on the loop
  uint16_t route = 0xffff;  // of a handler
  uint16_t status = 0;      // none was said
  uint16_t flags = 0;       // as of AccessLine
  double queue_ms = -1;     // as of AccessFigures
  double waited_ms = 0;     // of them: before there was room for the request
  uint64_t bytes_in = 0;    // of the head and so much of the body as has come
  uint64_t bytes_out = 0;   // written so far

 private:
  static constexpr size_t kFieldsMax = 30;  // repeated ones count
  struct Kept {
    uint8_t name;  // its place in the table
    uint16_t length;
  };

  void keep_fields(const RequestHead& head);
  void keep(size_t name, Bytes value);

  std::string text_;  // method, target, the values of the fields, one behind the other
  size_t method_length_ = 0;
  size_t target_length_ = 0;
  std::array<Kept, kFieldsMax> fields_{};
  uint32_t field_count_ = 0;
  Milliseconds since_;
  double began_;
};

// Entries whose answers are written, in their order.
class AccessLines final {
 public:
  [[nodiscard]] size_t size() const { return entries_.size(); }
  void add(std::unique_ptr<AccessEntry> entry) { entries_.push_back(std::move(entry)); }
  void all_left(Sink& sink);
  // The connection is over; of what was written the last `unsent` bytes have not left.
  void all_lost(uint64_t unsent, Sink& sink);

 private:
  std::vector<std::unique_ptr<AccessEntry>> entries_;
};

// Takes back up to `unsent` bytes of what was written; returns how many are left to take back.
[[nodiscard]] uint64_t take_back(AccessEntry& entry, uint64_t unsent);

}  // namespace millrace::http1
