// The native functions that write commands: answers, single or many at once, 1xx, cuts.
#pragma once

#include <napi.h>

namespace millrace::addon {

class Environment;

void add_commands(Napi::Env env, Napi::Object exports, Environment& environment);

}  // namespace millrace::addon
