// Conditional and range requests for a file: RFC 9110 13.1, 13.2.2 and 14.2 as one function. Does
// not look at the file; it is told size, mtime and tag.
#pragma once

#include <cstdint>

#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/model/head.h"
#include "core/proto/files/ranges.h"
#include "core/proto/files/validators.h"

namespace millrace::files {

// Field values as sent, those of repeated fields joined with commas; empty: not there.
struct Conditions {
  Bytes if_match = {};
  Bytes if_none_match = {};
  Bytes if_modified_since = {};
  Bytes if_unmodified_since = {};
  Bytes if_range = {};
  Bytes range = {};
};

// What would be sent: the file, or the compressed one that stands for it.
struct Representation {
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  EntityTag tag = {};
  Bytes own_tag = {};  // the application's line in place of `tag`, if its data() is not null

  [[nodiscard]] Bytes tag_text() const { return own_tag.data() == nullptr ? tag.text() : own_tag; }
};

enum class Verdict : uint8_t {
  Send,                // 200 with everything
  NotModified,         // 304
  PreconditionFailed,  // 412
  Partial,             // 206 with `ranges`
  NotSatisfiable,      // 416
};

[[nodiscard]] uint16_t verdict_status(Verdict verdict);

struct Decision {
  Verdict verdict = Verdict::Send;
  RangeSet ranges;  // of Partial
};

// HEAD is answered as GET without Range would be; Range has no meaning there, RFC 9110 14.2.
[[nodiscard]] Decision evaluate(const Conditions& conditions, const Representation& representation,
                                Method method, UnixSeconds now);

}  // namespace millrace::files
