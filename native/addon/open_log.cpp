#include "addon/open_log.h"

#include <cstdlib>
#include <utility>

#include "addon/environment.h"

namespace millrace::addon {
namespace {

// What a process that exits waits at most for lines that are queued.
constexpr int64_t kEndFlushMs = 200;
// process.exit() of the main thread runs no cleanup hooks.
void flush_at_exit() {
  static const int registered = std::atexit([] { LogFile::flush_all(kEndFlushMs); });
  static_cast<void>(registered);
}

constexpr size_t kKeptScratch = 64 * 1024;

}  // namespace

OpenLog::OpenLog(Napi::Env env, Environment& environment, uint32_t number,
                 std::unique_ptr<LogFile> file)
    : env_(env), environment_(environment), number_(number), file_(std::move(file)) {
  flush_at_exit();
  uv_loop_t* uv = nullptr;
  napi_get_uv_event_loop(env_, &uv);
  async_ = new uv_async_t();
  MR_CHECK(uv_async_init(uv, async_, &OpenLog::on_outcome) == 0);
  async_->data = this;
  uv_unref(reinterpret_cast<uv_handle_t*>(async_));
  // Any thread may ring it, until end() has joined the only one that does.
  file_->set_notify([](void* async) { uv_async_send(static_cast<uv_async_t*>(async)); }, async_);
  napi_add_async_cleanup_hook(env_, &OpenLog::on_environment_end, this, &hook_);
}

void OpenLog::reopen(Napi::Function done) {
  expect(done);
  file_->reopen();
}

void OpenLog::close(Napi::Function done) {
  environment_.remove_log(number_);
  expect(done);
  file_->close();
}

void OpenLog::expect(Napi::Function done) {
  waiting_.push_back(Napi::Persistent(done));
  uv_ref(reinterpret_cast<uv_handle_t*>(async_));
}

void OpenLog::trim_scratch() {
  if (scratch_.capacity() > kKeptScratch) std::string().swap(scratch_);
}

void OpenLog::on_outcome(uv_async_t* async) {
  auto* log = static_cast<OpenLog*>(async->data);
  for (LogFile::Outcome outcome : log->file_->take_outcomes()) {
    Napi::FunctionReference done = std::move(log->waiting_.front());
    log->waiting_.pop_front();
    if (log->waiting_.empty()) uv_unref(reinterpret_cast<uv_handle_t*>(async));
    bool was_last = outcome.kind == LogFile::Kind::Close;
    log->call(std::move(done), outcome.error);
    if (log->ended_) return;  // process.exit() in the callback
    if (was_last) return log->end();
  }
}

void OpenLog::call(Napi::FunctionReference done, int error) {
  Napi::HandleScope scope(env_);
  napi_value argument;
  napi_value receiver;
  napi_value result;
  napi_create_int32(env_, error, &argument);
  napi_get_global(env_, &receiver);
  napi_status status =
      napi_make_callback(env_, nullptr, receiver, done.Value(), 1, &argument, &result);
  napi_value thrown;
  if (status == napi_pending_exception &&
      napi_get_and_clear_last_exception(env_, &thrown) == napi_ok) {
    napi_fatal_exception(env_, thrown);
  }
}

void OpenLog::on_environment_end(napi_async_cleanup_hook_handle, void* log) {
  static_cast<OpenLog*>(log)->end();
}

void OpenLog::end() {
  if (ended_) return;
  ended_ = true;
  static_cast<void>(file_->finish(kEndFlushMs));
  environment_.remove_log(number_);
  waiting_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(async_), [](uv_handle_t* handle) {
    auto* log = static_cast<OpenLog*>(handle->data);
    delete reinterpret_cast<uv_async_t*>(handle);
    napi_remove_async_cleanup_hook(log->hook_);
    delete log;
  });
}

}  // namespace millrace::addon
