#include "core/model/request_event.h"

#include <cstring>

namespace millrace {
namespace {

char* append(char* out, Bytes bytes) {
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
  return out + bytes.size();
}

}  // namespace

size_t fields_text_size(const HeaderField* fields, uint32_t count) {
  size_t size = 1;
  for (uint32_t i = 0; i < count; i++) size += fields[i].name.size() + fields[i].value.size() + 2;
  return size;
}

char* write_fields_text(const HeaderField* fields, uint32_t count, char* out) {
  *out++ = '\n';
  for (uint32_t i = 0; i < count; i++) {
    const HeaderField& field = fields[i];
    const char* name = field.name.data();
    size_t length = field.name.size();
    for (size_t at = 0; at < length; at++) out[at] = ascii_lower(name[at]);
    out += length;
    *out++ = '\0';
    out = append(out, field.value);
    *out++ = '\n';
  }
  return out;
}

size_t request_event_size(const RequestText& text) {
  return sizeof(Event) + text.match.param_count * sizeof(ParamSpan) + text.head.method.size() +
         text.head.target.size() + text.peer.size() +
         fields_text_size(text.head.headers, text.head.header_count) + text.variables.size();
}

char* fill_request_event(const RequestText& text, Event& event) {
  event.kind = static_cast<uint16_t>(EventKind::Request);
  event.flags = text.head.minor_version == 0 ? kEventHttp10 : 0;
  event.route = text.match.route->id;
  event.method = static_cast<uint8_t>(method_of(text.head.method));
  event.method_length = static_cast<uint8_t>(text.head.method.size());
  event.target_length = static_cast<uint32_t>(text.head.target.size());
  event.path_length = text.path_length;
  event.peer_length = static_cast<uint8_t>(text.peer.size());
  event.param_count = text.match.param_count;
  char* out = reinterpret_cast<char*>(&event) + sizeof(Event);
  std::memcpy(out, text.match.params.data(), event.param_count * sizeof(ParamSpan));
  out += event.param_count * sizeof(ParamSpan);
  out = append(out, text.head.method);
  out = append(out, text.head.target);
  out = append(out, text.peer);
  char* headers = out;
  out = write_fields_text(text.head.headers, text.head.header_count, out);
  event.header_length = static_cast<uint32_t>(out - headers);
  if (text.variables.empty()) return out;
  event.flags |= kEventScgi;
  event.head_b = static_cast<uint32_t>(text.variables.size());
  return append(out, text.variables);
}

}  // namespace millrace
