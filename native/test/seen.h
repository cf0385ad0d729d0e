// What a consumer at the JavaScript end of a lane sees, and how it answers: events as plain values,
// commands as records. For the case runners and the session's fuzzer.
#pragma once

#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "core/base/blob.h"
#include "core/model/command.h"
#include "core/model/event.h"

namespace millrace::test {

struct SeenEvent {
  EventKind kind = EventKind::Request;
  ExchangeId exchange;
  std::string method;
  std::string target;
  std::string headers;   // as the record has them: "\nname\0value\n…"
  std::string trailers;  // of a buffered body, or SCGI's variables
  std::string body;
  bool http10 = false;
  bool is_head = false;
  bool body_follows = false;
  bool has_filename = false;  // Part; its texts are in target (name, then filename)
  uint16_t flags = 0;
  uint16_t status = 0;
  uint32_t head_a = 0;
  uint32_t head_b = 0;

  // False when there is none of that (lower-case) name.
  [[nodiscard]] bool header(const std::string& name, std::string& value) const {
    const std::string mark = "\n" + name + std::string(1, '\0');
    const size_t at = headers.find(mark);
    if (at == std::string::npos) return false;
    const size_t begin = at + mark.size();
    value = headers.substr(begin, headers.find('\n', begin) - begin);
    return true;
  }
};

// Takes over a blob that the record owns.
inline SeenEvent see_event(const Event& event) {
  SeenEvent seen;
  seen.kind = static_cast<EventKind>(event.kind);
  seen.exchange = event.exchange;
  seen.http10 = (event.flags & kEventHttp10) != 0;
  seen.is_head = (event.flags & kEventHead) != 0;
  seen.body_follows = (event.flags & kEventBodyFollows) != 0;
  seen.has_filename = (event.flags & kEventHasFilename) != 0;
  seen.flags = event.flags;
  seen.status = event.status;
  seen.head_a = event.head_a;
  seen.head_b = event.head_b;
  const char* at = reinterpret_cast<const char*>(&event) + sizeof(Event) + event.param_count * 4u;
  seen.method.assign(at, event.method_length);
  at += event.method_length;
  seen.target.assign(at, event.target_length);
  at += event.target_length + event.peer_length;
  seen.headers.assign(at, event.header_length);
  at += event.header_length;
  if (seen.kind == EventKind::Request) {
    seen.trailers.assign(at, event.head_b);
    at += event.head_b;
  }
  if ((event.flags & kEventBodyIsBlob) == 0) {
    seen.body.assign(at, event.body_length);
    return seen;
  }
  const Blob blob = Blob::adopt(reinterpret_cast<char*>(event.blob), event.body_length);
  seen.body.assign(blob.bytes());
  return seen;
}

struct CommandText {
  CommandKind kind = CommandKind::Respond;
  uint16_t status = 200;
  uint16_t flags = 0;
  Bytes header_lines = {};
  Bytes body = {};
  uint32_t amount = 0;
  uint64_t blob = 0;  // as the kind has it, where the body is no blob
};

constexpr size_t kBlobFrom =
    1000;  // bodies from this size on travel as blobs, so that both ways are walked

[[nodiscard]] inline size_t command_size(const CommandText& text) {
  const size_t size = sizeof(Command) + text.header_lines.size() +
                      (text.body.size() >= kBlobFrom ? 0 : text.body.size());
  return (size + 7) & ~size_t{7};
}

// `out` has command_size() bytes, aligned to 8.
inline void write_command(ExchangeId exchange, const CommandText& text, char* out) {
  auto* command = new (out) Command();
  command->size = static_cast<uint32_t>(command_size(text));
  command->kind = static_cast<uint16_t>(text.kind);
  command->flags = text.flags;
  command->exchange = exchange;
  command->status = text.status;
  command->amount = text.amount;
  command->header_length = static_cast<uint32_t>(text.header_lines.size());
  command->body_length = static_cast<uint32_t>(text.body.size());
  command->blob = text.blob;
  char* at = out + sizeof(Command);
  if (!text.header_lines.empty()) {
    std::memcpy(at, text.header_lines.data(), text.header_lines.size());
  }
  at += text.header_lines.size();
  if (text.body.size() >= kBlobFrom) {
    const bool has_spare = text.kind == CommandKind::Write || text.kind == CommandKind::Send;
    Blob blob = Blob::uninitialized(text.body.size() + (has_spare ? kBlobFront + kBlobBack : 0));
    std::memcpy(blob.data() + (has_spare ? kBlobFront : 0), text.body.data(), text.body.size());
    command->flags |= kCommandBodyIsBlob;
    command->blob = reinterpret_cast<uint64_t>(blob.release());
  } else if (!text.body.empty()) {
    std::memcpy(at, text.body.data(), text.body.size());
  }
}

}  // namespace millrace::test
