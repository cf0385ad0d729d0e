// Walks one case through a world: the session alone, or the loop over sim. Every expectation that
// fails is reported with the case's file and line and the cut it ran under.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "test/case_file.h"
#include "test/seen.h"

namespace millrace::test {

// One connection and what is around it.
class World {
 public:
  virtual ~World() = default;
  virtual void feed(Bytes bytes) = 0;
  virtual void half_close() = 0;
  virtual void reset() = 0;
  virtual void start_draining() = 0;
  virtual void stop() = 0;
  virtual void advance(Milliseconds span) = 0;
  virtual void limit_window(uint64_t bytes) = 0;
  virtual void answer(ExchangeId exchange, const CommandText& text) = 0;
  // What was written since the last call, the Date masked as "Date: *".
  [[nodiscard]] virtual std::string take_written() = 0;
  [[nodiscard]] virtual std::vector<SeenEvent> take_events() = 0;
  [[nodiscard]] virtual bool sends_no_more() const = 0;  // half-closed, or closed
  [[nodiscard]] virtual bool is_reset() const = 0;
  [[nodiscard]] virtual bool still_reads() const = 0;  // an ending connection that lingers
  // Empty, or what was left behind once the connection is over.
  [[nodiscard]] virtual std::string leftovers() = 0;
};

// How the bytes of a case are cut into reads.
struct Cut {
  static constexpr size_t kAsWritten = 0;
  static constexpr size_t kByteByByte = SIZE_MAX;
  size_t at = kAsWritten;  // otherwise: the one place, counted over all bytes of the case
};

[[nodiscard]] size_t bytes_of(const CaseScript& script);
// False when an expectation failed; it is reported then.
bool run_case(const CaseScript& script, World& world, Cut cut);

}  // namespace millrace::test
