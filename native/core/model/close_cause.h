// Why a connection ends; from causes.def.
#pragma once

#include <cstdint>

namespace millrace {

enum class CloseCause : uint8_t {
#define MR_CAUSE(name, number, level, sentence) name = number,
#include "core/model/causes.def"
#undef MR_CAUSE
  Count,
  Drained,  // the server stops: told as CloseCalled with ErrorCode::Closed
};

constexpr uint8_t kCauseCount = static_cast<uint8_t>(CloseCause::Count);

}  // namespace millrace
