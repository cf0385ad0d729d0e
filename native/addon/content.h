// Texts and bytes of JavaScript into records of commands: in the record while they are short, as a
// blob beyond. Owned by: JS thread, during a call.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>

#include "core/model/command.h"

namespace millrace::addon {

// Room around a blob's bytes.
struct Spare {
  size_t front = 0;
  size_t back = 0;
};
constexpr Spare kNoSpare = {};
constexpr Spare kFramed = {kBlobFront, kBlobBack};  // of Write and Send

// Writes a string's bytes to `out`; false when they may not have fitted.
[[nodiscard]] bool copy_latin1(napi_env env, napi_value value, char* out, size_t room,
                               uint32_t& length);
// The body of `command`: at `out`, which has Bridge::kBodyRoom bytes, or as a blob.
[[nodiscard]] bool put_text(napi_env env, napi_value value, Command& command, char* out,
                            Spare spare);
// False with an exception pending when the body is longer than a record can say.
[[nodiscard]] bool put_bytes(napi_env env, napi_value value, Command& command, char* out,
                             Spare spare);

}  // namespace millrace::addon
