// Observation: what a loop tells JavaScript about connections and answers besides what handlers
// need.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/model/exchange.h"
#include "core/model/head.h"

namespace millrace {

struct Observation {
  bool connections = false;  // Connected and Disconnected events of every connection
  bool access = false;       // an Access event per answer
  uint16_t causes = 0;       // bit by CloseCause: Disconnected events of connections that end so
};

// What of one answer is logged; bytes are those on the wire, heads included.
struct AccessFigures {
  double began = 0;        // the request's first byte was parsed: milliseconds, Unix time
  double duration_ms = 0;  // from there to the last byte of the answer with the kernel
  double queue_ms = 0;     // of it, waiting for JavaScript; -1: answered on the loop
  double bytes_in = 0;     // head and body
  double bytes_out = 0;
};
static_assert(sizeof(AccessFigures) == 40);

struct AccessLine {
  AccessFigures figures;
  ExchangeId exchange;  // not valid: answered on the loop
  uint16_t route = 0;   // of a handler
  uint16_t status = 0;
  uint16_t flags = 0;  // kEventHttp10, kEventScgi, kEventAborted
  Bytes method;
  Bytes target;
  const HeaderField* headers = nullptr;  // those that are logged
  uint32_t header_count = 0;
};

// Longer targets and values are cut.
constexpr size_t kAccessTextMax = 1024;

}  // namespace millrace
