// The native functions about the descriptors of the process; src/native/binding.ts documents them.
#pragma once

#include <napi.h>

namespace millrace::addon {

void add_descriptors(Napi::Env env, Napi::Object exports);

}  // namespace millrace::addon
