// Reads what a server sent on one connection as HTTP/1.1 responses, strictly: whatever is not the
// exact form that this server writes is a fault. Knows nothing of who asked what.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "core/base/bytes.h"
#include "core/model/error.h"

namespace millrace::test {

struct WireResponse {
  uint32_t status = 0;
  uint32_t number = 0;  // of the X-Storm field; 0: none
  bool has_length = false;
  uint64_t length = 0;
  bool close = false;
  bool keep_alive = false;
  bool has_date = false;
  bool has_retry_after = false;
  std::string body = {};
};

class WireReader final {
 public:
  enum class Step : uint8_t { NeedMore, Response, Broken };

  void feed(Bytes bytes) { unread_.append(bytes); }
  // Said to a connection, whatever it asks. The length tells it from other refusals with 503.
  [[nodiscard]] static bool is_turned_away(const WireResponse& response) {
    static const std::string said = std::string(error_code_name(ErrorCode::TooManyConnections)) +
                                    ": " + error_code_sentence(ErrorCode::TooManyConnections) +
                                    "\n";
    return response.status == 503 && response.number == 0 && response.length == said.size();
  }

  [[nodiscard]] bool is_between_responses() const { return unread_.empty(); }
  [[nodiscard]] const std::string& fault() const { return fault_; }

  // `method` is that of the request it answers.
  [[nodiscard]] Step next(Bytes method, WireResponse& response) {
    if (!fault_.empty()) return Step::Broken;
    if (head_size_ == 0) {
      size_t from = searched_ < 3 ? 0 : searched_ - 3;
      size_t end = unread_.find("\r\n\r\n", from);
      searched_ = unread_.size();
      if (end == std::string::npos) {
        return looks_like_a_start() ? Step::NeedMore : broken("no status line");
      }
      head_size_ = end + 4;
      head_ = WireResponse{};
      if (!read_head(Bytes(unread_).substr(0, end + 2))) return Step::Broken;
    }
    uint64_t length = 0;
    bool never = head_.status < 200 || head_.status == 204 || head_.status == 304 ||
                 (method == "CONNECT" && head_.status < 300);
    if (never && head_.has_length) return broken("a length where no content can be");
    // Refused before its head was whole, a HEAD is not known as one.
    bool is_early = head_.number == 0 && (head_.status == 400 || head_.status == 408);
    is_early = is_early || is_turned_away(head_);
    if (!never && (method != "HEAD" || is_early)) {
      if (!head_.has_length) return broken("no length");
      length = head_.length;
    }
    if (unread_.size() - head_size_ < length) return Step::NeedMore;
    head_.body = unread_.substr(head_size_, static_cast<size_t>(length));
    unread_.erase(0, head_size_ + static_cast<size_t>(length));
    head_size_ = searched_ = 0;
    response = std::move(head_);
    return Step::Response;
  }

 private:
  Step broken(const char* what) {
    fault_ = std::string(what) + " in \"" + unread_.substr(0, 200) + "\"";
    return Step::Broken;
  }

  [[nodiscard]] bool looks_like_a_start() const {
    constexpr Bytes kStart = "HTTP/1.1 ";
    size_t size = std::min(kStart.size(), unread_.size());
    return Bytes(unread_).substr(0, size) == kStart.substr(0, size);
  }

  bool fail(const char* what) {
    static_cast<void>(broken(what));
    return false;
  }

  bool read_head(Bytes head) {
    size_t line_end = head.find("\r\n");
    Bytes line = head.substr(0, line_end);
    uint64_t status = 0;
    if (line.size() < 13 || !line.starts_with("HTTP/1.1 ") || line[12] != ' ' ||
        !parse_decimal(line.substr(9, 3), status) || status < 100) {
      return fail("a malformed status line");
    }
    head_.status = static_cast<uint32_t>(status);
    head.remove_prefix(line_end + 2);
    while (!head.empty()) {
      line_end = head.find("\r\n");
      if (!read_field(head.substr(0, line_end))) return false;
      head.remove_prefix(line_end + 2);
    }
    return true;
  }

  bool read_field(Bytes line) {
    size_t colon = line.find(": ");
    if (colon == Bytes::npos || !is_token(line.substr(0, colon))) return fail("a malformed field");
    Bytes name = line.substr(0, colon);
    Bytes value = line.substr(colon + 2);
    for (char c : value) {
      if (static_cast<unsigned char>(c) < 0x20) return fail("a control character");
    }
    uint64_t number = 0;
    if (name == "Content-Length") {
      if (head_.has_length || !parse_decimal(value, head_.length)) return fail("a bad length");
      head_.has_length = true;
    } else if (name == "X-Storm") {
      if (head_.number != 0 || !parse_decimal(value, number)) return fail("a bad X-Storm");
      head_.number = static_cast<uint32_t>(number);
    } else if (name == "Connection") {
      if (head_.close || head_.keep_alive) return fail("two Connection fields");
      head_.close = value == "close";
      head_.keep_alive = value == "keep-alive";
    } else if (name == "Date") {
      if (head_.has_date || value.size() != 29 || !value.ends_with(" GMT"))
        return fail("a bad Date");
      head_.has_date = true;
    } else if (name == "Retry-After") {
      head_.has_retry_after = true;
    } else if (name == "Transfer-Encoding") {
      return fail("a transfer coding");
    }
    return true;
  }

  std::string unread_;
  size_t searched_ = 0;
  size_t head_size_ = 0;  // of the head that was read and waits for its body
  WireResponse head_;
  std::string fault_;
};

}  // namespace millrace::test
