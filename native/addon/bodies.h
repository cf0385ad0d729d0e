// The native functions about request bodies: credit, parts of a form, files.
#pragma once

#include <napi.h>

namespace millrace::addon {

class Environment;

void add_bodies(Napi::Env env, Napi::Object exports, Environment& environment);

}  // namespace millrace::addon
