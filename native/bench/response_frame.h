// Where one response begins and ends in a stream of bytes: status, Content-Length or chunks. Knows
// as much of HTTP as a load maker needs, and shares none of it with the core, so not its bugs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "bench/program.h"

namespace millrace::bench {

struct ResponseFrame {
  int status = 0;
  size_t head = 0;   // bytes of the head with its empty line
  size_t total = 0;  // bytes of the whole response; 0: not all of it is here
  std::string body;  // without chunk framing; only when total is not 0
};

[[noreturn]] inline void fail_response(const char* sentence, std::string_view input) {
  std::string_view shown = input.substr(0, std::min<size_t>(input.size(), 1024));
  std::fprintf(stderr, "%s: %s:\n%.*s\n", program_name, sentence, static_cast<int>(shown.size()),
               shown.data());
  std::exit(2);
}

// The value of the (lower-case) field, or a view without data when the head has none.
inline std::string_view field_of(std::string_view head, std::string_view name) {
  size_t line = head.find("\r\n");
  while (line != std::string_view::npos) {
    line += 2;
    size_t end = head.find("\r\n", line);
    std::string_view text = head.substr(line, end - line);
    line = end;
    if (text.size() <= name.size() || text[name.size()] != ':') continue;
    auto same = [](char lower, char c) {
      return lower == (c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    };
    if (!std::equal(name.begin(), name.end(), text.begin(), same)) continue;
    text.remove_prefix(name.size() + 1);
    while (!text.empty() && (text[0] == ' ' || text[0] == '\t')) text.remove_prefix(1);
    return text;
  }
  return {};
}

// Bytes of the chunked body at the front of `input`, trailers included, or 0: need more.
inline size_t chunked_length(std::string_view input, std::string& body) {
  size_t at = 0;
  for (;;) {
    size_t line_end = input.find("\r\n", at);
    if (line_end == std::string_view::npos) return 0;
    std::string line(input.substr(at, line_end - at));
    char* end = nullptr;
    uint64_t size = std::strtoull(line.c_str(), &end, 16);
    if (end == line.c_str()) fail_response("a chunk without a size", input.substr(at));
    at = line_end + 2;
    if (size == 0) break;
    if (size > input.size() - at || input.size() - at - size < 2) return 0;
    body += input.substr(at, size);
    at += size + 2;
  }
  for (;;) {
    size_t line_end = input.find("\r\n", at);
    if (line_end == std::string_view::npos) return 0;
    bool is_last = line_end == at;
    at = line_end + 2;
    if (is_last) return at;
  }
}

// Ends the program for anything but a whole 2xx response with a known length.
inline ResponseFrame frame_of(std::string_view input, bool answers_head) {
  ResponseFrame frame;
  constexpr std::string_view kStart = "HTTP/1.";
  size_t start = std::min(input.size(), kStart.size());
  if (input.substr(0, start) != kStart.substr(0, start))
    fail_response("what came is not a response", input);
  size_t end = input.find("\r\n\r\n");
  if (end == std::string_view::npos) return frame;
  std::string_view head = input.substr(0, end);
  frame.head = end + 4;
  frame.status = end < 12 ? 0 : std::atoi(std::string(head.substr(9, 3)).c_str());
  if (frame.status < 200 || frame.status > 299) fail_response("the answer is not a 2xx", input);
  if (answers_head || frame.status == 204) {
    frame.total = frame.head;
    return frame;
  }
  std::string_view rest = input.substr(frame.head);
  if (std::string_view length = field_of(head, "content-length"); !length.empty()) {
    uint64_t size = std::strtoull(std::string(length).c_str(), nullptr, 10);
    if (rest.size() < size) return frame;
    frame.body = rest.substr(0, size);
    frame.total = frame.head + size;
  } else if (field_of(head, "transfer-encoding") == "chunked") {
    size_t size = chunked_length(rest, frame.body);
    if (size > 0) frame.total = frame.head + size;
  } else {
    fail_response("the answer has no length", head);
  }
  return frame;
}

}  // namespace millrace::bench
