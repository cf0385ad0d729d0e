// What blast can be told, and the text of its request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "bench/program.h"

namespace millrace::bench {

struct BlastOptions {
  std::string host = "127.0.0.1";  // a numeric address, IPv4 or IPv6
  uint16_t port = 0;
  std::string unix_path;
  size_t connections = 64;
  size_t depth = 1;  // requests in flight on each connection
  double seconds = 5;
  double warmup = 0;  // seconds before that; its answers are verified but not counted
  size_t idle = 0;    // not 0: the mode of blast_idle.h
  std::string ws;     // "echo" or "broadcast": WebSockets
  size_t size = 64;   // bytes of a message
  bool binary = false;
  bool json = false;
  bool deflate = false;  // offer permessage-deflate
  bool gated = false;    // says when it is connected, and waits to be told to begin
  std::string publish_path = "/publish";
  std::string method;
  std::string path = "/";
  std::string headers;
  size_t body_bytes = 0;
  std::string request_file;
  std::string body_file;  // what every response's body must be
  bool histogram = false;
};

inline std::string read_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) fail_call(path.c_str());
  std::string text;
  char buffer[16 * 1024];
  while (size_t got = std::fread(buffer, 1, sizeof(buffer), file)) text.append(buffer, got);
  if (std::ferror(file) != 0) fail_call(path.c_str());
  std::fclose(file);
  return text;
}

inline BlastOptions read_blast_options(int count, char** words) {
  BlastOptions options;
  Arguments arguments("blast", count, words);
  auto size = [&arguments](int64_t least) {
    return static_cast<size_t>(arguments.whole(least, int64_t{1} << 30));
  };
  while (arguments.next()) {
    if (arguments.is("--host"))
      options.host = arguments.text();
    else if (arguments.is("--port"))
      options.port = static_cast<uint16_t>(arguments.whole(1, 65535));
    else if (arguments.is("--unix"))
      options.unix_path = arguments.text();
    else if (arguments.is("--connections"))
      options.connections = size(1);
    else if (arguments.is("--depth"))
      options.depth = size(1);
    else if (arguments.is("--seconds"))
      options.seconds = arguments.seconds();
    else if (arguments.is("--warmup"))
      options.warmup = arguments.seconds();
    else if (arguments.is("--idle"))
      options.idle = size(1);
    else if (arguments.is("--ws"))
      options.ws = arguments.text();
    else if (arguments.is("--size"))
      options.size = size(0);
    else if (arguments.is("--binary"))
      options.binary = true;
    else if (arguments.is("--json"))
      options.json = true;
    else if (arguments.is("--deflate"))
      options.deflate = true;
    else if (arguments.is("--gated"))
      options.gated = true;
    else if (arguments.is("--publish-path"))
      options.publish_path = arguments.text();
    else if (arguments.is("--method"))
      options.method = arguments.text();
    else if (arguments.is("--path"))
      options.path = arguments.text();
    else if (arguments.is("--header"))
      options.headers += std::string(arguments.text()) + "\r\n";
    else if (arguments.is("--body-bytes"))
      options.body_bytes = size(0);
    else if (arguments.is("--request"))
      options.request_file = arguments.text();
    else if (arguments.is("--expect-body-file"))
      options.body_file = arguments.text();
    else if (arguments.is("--json-histogram"))
      options.histogram = true;
    else
      arguments.refuse();
  }
  if ((options.port == 0) == options.unix_path.empty()) fail("give one of --port and --unix");
  if (!options.ws.empty() && options.ws != "echo" && options.ws != "broadcast")
    fail("--ws takes echo or broadcast, not ", options.ws.c_str());
  return options;
}

inline std::string request_text_of(const BlastOptions& options) {
  if (!options.request_file.empty()) return read_file(options.request_file);
  std::string method = options.method;
  if (method.empty()) method = options.body_bytes > 0 ? "POST" : "GET";
  bool is_ipv6 = options.host.find(':') != std::string::npos;
  std::string host = is_ipv6 ? "[" + options.host + "]" : options.host;
  std::string text = method + " " + options.path + " HTTP/1.1\r\nHost: " + host + "\r\n";
  text += options.headers;
  // A method that is known to carry a body says that it is empty (RFC 9110 8.6).
  bool announces = method == "POST" || method == "PUT" || method == "PATCH";
  if (options.body_bytes > 0 || announces)
    text += "Content-Length: " + std::to_string(options.body_bytes) + "\r\n";
  return text + "\r\n" + std::string(options.body_bytes, 'x');
}

inline std::optional<std::string> expected_body_of(const BlastOptions& options) {
  if (options.body_file.empty()) return std::nullopt;
  return read_file(options.body_file);
}

}  // namespace millrace::bench
