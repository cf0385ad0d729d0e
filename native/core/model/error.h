// ErrorCode: the peer's and the application's mistakes as values, from errors.def.
#pragma once

#include <cstdint>

namespace millrace {

enum class ErrorCode : uint8_t {
  None = 0,
#define MR_ERROR(name, code, status, sentence) name,
#include "core/model/errors.def"
#undef MR_ERROR
  Count
};

[[nodiscard]] const char* error_code_name(ErrorCode code);      // "ERR_MILLRACE_…"
[[nodiscard]] const char* error_code_sentence(ErrorCode code);  // one sentence
[[nodiscard]] uint16_t error_code_status(ErrorCode code);       // HTTP status, 0 where none applies

}  // namespace millrace
