// Limits: every bound and timeout by name, from limits.def. A plain value; the same for all threads
// of a server.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

struct Limits {
#define MR_LIMIT(name, group, public_name, unit, value, floor, ceiling, sentence) \
  int64_t name = value;
#include "core/model/limits.def"
#undef MR_LIMIT
};

struct LimitRow {
  const char* public_name;
  int64_t floor;
  int64_t ceiling;
  int64_t Limits::*field;
};

[[nodiscard]] const LimitRow* limit_rows(size_t& count);
// False when a value lies outside its floor and ceiling; TypeScript has validated before.
[[nodiscard]] bool limits_are_valid(const Limits& limits);

}  // namespace millrace
