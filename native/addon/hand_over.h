// The native functions that hand listening sockets from process to process; src/native/binding.ts
// documents them.
#pragma once

#include <napi.h>

namespace millrace::addon {

class Environment;

void add_hand_over(Napi::Env env, Napi::Object exports, Environment& environment);

}  // namespace millrace::addon
