// Host: one server in one Node environment: its lanes' JavaScript ends, what wakes them, and its
// orderly end. Threaded loops ring a thread-safe function; an inline loop is run by InlineHost.
// Owned by: JS thread of its environment. Deletes itself when the last handle is closed.
#pragma once

#include <napi.h>
#include <uv.h>

#include <memory>
#include <string>
#include <vector>

#include "addon/bridge.h"
#include "addon/inline_host.h"
#include "core/server/server.h"

namespace millrace::addon {

class Environment;

class Host final {
 public:
  // Registers itself for the environment's end. `number` is what JavaScript calls the server.
  Host(Environment& environment, uint32_t number, std::unique_ptr<Server> server,
       Napi::Uint8Array batch, Napi::Function dispatch);
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // On failure, which release() must follow, libuv's error.
  [[nodiscard]] int start();
  // Stops the server and lets everything go; safe inside a dispatch.
  void release();
  // Of Close: until what is left is cut, until idle connections are ended, and whether files of
  // unix sockets stay.
  void control(CommandKind kind, uint32_t wait_ms, uint32_t idle_ms, bool keeps_paths);
  // Requests are matched by `router` from now on; each loop answers with a Rerouted event.
  void reroute(const Router& router);
  void ref(bool alive);

  // Hands the lane's events to JavaScript until there are none. `enter` makes the outermost call of
  // a turn of libuv, which runs ticks and microtasks after it.
  enum class Entry : uint8_t { Outermost, Nested };
  void drain(Bridge& bridge, Entry entry);
  void note_unflushed();           // commands wait to be handed over before JavaScript sleeps
  void make_room(Bridge& bridge);  // the command ring is full

  [[nodiscard]] Server& server() { return *server_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Bridge>>& bridges() const { return bridges_; }
  [[nodiscard]] Environment& environment() { return environment_; }
  [[nodiscard]] uint32_t number() const { return number_; }
  [[nodiscard]] uv_loop_t* uv() const { return uv_; }
  [[nodiscard]] size_t body_count() const;
  [[nodiscard]] bool is_released() const { return released_; }
  void handle_closed();  // one of its libuv handles

 private:
  ~Host() = default;
  struct CallJs;
  using Doorbell = Napi::TypedThreadSafeFunction<Bridge, void, nullptr>;
  static void on_prepare(uv_prepare_t* prepare);
  static void on_idle(uv_idle_t* idle);
  static void on_environment_end(napi_async_cleanup_hook_handle handle, void* host);
  static void on_ring(napi_env env, napi_value, void* context, void*);
  void add_doorbell(Bridge& bridge);
  void flush_all();
  void finish_release();
  void delete_when_done();
  [[nodiscard]] bool call_dispatch(uint32_t count, Entry entry);

  Environment& environment_;
  Napi::Env env_;
  const uint32_t number_;
  uv_loop_t* uv_ = nullptr;
  std::unique_ptr<Server> server_;
  std::vector<std::unique_ptr<Bridge>> bridges_;
  std::vector<napi_threadsafe_function> doorbells_;
  std::unique_ptr<InlineHost> inline_host_;
  Napi::Reference<Napi::Uint8Array> batch_;
  MutableBytes batch_bytes_;
  Napi::FunctionReference dispatch_;
  std::string text_;
  uv_prepare_t* prepare_ = nullptr;
  uv_idle_t* idle_ = nullptr;  // active when batches wait for the next turn of libuv
  uint32_t turn_batches_ = 0;  // dispatched since libuv last slept
  napi_async_cleanup_hook_handle hook_ = nullptr;
  uint32_t open_handles_ = 0;  // libuv handles and thread-safe functions not yet finalised
  uint32_t depth_ = 0;         // of dispatches on the stack
  bool unflushed_ = false;
  bool released_ = false;
  bool finished_ = false;
  bool environment_ends_ = false;
};

}  // namespace millrace::addon
