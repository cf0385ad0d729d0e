// C interface throughout: one cb_info read, no wrappers.
#include "addon/commands.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "addon/call.h"
#include "addon/content.h"
#include "addon/environment.h"
#include "core/base/utf8.h"
#include "core/model/error.h"

namespace millrace::addon {
namespace {

// Header lines longer than the usual room get a record of their own size. No record, and an
// exception pending, when they are longer than any.
Bridge::Room begin_with_headers(napi_env env, Call& call, napi_value headers, size_t body_room) {
  Bridge::Room room = call.bridge->begin_command(Bridge::kHeaderRoom + body_room);
  if (!copy_latin1(env, headers, room.content, Bridge::kHeaderRoom, room.command->header_length)) {
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
  room.command->exchange.slot = call.handle & Bridge::kSlotMask;
  room.command->exchange.generation = uint_of(env, call.arguments[1]);
  return room;
}

void set_status(Command& command, uint32_t status_flags) {
  command.status = static_cast<uint16_t>(status_flags & 0xffff);
  // Whether there is a blob is said here only, never by JavaScript.
  command.flags = static_cast<uint16_t>((status_flags >> 16) & ~uint32_t{kCommandBodyIsBlob});
}

template <bool (*put_body)(napi_env, napi_value, Command&, char*, Spare)>
napi_value respond(napi_env env, napi_callback_info info) {
  Call call(env, info, 5);
  if (call.bridge == nullptr) return truth(env, false);
  Bridge::Room room = begin_with_headers(env, call, call.arguments[3], Bridge::kBodyRoom);
  if (room.command == nullptr) return nullptr;
  uint32_t status_flags = uint_of(env, call.arguments[2]);
  Command& command = *room.command;
  command.kind = static_cast<uint16_t>(CommandKind::Respond);
  set_status(command, status_flags);
  char* body = room.content + command.header_length;
  if (!put_body(env, call.arguments[4], command, body, kNoSpare)) return nullptr;
  call.bridge->end_command(&command);
  return truth(env, true);
}

// --- many at once ---

// As src/outbox.ts writes them: five words per answer, then the next.
struct Record {
  uint32_t handle;
  uint32_t generation;
  uint32_t status_flags;
  uint32_t header_length;  // in characters, of which none is above U+00FF
  uint32_t body_length;    // in UTF-16 code units
};

void put_record(Environment& environment, const Record& record, const char16_t* text) {
  Bridge* bridge = environment.lane_of(record.handle);
  if (bridge == nullptr) return;  // its server was released meanwhile
  Bridge::Room room =
      bridge->begin_command(record.header_length + kUtf8PerUnit * size_t{record.body_length});
  Command& command = *room.command;
  command.kind = static_cast<uint16_t>(CommandKind::Respond);
  set_status(command, record.status_flags);
  command.exchange.slot = record.handle & Bridge::kSlotMask;
  command.exchange.generation = record.generation;
  command.header_length = record.header_length;
  char* out = room.content;
  for (uint32_t i = 0; i < record.header_length; i++) out[i] = static_cast<char>(text[i]);
  std::u16string_view body(text + record.header_length, record.body_length);
  command.body_length = static_cast<uint32_t>(write_utf8(body, out + record.header_length));
  bridge->end_command(&command);
}

// words, count, text. The text crosses as UTF-16, which Node-API copies in one go whatever it
// holds.
napi_value respond_many(napi_env env, napi_callback_info info) {
  std::array<napi_value, 3> arguments{};
  size_t count = arguments.size();
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments.data(), nullptr, &data);
  auto& environment = *static_cast<Environment*>(data);
  void* words = nullptr;
  size_t word_count = 0;
  napi_typedarray_type kind;
  if (napi_get_typedarray_info(env, arguments[0], &kind, &word_count, &words, nullptr, nullptr) !=
      napi_ok)
    return nullptr;
  std::u16string& text = environment.answers_text();
  size_t length = 0;
  napi_get_value_string_utf16(env, arguments[2], nullptr, 0, &length);
  if (text.size() < length + 1) text.resize(length + 1);
  napi_get_value_string_utf16(env, arguments[2], text.data(), length + 1, &length);
  size_t records = std::min<size_t>(uint_of(env, arguments[1]), word_count * 4 / sizeof(Record));
  size_t at = 0;
  for (size_t i = 0; i < records; i++) {
    Record record;
    std::memcpy(&record, static_cast<char*>(words) + i * sizeof(Record), sizeof(Record));
    size_t size = size_t{record.header_length} + record.body_length;
    if (size > length - at) break;
    put_record(environment, record, text.data() + at);
    at += size;
  }
  return nullptr;
}

// --- other commands ---

// A command that is a status and header lines.
napi_value put_head(napi_env env, Call& call, CommandKind kind, uint32_t status_flags,
                    napi_value headers) {
  if (call.bridge == nullptr) return truth(env, false);
  Bridge::Room room = begin_with_headers(env, call, headers, 0);
  if (room.command == nullptr) return nullptr;
  room.command->kind = static_cast<uint16_t>(kind);
  set_status(*room.command, status_flags);
  call.bridge->end_command(room.command);
  return truth(env, true);
}

napi_value informational(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  uint32_t status = uint_of(env, call.arguments[2]);
  return put_head(env, call, CommandKind::Informational, status, call.arguments[3]);
}

// handle, generation
napi_value tell(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (call.bridge == nullptr) return truth(env, false);
  call.bridge->end_command(begin_plain(env, call, CommandKind::Tell, 0).command);
  return truth(env, true);
}

napi_value cut(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  if (call.bridge == nullptr) return nullptr;
  Command* command = begin_plain(env, call, CommandKind::Cut, 0).command;
  command->status = static_cast<uint16_t>(uint_of(env, call.arguments[2]));
  command->amount = uint_of(env, call.arguments[3]);
  call.bridge->end_command(command);
  return nullptr;
}

// handle, generation, statusFlags, headers, texts (latin1)
napi_value send_file(napi_env env, napi_callback_info info) {
  Call call(env, info, 5);
  if (call.bridge == nullptr) return truth(env, false);
  size_t length = 0;
  napi_get_value_string_latin1(env, call.arguments[4], nullptr, 0, &length);
  if (length > Bridge::kHeadersMax / 2) {
    napi_throw_range_error(env, error_code_name(ErrorCode::InvalidOption),
                           "a file's path and the request's conditions are too long");
    return nullptr;
  }
  Bridge::Room room = begin_with_headers(env, call, call.arguments[3], length + 1);
  if (room.command == nullptr) return nullptr;
  room.command->kind = static_cast<uint16_t>(CommandKind::SendFile);
  set_status(*room.command, uint_of(env, call.arguments[2]));
  char* out = room.content + room.command->header_length;
  napi_get_value_string_latin1(env, call.arguments[4], out, length + 1, &length);
  room.command->body_length = static_cast<uint32_t>(length);
  call.bridge->end_command(room.command);
  return truth(env, true);
}

// --- streams ---

napi_value begin(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  uint32_t status_flags = uint_of(env, call.arguments[2]);
  return put_head(env, call, CommandKind::Begin, status_flags, call.arguments[3]);
}

template <bool (*put_body)(napi_env, napi_value, Command&, char*, Spare)>
napi_value write(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  if (call.bridge == nullptr) return truth(env, false);
  Bridge::Room room = begin_plain(env, call, CommandKind::Write, Bridge::kBodyRoom);
  if (!put_body(env, call.arguments[2], *room.command, room.content, kFramed)) return nullptr;
  call.bridge->end_command(room.command);
  return truth(env, true);
}

napi_value finish(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  return put_head(env, call, CommandKind::End, 0, call.arguments[2]);
}

}  // namespace

void add_commands(Napi::Env env, Napi::Object exports, Environment& environment) {
  auto add = [&](const char* name, napi_callback function) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, &environment, &value);
    exports.Set(name, value);
  };
  add("respond", &respond<put_text>);
  add("respondBytes", &respond<put_bytes>);
  add("respondMany", &respond_many);
  add("informational", &informational);
  add("tell", &tell);
  add("cut", &cut);
  add("begin", &begin);
  add("write", &write<put_text>);
  add("writeBytes", &write<put_bytes>);
  add("finish", &finish);
  add("sendFile", &send_file);
}

}  // namespace millrace::addon
