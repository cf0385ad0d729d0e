// The native functions about connections.
#pragma once

#include <napi.h>

#include "addon/environment.h"

namespace millrace::addon {

void add_connections(Napi::Env env, Napi::Object exports, Environment& environment);

}  // namespace millrace::addon
