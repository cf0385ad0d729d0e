#include "addon/options.h"

#include <string>

#include "core/model/close_cause.h"

namespace millrace::addon {
namespace {

bool fail(Napi::Env env, const char* what) {
  Napi::TypeError::New(env, std::string("millrace: native options: bad ") + what)
      .ThrowAsJavaScriptException();
  return false;
}

std::string text_of(const Napi::Object& object, const char* name) {
  Napi::Value value = object.Get(name);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

// Header lines are latin1: one character, one byte.
std::string latin1_of(const Napi::Object& object, const char* name) {
  Napi::Value value = object.Get(name);
  if (!value.IsString()) return {};
  std::u16string wide = value.As<Napi::String>().Utf16Value();
  std::string bytes(wide.size(), '\0');
  for (size_t i = 0; i < wide.size(); i++) bytes[i] = static_cast<char>(wide[i] & 0xff);
  return bytes;
}

std::string bytes_of(const Napi::Value& array) {
  auto bytes = array.As<Napi::Uint8Array>();
  return {reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength()};
}

int64_t number_of(const Napi::Object& object, const char* name, int64_t otherwise) {
  Napi::Value value = object.Get(name);
  return value.IsNumber() ? value.As<Napi::Number>().Int64Value() : otherwise;
}

bool flag_of(const Napi::Object& object, const char* name) {
  Napi::Value value = object.Get(name);
  return value.IsBoolean() && value.As<Napi::Boolean>().Value();
}

FileSource read_file(const Napi::Object& object) {
  FileSource source;
  source.path = text_of(object, "path");
  source.index = text_of(object, "index");
  source.type = latin1_of(object, "type");
  source.dotfiles = static_cast<uint8_t>(number_of(object, "dotfiles", 0));
  source.is_folder = flag_of(object, "isFolder");
  source.follow_links = flag_of(object, "followLinks");
  source.precompressed = flag_of(object, "precompressed");
  return source;
}

bool read_route(const Napi::Object& object, Route& route) {
  int64_t kind = number_of(object, "kind", -1);
  int64_t body = number_of(object, "body", -1);
  int64_t id = number_of(object, "id", -1);
  if (kind < 0 || kind > static_cast<int64_t>(RouteKind::Metrics) || body < 0 ||
      body > static_cast<int64_t>(BodyMode::Stream) || id < 0 || id > UINT16_MAX) {
    return fail(object.Env(), "route");
  }
  route.kind = static_cast<RouteKind>(kind);
  Napi::Value file = object.Get("file");
  if (file.IsObject()) route.file = read_file(file.As<Napi::Object>());
  if ((route.kind == RouteKind::File) != route.file.has_value()) return fail(object.Env(), "file");
  route.body = static_cast<BodyMode>(body);
  route.id = static_cast<uint16_t>(id);
  route.status = static_cast<uint16_t>(number_of(object, "status", 200));
  route.body_bytes_max = number_of(object, "bodyMax", -1);
  route.headers = latin1_of(object, "headers");
  route.is_socket = object.Get("socket").IsNumber();
  Napi::Value content = object.Get("content");
  if (content.IsTypedArray()) route.content = bytes_of(content);
  return true;
}

bool read_optional_route(const Napi::Object& options, const char* name, std::optional<Route>& out) {
  Napi::Value value = options.Get(name);
  if (!value.IsObject()) return true;
  Route route;
  if (!read_route(value.As<Napi::Object>(), route)) return false;
  out = std::move(route);
  return true;
}

bool read_refusal(const Napi::Object& object, Refusal& refusal) {
  int64_t code = number_of(object, "code", -1);
  Napi::Value content = object.Get("content");
  if (code <= 0 || code >= static_cast<int64_t>(ErrorCode::Count) || !content.IsTypedArray())
    return fail(object.Env(), "refusal");
  refusal.code = static_cast<ErrorCode>(code);
  refusal.answer.kind = RouteKind::Static;
  refusal.answer.status = static_cast<uint16_t>(number_of(object, "status", 0));
  if (refusal.answer.status < 400 || refusal.answer.status > 599)
    return fail(object.Env(), "refusal");
  refusal.answer.headers = latin1_of(object, "headers");
  refusal.answer.content = bytes_of(content);
  return true;
}

bool read_listener(const Napi::Object& object, ListenerOptions& listener) {
  ListenRequest& request = listener.request;
  request.host = text_of(object, "host");
  request.unix_path = text_of(object, "unix");
  int64_t port = number_of(object, "port", 0);
  if (port < 0 || port > UINT16_MAX) return fail(object.Env(), "port");
  request.port = static_cast<uint16_t>(port);
  request.unix_mode = static_cast<int>(number_of(object, "mode", -1));
  request.fd = static_cast<int>(number_of(object, "fd", -1));
  request.backlog = static_cast<int>(number_of(object, "backlog", 511));
  request.reuse_port = flag_of(object, "reusePort");
  request.ipv6_only = flag_of(object, "ipv6Only");
  listener.protocol = text_of(object, "protocol");
  int64_t proxy = number_of(object, "proxy", 0);
  if (proxy < 0 || proxy > static_cast<int64_t>(ProxyMode::Require))
    return fail(object.Env(), "proxy");
  listener.proxy = static_cast<ProxyMode>(proxy);
  return true;
}

template <typename Item, typename Read>
bool read_list(const Napi::Object& options, const char* name, std::vector<Item>& items, Read read) {
  Napi::Value value = options.Get(name);
  if (!value.IsArray()) return fail(options.Env(), name);
  auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::Value item = list.Get(i);
    if (!item.IsObject()) return fail(options.Env(), name);
    items.emplace_back();
    if (!read(item.As<Napi::Object>(), items.back())) return false;
  }
  return true;
}

bool read_deflate(const Napi::Object& object, DeflateSettings& deflate) {
  int64_t level = number_of(object, "level", 6);
  int64_t own_bits = number_of(object, "windowBits", 15);
  int64_t peer_bits = number_of(object, "peerWindowBits", 15);
  if (level < 1 || level > 9 || own_bits < 9 || own_bits > 15 || peer_bits < 9 || peer_bits > 15)
    return fail(object.Env(), "deflate");
  deflate.enabled = true;
  deflate.level = static_cast<int8_t>(level);
  deflate.context_takeover = flag_of(object, "contextTakeover");
  deflate.peer_context_takeover = flag_of(object, "peerContextTakeover");
  deflate.window_bits = static_cast<uint8_t>(own_bits);
  deflate.peer_window_bits = static_cast<uint8_t>(peer_bits);
  deflate.threshold = static_cast<uint32_t>(number_of(object, "threshold", 1024));
  return true;
}

bool read_socket(const Napi::Object& object, SocketSettings& settings) {
  int64_t payload = number_of(object, "payloadMax", -1);
  int64_t backlog = number_of(object, "backlogMax", -1);
  int64_t overflow = number_of(object, "overflow", -1);
  int64_t text = number_of(object, "textMax", -1);
  if (payload < 0 || payload > UINT32_MAX || text < 0 || text > UINT32_MAX || backlog < 0 ||
      backlog > UINT32_MAX || overflow < 0 || overflow > static_cast<int64_t>(Overflow::Buffer))
    return fail(object.Env(), "socket");
  settings.payload_bytes_max = static_cast<uint32_t>(payload);
  settings.text_bytes_max = static_cast<uint32_t>(text);
  settings.backlog_bytes_max = static_cast<uint32_t>(backlog);
  settings.overflow = static_cast<Overflow>(overflow);
  settings.pings = flag_of(object, "pings");
  settings.automatic_pong = flag_of(object, "automaticPong");
  settings.idle_timeout = number_of(object, "idleTimeout", 0);
  settings.close_timeout = number_of(object, "closeTimeout", 0);
  settings.message_timeout = number_of(object, "messageTimeout", 0);
  Napi::Value deflate = object.Get("deflate");
  return !deflate.IsObject() || read_deflate(deflate.As<Napi::Object>(), settings.deflate);
}

bool read_limits(const Napi::Object& options, Limits& limits) {
  Napi::Value value = options.Get("limits");
  if (!value.IsArray()) return fail(options.Env(), "limits");
  auto list = value.As<Napi::Array>();
  size_t count = 0;
  const LimitRow* rows = limit_rows(count);
  if (list.Length() != count) return fail(options.Env(), "limits");
  for (uint32_t i = 0; i < count; i++) {
    limits.*rows[i].field = list.Get(i).As<Napi::Number>().Int64Value();
  }
  return limits_are_valid(limits) || fail(options.Env(), "limits");
}

bool read_observation(const Napi::Object& options, Observation& observation) {
  Napi::Value value = options.Get("observe");
  if (!value.IsObject()) return true;
  auto object = value.As<Napi::Object>();
  int64_t causes = number_of(object, "causes", 0);
  if (causes < 0 || causes >= int64_t{1} << kCauseCount) return fail(object.Env(), "observe");
  observation.connections = flag_of(object, "connections");
  observation.access = flag_of(object, "access");
  observation.causes = static_cast<uint16_t>(causes);
  return true;
}

}  // namespace

bool read_options(const Napi::Object& object, ServerOptions& options) {
  int64_t loops = number_of(object, "loops", -1);
  if (loops < 0 || loops > 64) return fail(object.Env(), "loops");
  options.is_inline = loops == 0;
  options.loops = loops == 0 ? 1 : static_cast<uint32_t>(loops);
  options.topic_space = text_of(object, "topicSpace");
  if (object.Get("sockets").IsArray() &&
      !read_list(object, "sockets", options.sockets, read_socket))
    return false;
  if (object.Get("refusals").IsArray() &&
      !read_list(object, "refusals", options.refusals, read_refusal))
    return false;
  return read_list(object, "listeners", options.listeners, read_listener) &&
         read_routes(object, options.routes) && read_limits(object, options.limits) &&
         read_observation(object, options.observation);
}

bool read_routes(const Napi::Object& object, RouteTable& table) {
  auto read_row = [](const Napi::Object& row, RouteRow& out) {
    out.method = text_of(row, "method");
    out.pattern = text_of(row, "pattern");
    return read_route(row, out.route);
  };
  return read_list(object, "routes", table.rows, read_row) &&
         read_optional_route(object, "fallback", table.fallback) &&
         read_optional_route(object, "methodNotAllowed", table.method_not_allowed);
}

}  // namespace millrace::addon
