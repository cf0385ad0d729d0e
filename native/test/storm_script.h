// The requests that a storm's peers send: each with its number, what the consumer must see of it,
// and what answers the server itself may give. Drawn from dice, within the limits of the run.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "core/model/error.h"
#include "core/model/limits.h"
#include "core/proto/session.h"
#include "test/storm_dice.h"

namespace millrace::test {

// Who answers a request that is in order.
enum class Answerer : uint8_t { Consumer, Static, Ready, Options, NotAllowed };

struct ScriptedRequest {
  uint32_t number = 0;
  std::string method = "GET";
  std::string target = {};
  std::string seen_headers = "\n";  // as the event has them
  std::string text = {};            // all of it, as sent
  size_t head_size = 0;
  size_t body_size = 0;  // decoded
  Answerer answerer = Answerer::Consumer;
  ErrorCode flaw = ErrorCode::None;
  bool http10 = false;
  bool keeps_alive = true;
  bool expects = false;

  [[nodiscard]] bool is_head() const { return method == "HEAD"; }
};

class Scriptwriter final {
 public:
  // `heavy`: what would be a GET carries the largest body that an event does.
  Scriptwriter(Dice& dice, const Limits& limits, bool heavy)
      : dice_(dice), limits_(limits), heavy_(heavy) {}

  // `plain`: a GET for the consumer. `flawed`: one that must be refused.
  [[nodiscard]] ScriptedRequest write(uint32_t number, bool plain, bool flawed) {
    request_ = ScriptedRequest{};
    fields_.clear();
    tail_.clear();
    version_ = "HTTP/1.1";
    request_.number = number;
    request_.target = "/r/" + std::to_string(number);
    add("Host", "a");
    add("X-Number", std::to_string(number));
    if (flawed) {
      write_flawed();
    } else if (!plain) {
      write_any();
    }
    std::string head =
        request_.method + " " + request_.target + " " + version_ + "\r\n" + fields_ + "\r\n";
    request_.head_size = head.size();
    request_.text = std::move(head) + tail_;
    return std::move(request_);
  }

 private:
  void add(const std::string& name, const std::string& value) {
    fields_ += name + ": " + value + "\r\n";
    for (char c : name) request_.seen_headers += ascii_lower(c);
    request_.seen_headers += '\0' + value + '\n';
  }

  void write_any() {
    uint32_t kind = dice_.below(100);
    if (kind < 36) return heavy_ ? sized_body(heavy_size()) : void();
    if (kind < 44) {
      request_.method = "HEAD";
    } else if (kind < 58) {
      sized_body(draw_body_size());
    } else if (kind < 68) {
      chunked_body(draw_body_size());
    } else if (kind < 75) {
      add("Expect", "100-continue");
      request_.expects = true;
      dice_.chance(300) ? chunked_body(draw_body_size()) : sized_body(draw_body_size());
    } else if (kind < 86) {
      native();
    } else if (kind < 92) {
      version_ = "HTTP/1.0";
      request_.http10 = true;
      request_.keeps_alive = dice_.chance(500);
      if (request_.keeps_alive) add("Connection", "keep-alive");
    } else if (kind < 95) {
      add("Connection", "close");
      request_.keeps_alive = false;
    } else if (kind < 98) {
      add("Connection", "Upgrade");
      add("Upgrade", "websocket");
    } else {
      request_.method = "CONNECT";
      request_.target = "a:80";
      request_.keeps_alive = false;
    }
  }

  void native() {
    switch (dice_.below(4)) {
      case 0:
        request_.answerer = Answerer::Static;
        request_.target = "/static";
        if (dice_.chance(200)) request_.method = "HEAD";
        return;
      case 1:
        request_.answerer = Answerer::Ready;
        request_.target = "/ready?" + std::to_string(request_.number);
        return;
      case 2:
        request_.answerer = Answerer::Options;
        request_.method = "OPTIONS";
        request_.target = "/static";
        return;
      default: break;
    }
    request_.answerer = Answerer::NotAllowed;
    request_.target = "/static";
    sized_body(draw_body_size());
  }

  [[nodiscard]] size_t heavy_size() const {
    return static_cast<size_t>(std::min<int64_t>(kInlineBodyMax, limits_.body_bytes_max));
  }

  size_t draw_body_size() {
    const uint32_t sizes[] = {0, 1, 10, 700, 3000, 16 * 1024, 16 * 1024 + 1, 30'000, 90'000};
    uint32_t size = dice_.one_of(sizes);
    return static_cast<size_t>(std::min<int64_t>(size, limits_.body_bytes_max));
  }

  void sized_body(size_t size) {
    request_.method = "POST";
    request_.body_size = size;
    add("Content-Length", std::to_string(size));
    tail_ = body_of(request_.number, 'q', size);
  }

  void chunked_body(size_t size) {
    request_.method = "POST";
    request_.body_size = size;
    add("Transfer-Encoding", "chunked");
    std::string body = body_of(request_.number, 'q', size);
    size_t part_max = dice_.one_of<size_t>({100'000, 5'000, 600});
    for (size_t at = 0; at < size;) {
      size_t part = std::min(part_max, size - at);
      char line[32];
      std::snprintf(line, sizeof(line), at == 0 ? "%zx;x=y\r\n" : "%zX\r\n", part);
      tail_ += line + body.substr(at, part) + "\r\n";
      at += part;
    }
    tail_ += dice_.chance(200) ? "0\r\nX-Sum: 1\r\n\r\n" : "0\r\n\r\n";
  }

  void write_flawed() {
    switch (dice_.below(15)) {
      case 0: return flaw(ErrorCode::BadRequestLine, "", request_.target = "nowhere");
      case 1: return flaw(ErrorCode::BadHeader, "Bad Name: x\r\n");
      case 2: return flaw(ErrorCode::BadHost, "Host: b\r\n");
      case 3: return flaw(ErrorCode::BadContentLength, "Content-Length: 1x\r\n");
      case 4:
        return flaw(ErrorCode::BadFraming, "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n");
      case 5: return flaw(ErrorCode::CodingNotImplemented, "Transfer-Encoding: gzip\r\n");
      case 6: return flaw(ErrorCode::ExpectationFailed, "Expect: wonders\r\n");
      case 7: return flaw(ErrorCode::VersionNotSupported, "", version_ = "HTTP/2.0");
      case 8:
        request_.target.append(static_cast<size_t>(limits_.request_line_bytes_max), 'x');
        return flaw(ErrorCode::UriTooLong, "");
      case 9:
        return flaw(
            ErrorCode::HeadersTooLarge,
            "X: " + std::string(static_cast<size_t>(limits_.header_bytes_max), 'x') + "\r\n");
      case 10: {
        std::string many;
        for (int64_t i = 0; i < limits_.header_count_max; i++) many += "X:\r\n";
        return flaw(ErrorCode::HeadersTooLarge, many);
      }
      case 11: return too_large_announced();
      case 12: return broken_chunks("5\r\nabcdeX", ErrorCode::BadChunk);
      case 13: return broken_chunks("0\r\nContent-Length: 5\r\n\r\n", ErrorCode::BadTrailer);
      default: break;
    }
    char line[32];
    std::snprintf(line, sizeof(line), "%llx\r\n",
                  static_cast<unsigned long long>(limits_.body_bytes_max) + 1);
    broken_chunks(line + std::string(2000, 'b'), ErrorCode::BodyTooLarge);
  }

  void flaw(ErrorCode code, const std::string& lines, const std::string& = "") {
    request_.flaw = code;
    fields_ += lines;
  }

  void too_large_announced() {
    request_.method = "POST";
    if (dice_.chance(300)) {
      fields_ += "Expect: 100-continue\r\n";
      request_.expects = true;
    }
    flaw(ErrorCode::BodyTooLarge,
         "Content-Length: " + std::to_string(limits_.body_bytes_max + 1) + "\r\n");
    tail_ =
        std::string(std::min<size_t>(static_cast<size_t>(limits_.body_bytes_max), 100'000), 'b');
  }

  void broken_chunks(const std::string& chunks, ErrorCode code) {
    request_.method = "POST";
    flaw(code, "Transfer-Encoding: chunked\r\n");
    tail_ = chunks;
  }

  Dice& dice_;
  const Limits& limits_;
  const bool heavy_;
  ScriptedRequest request_;
  std::string fields_;
  std::string tail_;
  std::string version_;
};

}  // namespace millrace::test
