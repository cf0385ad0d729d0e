// The native functions of logs; src/native/binding.ts documents them.
#pragma once

#include <napi.h>

namespace millrace::addon {

class Environment;

void add_logs(Napi::Env env, Napi::Object exports, Environment& environment);

}  // namespace millrace::addon
