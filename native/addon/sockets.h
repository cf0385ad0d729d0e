// The native functions about WebSockets.
#pragma once

#include <napi.h>

#include "addon/environment.h"

namespace millrace::addon {

void add_sockets(Napi::Env env, Napi::Object exports, Environment& environment);

}  // namespace millrace::addon
