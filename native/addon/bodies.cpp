#include "addon/bodies.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "addon/call.h"
#include "core/base/fd.h"
#include "core/model/error.h"
#include "core/proto/multipart/boundary.h"
#include "core/proto/multipart/decoder.h"

namespace millrace::addon {
namespace {

// --- streamed bodies ---

napi_value read(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  if (call.bridge == nullptr) return nullptr;
  Command* command = begin_plain(env, call, CommandKind::Read, 0).command;
  command->amount = uint_of(env, call.arguments[2]);
  call.bridge->end_command(command);
  return nullptr;
}

// What is beyond 2^53, Infinity too, is no limit.
uint64_t limit_of(double number) {
  return number < 9007199254740992.0 ? static_cast<uint64_t>(std::max(number, 0.0)) : UINT64_MAX;
}

uint64_t whole_number(napi_env env, napi_value value) {
  double number = 0;
  napi_get_value_double(env, value, &number);
  return limit_of(number);
}

// In the order of MultipartLimits.
MultipartLimits limits_of(napi_env env, napi_value value) {
  MultipartLimits limits;
  static_assert(sizeof(limits) == 8 * sizeof(uint64_t));
  std::array<uint64_t, 8> numbers;
  std::memcpy(numbers.data(), &limits, sizeof(limits));
  void* from = nullptr;
  size_t count = 0;
  napi_typedarray_type kind;
  if (napi_get_typedarray_info(env, value, &kind, &count, &from, nullptr, nullptr) == napi_ok &&
      kind == napi_float64_array) {
    for (size_t i = 0; i < std::min(count, numbers.size()); i++) {
      numbers[i] = limit_of(static_cast<double*>(from)[i]);
    }
  }
  std::memcpy(static_cast<void*>(&limits), numbers.data(), sizeof(limits));
  return limits;
}

Bytes boundary_of(napi_env env, napi_value value, char (&room)[MultipartBoundary::kLengthMax + 2]) {
  size_t length = 0;
  napi_get_value_string_latin1(env, value, room, sizeof(room), &length);
  return Bytes(room, length);
}

// handle, generation, credit, boundary, limits
napi_value parts(napi_env env, napi_callback_info info) {
  Call call(env, info, 5);
  if (call.bridge == nullptr) return nullptr;
  char room_for_boundary[MultipartBoundary::kLengthMax + 2];
  Bytes boundary = boundary_of(env, call.arguments[3], room_for_boundary);
  if (!is_multipart_boundary(boundary)) return nullptr;
  MultipartLimits limits = limits_of(env, call.arguments[4]);
  Bridge::Room room = begin_plain(env, call, CommandKind::Parts, sizeof(limits) + boundary.size());
  room.command->amount = uint_of(env, call.arguments[2]);
  room.command->body_length = static_cast<uint32_t>(sizeof(limits) + boundary.size());
  std::memcpy(room.content, &limits, sizeof(limits));
  std::memcpy(room.content + sizeof(limits), boundary.data(), boundary.size());
  call.bridge->end_command(room.command);
  return nullptr;
}

// handle, generation, number, skip
napi_value take_part(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  if (call.bridge == nullptr) return nullptr;
  Command* command = begin_plain(env, call, CommandKind::Part, 0).command;
  command->amount = uint_of(env, call.arguments[2]);
  bool skip = false;
  napi_get_value_bool(env, call.arguments[3], &skip);
  if (skip) command->flags |= kCommandSkip;
  call.bridge->end_command(command);
  return nullptr;
}

// handle, generation, descriptor, digest, limit
napi_value save(napi_env env, napi_callback_info info) {
  Call call(env, info, 5);
  if (call.bridge == nullptr) return truth(env, false);
  // The disk thread's own: the caller may close its descriptor whenever it likes.
  Fd file = Fd(static_cast<int>(uint_of(env, call.arguments[2])));
  Fd own = file.duplicate();
  static_cast<void>(file.release());
  if (!own.is_open()) return truth(env, false);
  uint64_t limit = whole_number(env, call.arguments[4]);
  Bridge::Room room = begin_plain(env, call, CommandKind::Save, sizeof(limit));
  Command* command = room.command;
  command->body_length = sizeof(limit);
  std::memcpy(room.content, &limit, sizeof(limit));
  command->amount = static_cast<uint32_t>(own.release());
  bool digest = false;
  napi_get_value_bool(env, call.arguments[3], &digest);
  if (digest) command->flags |= kCommandDigest;
  call.bridge->end_command(command);
  return truth(env, true);
}

// --- bodies that are here as a whole ---

// The boundary of a Content-Type, or the number of the error.
napi_value multipart_boundary(napi_env env, napi_callback_info info) {
  Call call(env, info, 1);
  size_t length = 0;
  napi_get_value_string_latin1(env, call.arguments[0], nullptr, 0, &length);
  std::string type(length, '\0');
  napi_get_value_string_latin1(env, call.arguments[0], type.data(), length + 1, &length);
  MultipartBoundary boundary;
  ErrorCode error = parse_multipart_boundary(type, boundary);
  napi_value result;
  if (error == ErrorCode::None) {
    napi_create_string_latin1(env, boundary.bytes.data(), boundary.length, &result);
  } else {
    napi_create_uint32(env, static_cast<uint32_t>(error), &result);
  }
  return result;
}

Napi::Object part_object(Napi::Env env, const PartHead& part) {
  auto latin1 = [&](Bytes bytes) {
    napi_value text;
    napi_create_string_latin1(env, bytes.data(), bytes.size(), &text);
    return text;
  };
  Napi::Object object = Napi::Object::New(env);
  object.Set("name", latin1(part.name));
  object.Set("filename", part.has_filename ? latin1(part.filename) : env.Null());
  object.Set("headers", latin1(part.headers));
  return object;
}

// bytes, boundary, limits: an array of parts with `begin` and `end`, or the number of the error.
napi_value decode_parts(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  void* data = nullptr;
  size_t length = 0;
  napi_typedarray_type kind;
  napi_get_typedarray_info(env, call.arguments[0], &kind, &length, &data, nullptr, nullptr);
  char room[MultipartBoundary::kLengthMax + 2];
  Bytes boundary = boundary_of(env, call.arguments[1], room);
  Napi::Env node(env);
  auto failed = [&](ErrorCode error) {
    return Napi::Number::New(node, static_cast<double>(error));
  };
  if (!is_multipart_boundary(boundary)) return failed(ErrorCode::BadMultipart);
  MultipartDecoder decoder(boundary, limits_of(env, call.arguments[2]));
  Bytes whole(static_cast<char*>(data), length);
  Bytes rest = whole;
  Napi::Array list = Napi::Array::New(node);
  Napi::Object part;
  for (;;) {
    MultipartDecoder::Step step = decoder.decode(rest);
    rest.remove_prefix(step.consumed);
    auto at = static_cast<double>(whole.size() - rest.size());
    switch (step.found) {
      case MultipartDecoder::Found::NeedMore: return failed(ErrorCode::BadMultipart);
      case MultipartDecoder::Found::Broken: return failed(step.error);
      case MultipartDecoder::Found::End: return list;
      case MultipartDecoder::Found::Part:
        part = part_object(node, decoder.part());
        part.Set("begin", at);
        part.Set("end", at);
        list.Set(list.Length(), part);
        break;
      case MultipartDecoder::Found::Content: part.Set("end", at); break;
      case MultipartDecoder::Found::PartEnd: break;
    }
  }
}

}  // namespace

void add_bodies(Napi::Env env, Napi::Object exports, Environment& environment) {
  auto add = [&](const char* name, napi_callback function) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, &environment, &value);
    exports.Set(name, value);
  };
  add("read", &read);
  add("parts", &parts);
  add("takePart", &take_part);
  add("save", &save);
  add("multipartBoundary", &multipart_boundary);
  add("decodeParts", &decode_parts);
}

}  // namespace millrace::addon
