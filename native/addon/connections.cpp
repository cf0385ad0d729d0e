// Connections are named by index and generation; the handle says which loop's.
#include "addon/connections.h"

#include "addon/call.h"

namespace millrace::addon {
namespace {

Command* begin_named(napi_env env, Call& call, CommandKind kind) {
  Command* command = call.bridge->begin_command(0).command;
  command->kind = static_cast<uint16_t>(kind);
  command->exchange = {uint_of(env, call.arguments[1]), uint_of(env, call.arguments[2])};
  return command;
}

// handle, index, generation
napi_value watch_connection(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  if (call.bridge == nullptr) return nullptr;
  call.bridge->end_command(begin_named(env, call, CommandKind::Watch));
  return nullptr;
}

// handle, index, generation, cause, reset
napi_value close_connection(napi_env env, napi_callback_info info) {
  Call call(env, info, 5);
  if (call.bridge == nullptr) return nullptr;
  Command* command = begin_named(env, call, CommandKind::Disconnect);
  bool reset = false;
  napi_get_value_bool(env, call.arguments[4], &reset);
  command->status = static_cast<uint16_t>(uint_of(env, call.arguments[3]));
  command->amount = reset ? 1 : 0;
  call.bridge->end_command(command);
  return nullptr;
}

}  // namespace

void add_connections(Napi::Env env, Napi::Object exports, Environment& environment) {
  auto add = [&](const char* name, napi_callback function) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, &environment, &value);
    exports.Set(name, value);
  };
  add("watchConnection", &watch_connection);
  add("closeConnection", &close_connection);
}

}  // namespace millrace::addon
