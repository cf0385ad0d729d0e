#include "addon/logs.h"

#include <uv.h>

#include <string>

#include "addon/call.h"
#include "addon/open_log.h"

namespace millrace::addon {
namespace {

void throw_failure(Napi::Env env, const Status& status) {
  Napi::Error error =
      Napi::Error::New(env, std::string(status.call()) + ": " + uv_strerror(-status.error()));
  error.Value().Set("code", uv_err_name(-status.error()));
  error.Value().Set("errno", status.error());
  error.Value().Set("syscall", status.call());
  error.ThrowAsJavaScriptException();
}

OpenLog* log_of(napi_env env, const Call& call) {
  return call.environment->log(uint_of(env, call.arguments[0]));
}

double number_of(napi_env env, napi_value value) {
  double number = 0;
  napi_get_value_double(env, value, &number);
  return number;
}

// path, fd, bytesMax
Napi::Value open_log(const Napi::CallbackInfo& info) {
  auto& environment = *static_cast<Environment*>(info.Data());
  LogFileOptions options;
  options.path = info[0].As<Napi::String>().Utf8Value();
  options.fd = info[1].As<Napi::Number>().Int32Value();
  options.bytes_max = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  Result<std::unique_ptr<LogFile>> file = LogFile::open(options);
  if (!file.is_ok()) {
    throw_failure(info.Env(), file.status());
    return info.Env().Undefined();
  }
  uint32_t number = environment.next_log();
  environment.add_log(number, new OpenLog(info.Env(), environment, number, file.take()));
  return Napi::Number::New(info.Env(), number);
}

// log, text
napi_value write_log(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  OpenLog* log = log_of(env, call);
  if (log == nullptr) return truth(env, false);
  std::string& text = log->scratch();
  size_t length = 0;
  napi_get_value_string_utf8(env, call.arguments[1], nullptr, 0, &length);
  text.resize(length + 1);
  napi_get_value_string_utf8(env, call.arguments[1], text.data(), length + 1, &length);
  bool queued = log->file().write(Bytes(text.data(), length));
  log->trim_scratch();
  return truth(env, queued);
}

// log, ms
napi_value flush_log(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  OpenLog* log = log_of(env, call);
  double ms = number_of(env, call.arguments[1]);
  return truth(env, log == nullptr || log->file().flush(static_cast<int64_t>(ms)));
}

// log, done
napi_value reopen_log(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  OpenLog* log = log_of(env, call);
  if (log != nullptr) log->reopen(Napi::Function(env, call.arguments[1]));
  return nullptr;
}

// log, done
napi_value close_log(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  OpenLog* log = log_of(env, call);
  if (log != nullptr) log->close(Napi::Function(env, call.arguments[1]));
  return nullptr;
}

// log
napi_value log_state(napi_env env, napi_callback_info info) {
  Call call(env, info, 1);
  OpenLog* log = log_of(env, call);
  LogFile::State state = log == nullptr ? LogFile::State{} : log->file().state();
  Napi::Object result = Napi::Object::New(env);
  result.Set("dropped", static_cast<double>(state.dropped));
  result.Set("waiting", static_cast<double>(state.waiting));
  result.Set("errno", state.error);
  return result;
}

}  // namespace

void add_logs(Napi::Env env, Napi::Object exports, Environment& environment) {
  auto add = [&](const char* name, napi_callback function) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, &environment, &value);
    exports.Set(name, value);
  };
  exports.Set("openLog", Napi::Function::New<open_log>(env, "openLog", &environment));
  add("writeLog", &write_log);
  add("flushLog", &flush_log);
  add("reopenLog", &reopen_log);
  add("closeLog", &close_log);
  add("logState", &log_state);
}

}  // namespace millrace::addon
