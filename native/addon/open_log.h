// OpenLog: a log file in one Node environment: who is told what becomes of orders, and its end.
// Owned by: JS thread of its environment. Deletes itself when its libuv handle is closed.
#pragma once

#include <napi.h>
#include <uv.h>

#include <deque>
#include <memory>
#include <string>

#include "core/disk/log_file.h"

namespace millrace::addon {

class Environment;

class OpenLog final {
 public:
  // Registers itself for the environment's end.
  OpenLog(Napi::Env env, Environment& environment, uint32_t number, std::unique_ptr<LogFile> file);
  OpenLog(const OpenLog&) = delete;
  OpenLog& operator=(const OpenLog&) = delete;

  [[nodiscard]] LogFile& file() { return *file_; }
  // An order that was given keeps the process alive until `done(errno)` was called.
  void reopen(Napi::Function done);
  // The environment forgets the number at once.
  void close(Napi::Function done);

  [[nodiscard]] std::string& scratch() { return scratch_; }
  void trim_scratch();

 private:
  ~OpenLog() = default;
  static void on_outcome(uv_async_t* async);
  static void on_environment_end(napi_async_cleanup_hook_handle handle, void* log);
  void call(Napi::FunctionReference done, int error);
  void expect(Napi::Function done);
  void end();

  Napi::Env env_;
  Environment& environment_;
  const uint32_t number_;
  std::unique_ptr<LogFile> file_;
  uv_async_t* async_ = nullptr;  // rung by the writer's thread
  std::deque<Napi::FunctionReference> waiting_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  std::string scratch_;
  bool ended_ = false;
};

}  // namespace millrace::addon
