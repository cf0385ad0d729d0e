#include "addon/descriptors.h"

#include <uv.h>

#include <limits>

#include "core/base/fd_limit.h"

namespace millrace::addon {
namespace {

double number_of(int64_t limit) {
  return limit == FdLimit::kUnlimited ? std::numeric_limits<double>::infinity()
                                      : static_cast<double>(limit);
}

Napi::Value fd_limit(const Napi::CallbackInfo& info) {
  FdLimit limit = read_fd_limit();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("soft", number_of(limit.soft));
  result.Set("hard", number_of(limit.hard));
  return result;
}

// soft
Napi::Value set_fd_limit(const Napi::CallbackInfo& info) {
  double soft = info[0].As<Napi::Number>().DoubleValue();
  bool is_unlimited = soft == std::numeric_limits<double>::infinity();
  Status status =
      millrace::set_fd_limit(is_unlimited ? FdLimit::kUnlimited : static_cast<int64_t>(soft));
  return Napi::String::New(info.Env(), status.is_ok() ? "" : uv_err_name(-status.error()));
}

}  // namespace

void add_descriptors(Napi::Env env, Napi::Object exports) {
  exports.Set("fdLimit", Napi::Function::New<fd_limit>(env, "fdLimit"));
  exports.Set("setFdLimit", Napi::Function::New<set_fd_limit>(env, "setFdLimit"));
}

}  // namespace millrace::addon
