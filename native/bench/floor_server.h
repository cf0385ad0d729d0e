// FloorServer: what floor.cpp starts, counts and stops; and the answer that all kinds of it give.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace millrace::bench {

struct FloorOptions {
  uint32_t loops = 1;
  uint16_t port = 0;
  size_t body_bytes = 13;
  bool is_inline = false;  // the loop's thread answers
  bool is_static = false;  // the loop answers from its router
  bool is_bare = false;    // no core at all
};

struct FloorCounts {
  int64_t requests = 0;
  int64_t turns = 0;    // returns from epoll_wait
  int64_t batches = 0;  // times that the handler's side was entered
  int64_t events = 0;   // requests handed over in them
};

class FloorServer {
 public:
  virtual ~FloorServer() = default;
  [[nodiscard]] virtual uint16_t port() const = 0;
  // Any thread, at any time.
  [[nodiscard]] virtual FloorCounts counts() const = 0;
  // Joins its threads. Idempotent.
  virtual void stop() = 0;
};

inline std::string floor_body(const FloorOptions& options) {
  constexpr const char* kText = "Hello, World!";
  std::string body;
  while (body.size() < options.body_bytes) body += kText;
  body.resize(options.body_bytes);
  return body;
}
constexpr const char* kFloorHeaders = "Content-Type: text/plain; charset=utf-8\r\n";

}  // namespace millrace::bench
