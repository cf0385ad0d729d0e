#include "addon/hand_over.h"

#include <uv.h>

#include <iterator>
#include <string>
#include <utility>

#include "addon/environment.h"
#include "addon/host.h"
#include "core/poll/hand_over.h"

namespace millrace::addon {
namespace {

std::string name_of(const Status& status) {
  return status.is_ok() ? "" : uv_err_name(-status.error());
}

// path, text
Napi::Value send_datagram(const Napi::CallbackInfo& info) {
  std::string path = info[0].As<Napi::String>().Utf8Value();
  std::string text = info[1].As<Napi::String>().Utf8Value();
  return Napi::String::New(info.Env(), name_of(millrace::send_datagram(path, text)));
}

// server, fd, text
Napi::Value send_listeners(const Napi::CallbackInfo& info) {
  auto& environment = *static_cast<Environment*>(info.Data());
  Host* host = environment.host(info[0].As<Napi::Number>().Uint32Value());
  int connection = info[1].As<Napi::Number>().Int32Value();
  std::string text = info[2].As<Napi::String>().Utf8Value();
  Status status = Status::failed(EBADF, "sendmsg");
  if (host != nullptr) {
    status = send_descriptors(connection, host->server().listener_descriptors(), text);
  }
  return Napi::String::New(info.Env(), name_of(status));
}

// What is received and not handed to JavaScript (the environment ended) closes with it.
class Receiving final : public Napi::AsyncWorker {
 public:
  Receiving(Napi::Function done, std::string path, std::string greeting, int64_t timeout_ms)
      : Napi::AsyncWorker(done, "millrace"),
        path_(std::move(path)),
        greeting_(std::move(greeting)),
        timeout_ms_(timeout_ms) {}

  void Execute() override {
    Result<HandedOver> taken = receive_descriptors(path_, greeting_, timeout_ms_);
    status_ = taken.status();
    if (taken.is_ok()) taken_ = taken.take();
  }

  void OnOK() override {
    Napi::Env env = Env();
    Napi::Array descriptors = Napi::Array::New(env);
    for (const Fd& socket : taken_.sockets) descriptors.Set(descriptors.Length(), socket.get());
    napi_value arguments[] = {Napi::String::New(env, name_of(status_)), descriptors,
                              Napi::String::New(env, taken_.text),
                              Napi::Number::New(env, taken_.connection.get())};
    napi_value ignored = nullptr;
    // It throws nothing: a failure is an environment that ends, and has not taken them.
    if (napi_call_function(env, env.Undefined(), Callback().Value(), std::size(arguments),
                           arguments, &ignored) != napi_ok) {
      return;
    }
    for (Fd& socket : taken_.sockets) static_cast<void>(socket.release());
    static_cast<void>(taken_.connection.release());
  }

 private:
  const std::string path_;
  const std::string greeting_;
  const int64_t timeout_ms_;
  Status status_ = Status::ok();
  HandedOver taken_;
};

// path, greeting, timeoutMs, done
void receive_listeners(const Napi::CallbackInfo& info) {
  auto* receiving = new Receiving(
      info[3].As<Napi::Function>(), info[0].As<Napi::String>().Utf8Value(),
      info[1].As<Napi::String>().Utf8Value(), info[2].As<Napi::Number>().Int64Value());
  receiving->Queue();  // deletes itself
}

}  // namespace

void add_hand_over(Napi::Env env, Napi::Object exports, Environment& environment) {
  auto add = [&](const char* name, Napi::Function function) { exports.Set(name, function); };
  add("sendDatagram", Napi::Function::New<send_datagram>(env, "sendDatagram", &environment));
  add("sendListeners", Napi::Function::New<send_listeners>(env, "sendListeners", &environment));
  add("receiveListeners",
      Napi::Function::New<receive_listeners>(env, "receiveListeners", &environment));
}

}  // namespace millrace::addon
