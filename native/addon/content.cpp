#include "addon/content.h"

#include <cstring>

#include "addon/bridge.h"
#include "core/model/error.h"

namespace millrace::addon {
namespace {

bool copy_utf8(napi_env env, napi_value value, char* out, size_t room, uint32_t& length) {
  size_t written = 0;
  napi_get_value_string_utf8(env, value, out, room, &written);
  length = static_cast<uint32_t>(written);
  return written + 4 < room;  // a cut multi-byte character leaves up to three bytes
}

void give_blob(Command& command, Blob blob, size_t length) {
  command.body_length = static_cast<uint32_t>(length);
  if (length == 0) return;
  command.flags |= kCommandBodyIsBlob;
  command.blob = reinterpret_cast<uint64_t>(blob.release());
}

}  // namespace

bool copy_latin1(napi_env env, napi_value value, char* out, size_t room, uint32_t& length) {
  size_t written = 0;
  napi_get_value_string_latin1(env, value, out, room, &written);
  length = static_cast<uint32_t>(written);
  return written + 1 < room;
}

bool put_text(napi_env env, napi_value value, Command& command, char* out, Spare spare) {
  if (copy_utf8(env, value, out, Bridge::kBodyRoom, command.body_length)) return true;
  size_t length = 0;
  napi_get_value_string_utf8(env, value, nullptr, 0, &length);
  // One more: room for the NUL that Node-API writes.
  Blob blob = Blob::uninitialized(spare.front + length + 1 + spare.back);
  napi_get_value_string_utf8(env, value, blob.data() + spare.front, length + 1, &length);
  give_blob(command, std::move(blob), length);
  return true;
}

bool put_bytes(napi_env env, napi_value value, Command& command, char* out, Spare spare) {
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
    Blob blob = Blob::uninitialized(spare.front + length + spare.back);
    std::memcpy(blob.data() + spare.front, data, length);
    give_blob(command, std::move(blob), length);
  }
  return true;
}

}  // namespace millrace::addon
