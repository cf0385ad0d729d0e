// Plain JS objects → ServerOptions. TypeScript has validated them; nonsense here is our bug and is
// refused anyway.
#pragma once

#include <napi.h>

#include "core/server/options.h"

namespace millrace::addon {

// False with a JavaScript exception pending when something is not as src/native/binding.ts declares
// it.
[[nodiscard]] bool read_options(const Napi::Object& object, ServerOptions& options);
// Likewise, of the same object what is about routes.
[[nodiscard]] bool read_routes(const Napi::Object& object, RouteTable& table);

}  // namespace millrace::addon
