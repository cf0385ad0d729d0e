#include "core/model/limits.h"

#include <array>

namespace millrace {
namespace {

constexpr std::array kLimitRows = {
#define MR_LIMIT(name, group, public_name, unit, value, floor, ceiling, sentence) \
  LimitRow{#public_name, floor, ceiling, &Limits::name},
#include "core/model/limits.def"
#undef MR_LIMIT
};

}  // namespace

const LimitRow* limit_rows(size_t& count) {
  count = kLimitRows.size();
  return kLimitRows.data();
}

bool limits_are_valid(const Limits& limits) {
  for (const LimitRow& row : kLimitRows) {
    int64_t value = limits.*row.field;
    if (value < row.floor || value > row.ceiling) return false;
  }
  return true;
}

}  // namespace millrace
