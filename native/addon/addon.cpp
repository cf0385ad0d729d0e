// The table of native functions; src/native/binding.ts declares and documents them.
// Hot calls use the C interface: one cb_info read, no wrappers.
#include <napi.h>
#include <uv.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "addon/environment.h"
#include "addon/host.h"
#include "addon/options.h"

namespace millrace::addon {
namespace {

// --- hot: respond ---

// Writes a string's bytes to `out`; false when they may not have fitted.
bool write_latin1(napi_env env, napi_value value, char* out, size_t room, uint32_t& length) {
  size_t written = 0;
  napi_get_value_string_latin1(env, value, out, room, &written);
  length = static_cast<uint32_t>(written);
  return written + 1 < room;
}

bool write_utf8(napi_env env, napi_value value, char* out, size_t room, uint32_t& length) {
  size_t written = 0;
  napi_get_value_string_utf8(env, value, out, room, &written);
  length = static_cast<uint32_t>(written);
  return written + 4 < room;  // a cut multi-byte character leaves up to three bytes
}

Blob utf8_blob(napi_env env, napi_value value) {
  size_t length = 0;
  napi_get_value_string_utf8(env, value, nullptr, 0, &length);
  Blob blob = Blob::uninitialized(length + 1);  // room for the NUL that Node-API writes
  napi_get_value_string_utf8(env, value, blob.data(), length + 1, &length);
  blob.shrink(length);
  return blob;
}

void give_blob(Command& command, Blob blob) {
  command.body_length = static_cast<uint32_t>(blob.size());
  if (blob.empty()) return;
  command.flags |= kCommandBodyIsBlob;
  command.blob = reinterpret_cast<uint64_t>(blob.release());
}

bool put_text(napi_env env, napi_value value, Command& command, char* out) {
  if (!write_utf8(env, value, out, Bridge::kBodyRoom, command.body_length)) {
    give_blob(command, utf8_blob(env, value));
  }
  return true;
}

// False with an exception pending when the body is longer than a record can say.
bool put_bytes(napi_env env, napi_value value, Command& command, char* out) {
  void* data = nullptr;
  size_t length = 0;
  napi_typedarray_type kind;
  if (napi_get_typedarray_info(env, value, &kind, &length, &data, nullptr, nullptr) != napi_ok)
    return true;
  if (length > UINT32_MAX) {
    napi_throw_range_error(env, error_code_name(ErrorCode::InvalidBody),
                           "the body has 4 GiB or more");
    return false;
  }
  if (length <= Bridge::kBodyRoom) {
    if (length > 0) std::memcpy(out, data, length);
    command.body_length = static_cast<uint32_t>(length);
  } else {
    give_blob(command, Blob::copy(Bytes(static_cast<char*>(data), length)));
  }
  return true;
}

napi_value truth(napi_env env, bool value) {
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

uint32_t uint_of(napi_env env, napi_value value) {
  uint32_t number = 0;
  napi_get_value_uint32(env, value, &number);
  return number;
}

constexpr uint32_t kSlotMask = (1u << Bridge::kSlotBits) - 1;

// Header lines longer than the usual room get a record of their own size. No record, and an
// exception pending, when they are longer than any.
Bridge::Room begin_with_headers(napi_env env, Call& call, napi_value headers, size_t body_room) {
  Bridge::Room room = call.bridge->begin_command(Bridge::kHeaderRoom + body_room);
  if (!write_latin1(env, headers, room.content, Bridge::kHeaderRoom, room.command->header_length)) {
    size_t length = 0;
    napi_get_value_string_latin1(env, headers, nullptr, 0, &length);
    if (length > Bridge::kHeadersMax) {
      std::string message = "the header lines have " + std::to_string(length) + " bytes; at most " +
                            std::to_string(Bridge::kHeadersMax) + " can be sent";
      napi_throw_range_error(env, error_code_name(ErrorCode::InvalidHeader), message.c_str());
      return {nullptr, nullptr};
    }
    room = call.bridge->begin_command(length + 1 + body_room);
    napi_get_value_string_latin1(env, headers, room.content, length + 1, &length);
    room.command->header_length = static_cast<uint32_t>(length);
  }
  room.command->exchange.slot = call.handle & kSlotMask;
  room.command->exchange.generation = uint_of(env, call.arguments[1]);
  return room;
}

template <bool (*put_body)(napi_env, napi_value, Command&, char*)>
napi_value respond(napi_env env, napi_callback_info info) {
  Call call(env, info, 5);
  if (call.bridge == nullptr) return truth(env, false);
  Bridge::Room room = begin_with_headers(env, call, call.arguments[3], Bridge::kBodyRoom);
  if (room.command == nullptr) return nullptr;
  uint32_t status_flags = uint_of(env, call.arguments[2]);
  Command& command = *room.command;
  command.kind = static_cast<uint16_t>(CommandKind::Respond);
  command.status = static_cast<uint16_t>(status_flags & 0xffff);
  command.flags = static_cast<uint16_t>(status_flags >> 16);
  if (!put_body(env, call.arguments[4], command, room.content + command.header_length))
    return nullptr;
  call.bridge->end_command(&command);
  return truth(env, true);
}

napi_value informational(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  if (call.bridge == nullptr) return truth(env, false);
  Bridge::Room room = begin_with_headers(env, call, call.arguments[3], 0);
  if (room.command == nullptr) return nullptr;
  room.command->kind = static_cast<uint16_t>(CommandKind::Informational);
  room.command->status = static_cast<uint16_t>(uint_of(env, call.arguments[2]));
  call.bridge->end_command(room.command);
  return truth(env, true);
}

napi_value cut(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (call.bridge == nullptr) return nullptr;
  Command* command = call.bridge->begin_command(0).command;
  command->kind = static_cast<uint16_t>(CommandKind::Cut);
  command->exchange.slot = call.handle & kSlotMask;
  command->exchange.generation = uint_of(env, call.arguments[1]);
  call.bridge->end_command(command);
  return nullptr;
}

// --- the rest ---

Environment& environment_of(const Napi::CallbackInfo& info) {
  return *static_cast<Environment*>(info.Data());
}

Host* host_of(const Napi::CallbackInfo& info) {
  return environment_of(info).host(info[0].As<Napi::Number>().Uint32Value());
}

void throw_failure(Napi::Env env, const OpenFailure& failure) {
  bool is_route = failure.route >= 0;
  std::string message =
      is_route ? failure.sentence
               : std::string(failure.status.call()) + ": " + uv_strerror(-failure.status.error());
  Napi::Error error = Napi::Error::New(env, message);
  Napi::Object object = error.Value();
  if (is_route) {
    object.Set("code", error_code_name(ErrorCode::InvalidRoute));
    object.Set("route", failure.route);
  } else {
    object.Set("code", uv_err_name(-failure.status.error()));
    object.Set("errno", failure.status.error());
    object.Set("syscall", failure.status.call());
    object.Set("listener", failure.listener);
  }
  error.ThrowAsJavaScriptException();
}

const char* family_name(Family family) {
  if (family == Family::IPv4) return "IPv4";
  return family == Family::IPv6 ? "IPv6" : "unix";
}

Napi::Value open(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Environment& environment = environment_of(info);
  ServerOptions options;
  auto batch = info[1].As<Napi::Uint8Array>();
  if (!read_options(info[0].As<Napi::Object>(), options)) return env.Undefined();
  options.owner = &environment;
  std::vector<std::string> paths;  // a listener's Address has no room for them
  for (const ListenerOptions& listener : options.listeners)
    paths.push_back(listener.request.unix_path);
  OpenFailure failure;
  if (environment.lane_count() + options.loops > Bridge::kLanesMax) {
    failure.status = Status::failed(EMFILE, "lanes");
    throw_failure(env, failure);
    return env.Undefined();
  }
  std::unique_ptr<Server> server = Server::open(std::move(options), failure);
  if (server == nullptr) {
    throw_failure(env, failure);
    return env.Undefined();
  }
  Napi::Object result = Napi::Object::New(env);
  Napi::Array addresses = Napi::Array::New(env);
  for (size_t i = 0; i < paths.size(); i++) {
    const Address& address = server->addresses()[i];
    Napi::Object item = Napi::Object::New(env);
    item.Set("family", family_name(address.family));
    item.Set("address", paths[i].empty() ? std::string(address.view()) : paths[i]);
    item.Set("port", address.port);
    addresses.Set(addresses.Length(), item);
  }
  result.Set("addresses", addresses);
  result.Set("poller", server->loop(0).poller().name());
  uint32_t number = environment.next_host();
  auto* host =
      new Host(environment, number, std::move(server), batch, info[2].As<Napi::Function>());
  environment.add_host(number, host);
  int error = host->start();
  if (error != 0) {
    bool is_inline = host->server().is_inline();
    host->release();
    failure.status = Status::failed(-error, is_inline ? "uv_poll_init" : "pthread_create");
    throw_failure(env, failure);
    return env.Undefined();
  }
  result.Set("server", number);
  return result;
}

Napi::Value take_body(const Napi::CallbackInfo& info) {
  uint32_t handle = info[0].As<Napi::Number>().Uint32Value();
  Bridge* bridge = environment_of(info).lane_of(handle);
  return bridge == nullptr ? info.Env().Undefined()
                           : bridge->take_body(info.Env(), handle & kSlotMask);
}

void control(const Napi::CallbackInfo& info) {
  Host* host = host_of(info);
  if (host == nullptr) return;
  auto kind = static_cast<CommandKind>(info[1].As<Napi::Number>().Uint32Value());
  host->control(kind, info[2].As<Napi::Number>().Uint32Value());
}

void metrics(const Napi::CallbackInfo& info) {
  Host* host = host_of(info);
  auto into = info[1].As<Napi::Float64Array>();
  if (host == nullptr || into.ElementLength() < kStatsCount) return;
  std::memset(into.Data(), 0, into.ByteLength());
  for (size_t i = 0; i < host->server().loop_count(); i++) {
    add_stats(host->server().loop(i).stats_view(), into.Data());
  }
}

void ref(const Napi::CallbackInfo& info) {
  Host* host = host_of(info);
  if (host != nullptr) host->ref(info[1].As<Napi::Boolean>().Value());
}

void release(const Napi::CallbackInfo& info) {
  Host* host = host_of(info);
  if (host != nullptr) host->release();
}

Napi::Value census(const Napi::CallbackInfo& info) {
  Environment& environment = environment_of(info);
  size_t bodies = 0;
  for (const auto& [number, host] : environment.hosts()) bodies += host->body_count();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("servers", static_cast<uint32_t>(environment.hosts().size()));
  result.Set("lanes", static_cast<uint32_t>(environment.lane_count()));
  result.Set("blobs", static_cast<uint32_t>(bodies));
  return result;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* environment = new Environment();
  // Freed with the environment, after every host's own hook has stopped its server.
  env.SetInstanceData<Environment>(environment);
  auto add_hot = [&](const char* name, napi_callback function) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, environment, &value);
    exports.Set(name, value);
  };
  add_hot("respond", &respond<put_text>);
  add_hot("respondBytes", &respond<put_bytes>);
  add_hot("informational", &informational);
  add_hot("cut", &cut);
  exports.Set("open", Napi::Function::New<open>(env, "open", environment));
  exports.Set("takeBody", Napi::Function::New<take_body>(env, "takeBody", environment));
  exports.Set("control", Napi::Function::New<control>(env, "control", environment));
  exports.Set("metrics", Napi::Function::New<metrics>(env, "metrics", environment));
  exports.Set("ref", Napi::Function::New<ref>(env, "ref", environment));
  exports.Set("release", Napi::Function::New<release>(env, "release", environment));
  exports.Set("census", Napi::Function::New<census>(env, "census", environment));
  return exports;
}

}  // namespace
}  // namespace millrace::addon

NAPI_MODULE_INIT() { return millrace::addon::init(Napi::Env(env), Napi::Object(env, exports)); }
