// The table of native functions; src/native/binding.ts declares and documents them.
// Those that answer requests are in commands.cpp, those about their bodies in bodies.cpp.
#include <napi.h>
#include <uv.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "addon/bodies.h"
#include "addon/commands.h"
#include "addon/connections.h"
#include "addon/descriptors.h"
#include "addon/environment.h"
#include "addon/hand_over.h"
#include "addon/host.h"
#include "addon/logs.h"
#include "addon/options.h"
#include "addon/sockets.h"

namespace millrace::addon {
namespace {

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
                           : bridge->take_body(info.Env(), handle & Bridge::kSlotMask);
}

void control(const Napi::CallbackInfo& info) {
  Host* host = host_of(info);
  if (host == nullptr) return;
  auto kind = static_cast<CommandKind>(info[1].As<Napi::Number>().Uint32Value());
  auto number = [&](size_t at) {
    return info[at].IsNumber() ? info[at].As<Napi::Number>().Uint32Value() : 0;
  };
  bool keeps_paths = info[4].IsBoolean() && info[4].As<Napi::Boolean>().Value();
  host->control(kind, number(2), number(3), keeps_paths);
}

void reroute(const Napi::CallbackInfo& info) {
  Host* host = host_of(info);
  RouteTable table;
  if (host == nullptr || !read_routes(info[1].As<Napi::Object>(), table)) return;
  OpenFailure failure;
  const Router* router = host->server().add_router(std::move(table), failure);
  if (router == nullptr) return throw_failure(info.Env(), failure);
  host->reroute(*router);
}

void metrics(const Napi::CallbackInfo& info) {
  Host* host = host_of(info);
  auto into = info[1].As<Napi::Float64Array>();
  if (host == nullptr) return;
  MR_CHECK(into.ElementLength() == kStatsCount + kQueueCount);
  std::memset(into.Data(), 0, into.ByteLength());
  for (size_t i = 0; i < host->server().loop_count(); i++) {
    Loop& loop = host->server().loop(i);
    add_stats(loop.stats_view(), into.Data());
    add_queue_meter(loop.lane().queue, into.Data() + kStatsCount);
  }
}

Napi::Value prometheus(const Napi::CallbackInfo& info) {
  Host* host = host_of(info);
  std::string text;
  if (host != nullptr) host->server().write_metrics(text);
  return Napi::String::New(info.Env(), text);
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
  add_commands(env, exports, *environment);
  add_bodies(env, exports, *environment);
  add_sockets(env, exports, *environment);
  add_connections(env, exports, *environment);
  add_descriptors(env, exports);
  add_logs(env, exports, *environment);
  add_hand_over(env, exports, *environment);
  exports.Set("open", Napi::Function::New<open>(env, "open", environment));
  exports.Set("takeBody", Napi::Function::New<take_body>(env, "takeBody", environment));
  exports.Set("control", Napi::Function::New<control>(env, "control", environment));
  exports.Set("reroute", Napi::Function::New<reroute>(env, "reroute", environment));
  exports.Set("metrics", Napi::Function::New<metrics>(env, "metrics", environment));
  exports.Set("prometheus", Napi::Function::New<prometheus>(env, "prometheus", environment));
  exports.Set("ref", Napi::Function::New<ref>(env, "ref", environment));
  exports.Set("release", Napi::Function::New<release>(env, "release", environment));
  exports.Set("census", Napi::Function::New<census>(env, "census", environment));
  return exports;
}

}  // namespace
}  // namespace millrace::addon

NAPI_MODULE_INIT() { return millrace::addon::init(Napi::Env(env), Napi::Object(env, exports)); }
