// C interface where messages pass: one cb_info read, no wrappers.
#include "addon/sockets.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "addon/call.h"
#include "addon/content.h"
#include "addon/host.h"
#include "core/base/zlib.h"
#include "core/lane/hub.h"
#include "core/model/error.h"
#include "core/model/shared_message.h"

namespace millrace::addon {
namespace {

constexpr int64_t kIsFull = -1;
constexpr int64_t kIsReleased = -2;
constexpr size_t kLoopsMax = 64;

napi_value number(napi_env env, int64_t value) {
  napi_value result;
  napi_create_int64(env, value, &result);
  return result;
}

// --- one socket ---

// handle, generation, headers, settings
napi_value upgrade(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  if (call.bridge == nullptr) return truth(env, false);
  size_t length = 0;
  napi_get_value_string_latin1(env, call.arguments[2], nullptr, 0, &length);
  if (length > Bridge::kHeadersMax) {
    napi_throw_range_error(env, error_code_name(ErrorCode::InvalidHeader),
                           "the header lines of an upgrade are too long");
    return nullptr;
  }
  Bridge::Room room = begin_plain(env, call, CommandKind::Upgrade, length + 1);
  napi_get_value_string_latin1(env, call.arguments[2], room.content, length + 1, &length);
  room.command->header_length = static_cast<uint32_t>(length);
  room.command->amount = uint_of(env, call.arguments[3]);
  call.bridge->begin_queue(room.command->exchange);
  call.bridge->end_command(room.command);
  return truth(env, true);
}

// handle, generation, flags, limit, data
template <bool (*put_body)(napi_env, napi_value, Command&, char*, Spare)>
napi_value send(napi_env env, napi_callback_info info) {
  Call call(env, info, 5);
  if (call.bridge == nullptr) return number(env, kIsReleased);
  ExchangeId id{call.handle & Bridge::kSlotMask, uint_of(env, call.arguments[1])};
  Bridge::Fullness fullness = call.bridge->judge_queue(id, uint_of(env, call.arguments[3]));
  if (fullness == Bridge::Fullness::IsFull) return number(env, kIsFull);
  if (fullness == Bridge::Fullness::IsOver) return number(env, kIsReleased);
  uint64_t waiting = call.bridge->waiting(id);
  Bridge::Room room = begin_plain(env, call, CommandKind::Send, Bridge::kBodyRoom);
  uint32_t flags = uint_of(env, call.arguments[2]);
  Command& command = *room.command;
  command.status = static_cast<uint16_t>(flags & 0xffff);
  command.flags = static_cast<uint16_t>((flags >> 16) & kCommandCompress);
  if (!put_body(env, call.arguments[4], command, room.content, kFramed)) return nullptr;
  uint32_t length = command.body_length;
  call.bridge->add_queued(id, length);
  call.bridge->end_command(&command);
  return number(env, static_cast<int64_t>(waiting + length));
}

napi_value buffered(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (call.bridge == nullptr) return number(env, 0);
  ExchangeId id{call.handle & Bridge::kSlotMask, uint_of(env, call.arguments[1])};
  return number(env, static_cast<int64_t>(call.bridge->waiting(id)));
}

// handle, generation, low, number
napi_value report(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  if (call.bridge == nullptr) return nullptr;
  Command& command = *begin_plain(env, call, CommandKind::Report, 0).command;
  command.amount = uint_of(env, call.arguments[2]);
  command.blob = uint_of(env, call.arguments[3]);
  call.bridge->end_command(&command);
  return nullptr;
}

// handle, generation, code, reason
napi_value close_socket(napi_env env, napi_callback_info info) {
  Call call(env, info, 4);
  if (call.bridge == nullptr) return nullptr;
  constexpr size_t kReasonRoom = 128;
  Bridge::Room room = begin_plain(env, call, CommandKind::CloseSocket, kReasonRoom);
  room.command->status = static_cast<uint16_t>(uint_of(env, call.arguments[2]));
  size_t length = 0;
  napi_get_value_string_utf8(env, call.arguments[3], room.content, kReasonRoom, &length);
  room.command->body_length = static_cast<uint32_t>(length);
  call.bridge->end_command(room.command);
  return nullptr;
}

napi_value hold(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  if (call.bridge == nullptr) return nullptr;
  Command& command = *begin_plain(env, call, CommandKind::Hold, 0).command;
  bool on = false;
  napi_get_value_bool(env, call.arguments[2], &on);
  command.amount = on ? 1 : 0;
  call.bridge->end_command(&command);
  return nullptr;
}

napi_value expire(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (call.bridge == nullptr) return nullptr;
  call.bridge->end_command(begin_plain(env, call, CommandKind::Expire, 0).command);
  return nullptr;
}

// handle, generation, topic. Counted here and now: who publishes next reaches this socket.
template <CommandKind kind>
napi_value set_topic(napi_env env, napi_callback_info info) {
  Call call(env, info, 3);
  if (call.bridge == nullptr) return nullptr;
  size_t length = 0;
  napi_get_value_string_utf8(env, call.arguments[2], nullptr, 0, &length);
  if (length > Bridge::kHeadersMax) return nullptr;  // TypeScript allows far less
  Bridge::Room room = begin_plain(env, call, kind, length + 1);
  napi_get_value_string_utf8(env, call.arguments[2], room.content, length + 1, &length);
  room.command->body_length = static_cast<uint32_t>(length);
  const std::string& space = call.bridge->host().server().topic_space();
  Bytes topic(room.content, length);
  if (kind == CommandKind::Subscribe) {
    Hub::of_process().add(space, topic, call.bridge->mailbox());
  } else {
    Hub::of_process().remove(space, topic, call.bridge->mailbox());
  }
  call.bridge->end_command(room.command);
  return nullptr;
}

// --- one message for many ---

// Null, with an exception pending, when it cannot be sent.
SharedMessageRef shared_of(napi_env env, napi_value data, uint32_t flags) {
  auto opcode = static_cast<uint8_t>(flags & 0xf);
  napi_valuetype type = napi_undefined;
  napi_typeof(env, data, &type);
  SharedMessage* message = nullptr;
  if (type == napi_string) {
    size_t length = 0;
    napi_get_value_string_utf8(env, data, nullptr, 0, &length);
    std::string text(length + 1, '\0');
    napi_get_value_string_utf8(env, data, text.data(), length + 1, &length);
    message = SharedMessage::make(opcode, Bytes(text.data(), length));
  } else {
    void* bytes = nullptr;
    size_t length = 0;
    napi_typedarray_type kind;
    napi_get_typedarray_info(env, data, &kind, &length, &bytes, nullptr, nullptr);
    message = SharedMessage::make(opcode, Bytes(static_cast<char*>(bytes), length));
  }
  if (message == nullptr) {
    napi_throw_range_error(env, error_code_name(ErrorCode::InvalidBody),
                           "there is no memory for the message");
  } else if (((flags >> 16) & kCommandCompress) == 0) {
    message->set_incompressible();
  }
  return SharedMessageRef(message);
}

void put_shared(Command& command, const SharedMessageRef& message) {
  command.status = message.get()->opcode();
  command.flags = kCommandShared | kCommandCompress;
  command.blob = reinterpret_cast<uint64_t>(message.copy().release());
}

std::string utf8_of(napi_env env, napi_value value) {
  size_t length = 0;
  napi_get_value_string_utf8(env, value, nullptr, 0, &length);
  std::string text(length + 1, '\0');
  napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
  text.resize(length);
  return text;
}

std::string latin1_of(napi_env env, napi_value value) {
  size_t length = 0;
  napi_get_value_string_latin1(env, value, nullptr, 0, &length);
  std::string text(length + 1, '\0');
  napi_get_value_string_latin1(env, value, text.data(), length + 1, &length);
  text.resize(length);
  return text;
}

// server, topic, flags, data, handle, generation
napi_value publish(napi_env env, napi_callback_info info) {
  std::array<napi_value, 6> arguments{};
  size_t count = arguments.size();
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments.data(), nullptr, &data);
  Host* host = static_cast<Environment*>(data)->host(uint_of(env, arguments[0]));
  if (host == nullptr) return number(env, 0);
  std::string topic = utf8_of(env, arguments[1]);
  SharedMessageRef message = shared_of(env, arguments[3], uint_of(env, arguments[2]));
  if (message.get() == nullptr) return nullptr;
  std::array<Mailbox*, kLoopsMax> own{};
  std::array<bool, kLoopsMax> interested{};
  size_t loops = host->bridges().size();
  for (size_t i = 0; i < loops; i++) own[i] = &host->bridges()[i]->mailbox();
  size_t reached =
      Hub::of_process().publish(host->server().topic_space(), topic, message,
                                std::span(own).first(loops), std::span(interested).first(loops));
  int32_t except = -1;
  napi_get_value_int32(env, arguments[4], &except);
  for (size_t i = 0; i < loops; i++) {
    if (!interested[i]) continue;
    Bridge& bridge = *host->bridges()[i];
    Bridge::Room room = bridge.begin_command(topic.size());
    Command& command = *room.command;
    command.kind = static_cast<uint16_t>(CommandKind::Publish);
    std::memcpy(room.content, topic.data(), topic.size());
    command.header_length = static_cast<uint32_t>(topic.size());
    auto handle = static_cast<uint32_t>(except);
    if (except >= 0 && handle >> Bridge::kSlotBits == bridge.number())
      command.exchange = {handle & Bridge::kSlotMask, uint_of(env, arguments[5])};
    put_shared(command, message);
    bridge.end_command(&command);
  }
  return number(env, static_cast<int64_t>(reached));
}

napi_value subscriber_count(napi_env env, napi_callback_info info) {
  std::array<napi_value, 2> arguments{};
  size_t count = arguments.size();
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments.data(), nullptr, &data);
  Host* host = static_cast<Environment*>(data)->host(uint_of(env, arguments[0]));
  if (host == nullptr) return number(env, 0);
  std::string topic = utf8_of(env, arguments[1]);
  return number(env,
                static_cast<int64_t>(Hub::of_process().count(host->server().topic_space(), topic)));
}

// words, count, flags, data, number
napi_value send_many(napi_env env, napi_callback_info info) {
  std::array<napi_value, 5> arguments{};
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
  SharedMessageRef message = shared_of(env, arguments[3], uint_of(env, arguments[2]));
  if (message.get() == nullptr) return nullptr;
  size_t sockets = std::min<size_t>(uint_of(env, arguments[1]), word_count / 2);
  uint32_t asked = uint_of(env, arguments[4]);
  for (size_t i = 0; i < sockets; i++) {
    std::array<uint32_t, 2> id;
    std::memcpy(id.data(), static_cast<uint32_t*>(words) + i * 2, sizeof(id));
    Bridge* bridge = environment.lane_of(id[0]);
    if (bridge == nullptr) continue;
    Command& command = *bridge->begin_command(0).command;
    command.kind = static_cast<uint16_t>(CommandKind::Send);
    command.exchange = {id[0] & Bridge::kSlotMask, id[1]};
    command.amount = asked;
    put_shared(command, message);
    bridge->end_command(&command);
  }
  return nullptr;
}

// --- clients ---

// server, loop, ticket, settings, target, timeoutMs, key, request
Napi::Value connect(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto& environment = *static_cast<Environment*>(info.Data());
  Host* host = environment.host(info[0].As<Napi::Number>().Uint32Value());
  auto target = info[4].As<Napi::Object>();
  uint32_t loop = info[1].As<Napi::Number>().Uint32Value();
  if (host == nullptr || loop >= host->bridges().size()) return Napi::Boolean::New(env, false);
  std::string address = target.Get("address").As<Napi::String>().Utf8Value();
  std::string content = info[6].As<Napi::String>().Utf8Value();
  content += latin1_of(env, info[7]);
  int fd = target.Get("fd").As<Napi::Number>().Int32Value();
  if (fd >= 0) {
    Fd given(fd);
    Fd own = given.duplicate();
    static_cast<void>(given.release());
    if (!own.is_open()) return Napi::Boolean::New(env, false);
    fd = own.release();
  }
  Bridge& bridge = *host->bridges()[loop];
  if (address.size() + content.size() > Bridge::kHeadersMax) {
    Fd dropped(fd);
    Napi::RangeError::New(env, "the request of a WebSocket client is too long")
        .ThrowAsJavaScriptException();
    return env.Undefined();
  }
  Bridge::Room room = bridge.begin_command(address.size() + content.size());
  Command& command = *room.command;
  command.kind = static_cast<uint16_t>(CommandKind::Connect);
  command.exchange = {info[2].As<Napi::Number>().Uint32Value(),
                      info[3].As<Napi::Number>().Uint32Value()};
  command.status = static_cast<uint16_t>(target.Get("port").As<Napi::Number>().Uint32Value());
  command.amount = info[5].As<Napi::Number>().Uint32Value();
  command.blob = static_cast<uint32_t>(fd);
  std::memcpy(room.content, address.data(), address.size());
  std::memcpy(room.content + address.size(), content.data(), content.size());
  command.header_length = static_cast<uint32_t>(address.size());
  command.body_length = static_cast<uint32_t>(content.size());
  bridge.end_command(&command);
  return Napi::Boolean::New(env, true);
}

Napi::Value socket_pair(const Napi::CallbackInfo& info) {
  Fd one;
  Fd other;
  if (!Server::make_socket_pair(one, other)) {
    int error = errno;
    Napi::Error failure = Napi::Error::New(info.Env(), uv_strerror(-error));
    failure.Value().Set("code", uv_err_name(-error));
    failure.ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  Napi::Array pair = Napi::Array::New(info.Env(), 2);
  pair.Set(0u, one.release());
  pair.Set(1u, other.release());
  return pair;
}

Napi::Value has_zlib(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), zlib() != nullptr);
}

// blob, isAscii
napi_value take_text(napi_env env, napi_callback_info info) {
  Call call(env, info, 2);
  if (call.bridge == nullptr) return nullptr;
  bool is_ascii = false;
  napi_get_value_bool(env, call.arguments[1], &is_ascii);
  return call.bridge->take_text(env, call.handle & Bridge::kSlotMask, is_ascii);
}

}  // namespace

void add_sockets(Napi::Env env, Napi::Object exports, Environment& environment) {
  auto add = [&](const char* name, napi_callback function) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, &environment, &value);
    exports.Set(name, value);
  };
  add("upgrade", &upgrade);
  add("sendText", &send<put_text>);
  add("sendBytes", &send<put_bytes>);
  add("buffered", &buffered);
  add("report", &report);
  add("closeSocket", &close_socket);
  add("hold", &hold);
  add("expire", &expire);
  add("subscribe", &set_topic<CommandKind::Subscribe>);
  add("unsubscribe", &set_topic<CommandKind::Unsubscribe>);
  add("publish", &publish);
  add("subscriberCount", &subscriber_count);
  add("sendMany", &send_many);
  add("takeText", &take_text);
  exports.Set("hasZlib", Napi::Function::New<has_zlib>(env, "hasZlib"));
  exports.Set("connect", Napi::Function::New<connect>(env, "connect", &environment));
  exports.Set("socketPair", Napi::Function::New<socket_pair>(env, "socketPair", &environment));
}

}  // namespace millrace::addon
