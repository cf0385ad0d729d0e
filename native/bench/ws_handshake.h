// The opening handshake of RFC 6455 from a client's side, on a blocking socket.
#pragma once

#include <sys/socket.h>
#include <sys/time.h>

#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

#include "bench/blast_options.h"
#include "bench/response_frame.h"

namespace millrace::bench {

// What was agreed on about permessage-deflate.
struct WsExtension {
  bool is_on = false;
  bool we_forget = false;    // client_no_context_takeover
  bool they_forget = false;  // server_no_context_takeover
  int window_bits = 15;      // client_max_window_bits
};

// The bytes that came behind the 101 are in `rest`. Ends the program when the server refuses.
class WsHandshake final {
 public:
  WsHandshake(const BlastOptions& options, const std::string& path) {
    bool is_ipv6 = options.host.find(':') != std::string::npos;
    request_ = "GET " + path +
               " HTTP/1.1\r\nHost: " + (is_ipv6 ? "[" + options.host + "]" : options.host) +
               "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
               "Sec-WebSocket-Key: " + kKey + "\r\n";
    // As browsers offer it.
    if (options.deflate)
      request_ += "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    request_ += options.headers + "\r\n";
  }

  [[nodiscard]] WsExtension perform(int fd, std::string& rest) const {
    timeval patience{30, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (send(fd, request_.data(), request_.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request_.size()))
      fail_call("send of a handshake");
    char buffer[4096];
    std::string input;
    size_t end = std::string::npos;
    while (end == std::string::npos) {
      ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
      if (got < 0) fail_call("recv of a handshake");
      if (got == 0) fail("the server closed the connection in the handshake");
      input.append(buffer, static_cast<size_t>(got));
      end = input.find("\r\n\r\n");
    }
    rest = input.substr(end + 4);
    return check(std::string_view(input).substr(0, end));
  }

 private:
  // The same for all, so that what a server must say is known without SHA-1.
  static constexpr const char* kKey = "dGhlIHNhbXBsZSBub25jZQ==";
  static constexpr std::string_view kAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

  [[nodiscard]] static WsExtension check(std::string_view head) {
    if (!head.starts_with("HTTP/1.1 101 ")) fail_response("the answer is not a 101", head);
    if (field_of(head, "sec-websocket-accept") != kAccept)
      fail_response("Sec-WebSocket-Accept is not that of our key", head);
    std::string_view said = field_of(head, "sec-websocket-extensions");
    auto has = [said](std::string_view name) { return said.find(name) != std::string_view::npos; };
    WsExtension extension{
        .is_on = has("permessage-deflate"),
        .we_forget = has("client_no_context_takeover"),
        .they_forget = has("server_no_context_takeover"),
    };
    constexpr std::string_view kBits = "client_max_window_bits=";
    if (has(kBits)) {
      std::string digits(said.substr(said.find(kBits) + kBits.size(), 2));
      extension.window_bits = std::atoi(digits.c_str());
      // libz has no raw window of 8 bits.
      if (extension.window_bits < 9 || extension.window_bits > 15)
        fail_response("a window size that blast cannot have", head);
    }
    return extension;
  }

  std::string request_;
};

}  // namespace millrace::bench
