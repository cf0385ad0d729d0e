// What the flat native functions share: one cb_info read, the lane of a handle, plain values.
// Owned by: JS thread, during a call.
#pragma once

#include <napi.h>

#include <array>

#include "addon/bridge.h"
#include "addon/environment.h"

namespace millrace::addon {

inline napi_value truth(napi_env env, bool value) {
  napi_value result;
  napi_get_boolean(env, value, &result);
  return result;
}

struct Call {
  std::array<napi_value, 5> arguments{};
  Environment* environment = nullptr;
  uint32_t handle = 0;
  Bridge* bridge = nullptr;

  Call(napi_env env, napi_callback_info info, size_t count) {
    void* data = nullptr;
    napi_get_cb_info(env, info, &count, arguments.data(), nullptr, &data);
    environment = static_cast<Environment*>(data);
    napi_get_value_uint32(env, arguments[0], &handle);
    bridge = environment->lane_of(handle);
  }
};

inline uint32_t uint_of(napi_env env, napi_value value) {
  uint32_t number = 0;
  napi_get_value_uint32(env, value, &number);
  return number;
}

inline Bridge::Room begin_plain(napi_env env, Call& call, CommandKind kind, size_t content_room) {
  Bridge::Room room = call.bridge->begin_command(content_room);
  room.command->kind = static_cast<uint16_t>(kind);
  room.command->exchange.slot = call.handle & Bridge::kSlotMask;
  room.command->exchange.generation = uint_of(env, call.arguments[1]);
  return room;
}

}  // namespace millrace::addon
