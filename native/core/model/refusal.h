// Refusal: what a loop says in place of its own words when it refuses a request. Immutable once
// serving.
#pragma once

#include <span>

#include "core/model/error.h"
#include "core/model/route.h"

namespace millrace {

struct Refusal {
  ErrorCode code = ErrorCode::None;
  Route answer;  // Static
};

// Null: nothing was given for it.
[[nodiscard]] inline const Route* find_refusal(std::span<const Refusal> refusals, ErrorCode code) {
  for (const Refusal& refusal : refusals) {
    if (refusal.code == code) return &refusal.answer;
  }
  return nullptr;
}

}  // namespace millrace
