// Route: what the router answers with, and what a session needs to know about it. Immutable once
// serving.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "core/base/bytes.h"

namespace millrace {

constexpr size_t kRouteParamsMax = 8;

enum class RouteKind : uint8_t {
  Handler,           // goes to JavaScript with `id`
  Static,            // answered on the loop: status, headers, content
  Ready,             // Static, but 503 while draining
  NotFound,          // no pattern matches: 404, answered on the loop
  MethodNotAllowed,  // the pattern matches, the method does not: 405 with Allow
  Options,           // OPTIONS without a handler of its own: 204 with Allow
  File,              // a file, or what lies below a folder: found by the disk threads
  Metrics,           // the server's numbers as Prometheus reads them, written on the loop
};

enum class BodyMode : uint8_t {
  None,    // the handler is called at the head, the body is dropped
  Buffer,  // the handler is called when the body is complete
  Sized,  // like Buffer, but 411 without a Content-Length (chunked, or a POST, PUT or PATCH without
          // length)
  Stream,  // the handler is called at the head and asks for the body
};

// What a File route serves.
struct FileSource {
  std::string path;      // of the file or folder, in the system's bytes
  std::string index;     // what stands for a folder; "": nothing does
  std::string type;      // Content-Type; "": by the name
  uint8_t dotfiles = 0;  // files::DotfilePolicy
  bool is_folder = false;
  bool follow_links = true;   // below the folder, never out of it
  bool precompressed = true;  // siblings with .br, .zst and .gz are looked for
};

struct Route {
  RouteKind kind = RouteKind::NotFound;
  BodyMode body = BodyMode::Buffer;
  uint16_t id = 0;              // number known to JavaScript
  uint16_t status = 200;        // Static
  bool is_socket = false;       // Handler: only WebSocket handshakes get to it
  int64_t body_bytes_max = -1;  // -1: the server's limit
  std::string headers;  // Static: "Name: value\r\n" lines; MethodNotAllowed, Options: the Allow
                        // line; Handler: lines added to its answer (Allow, of a 405 of the user's);
                        // File: lines of what is sent, without Content-Type
  std::string content;  // Static: the body
  std::optional<FileSource> file;  // File
};

// Answered on the loop, without JavaScript.
[[nodiscard]] inline bool is_native(const Route& route) { return route.kind != RouteKind::Handler; }

// The handler is called before the body has come.
[[nodiscard]] inline bool is_called_early(const Route& route) {
  return route.body == BodyMode::Stream || route.body == BodyMode::None;
}

// Part of the target that a parameter matched, as sent (still percent-encoded).
struct ParamSpan {
  uint16_t offset = 0;
  uint16_t length = 0;
};

struct RouteMatch {
  const Route* route = nullptr;  // never null after a match
  uint8_t param_count = 0;
  std::array<ParamSpan, kRouteParamsMax> params{};
};

}  // namespace millrace
