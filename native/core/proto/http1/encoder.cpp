#include "core/proto/http1/encoder.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/base/check.h"
#include "core/base/http_date.h"

namespace millrace::http1 {
namespace {

constexpr Bytes kVersion = "HTTP/1.1 ";
constexpr size_t kBeforeReason = kVersion.size() + 4;  // "HTTP/1.1 200 "
constexpr Bytes kCgiStatus = "Status: ";
constexpr Bytes kLineEnd = "\r\n";
constexpr Bytes kContentLength = "Content-Length: ";
constexpr Bytes kChunked = "Transfer-Encoding: chunked\r\n";
constexpr Bytes kClose = "Connection: close\r\n";
constexpr Bytes kKeepAlive = "Connection: keep-alive\r\n";
constexpr size_t kDecimalBytesMax = 20;

struct StatusRow {
  uint16_t status;
  Bytes line;
};

#define MR_STATUS(status, reason) \
  StatusRow { status, "HTTP/1.1 " #status " " reason "\r\n" }
constexpr std::array kStatusRows = {
    MR_STATUS(100, "Continue"),
    MR_STATUS(101, "Switching Protocols"),
    MR_STATUS(102, "Processing"),
    MR_STATUS(103, "Early Hints"),
    MR_STATUS(200, "OK"),
    MR_STATUS(201, "Created"),
    MR_STATUS(202, "Accepted"),
    MR_STATUS(203, "Non-Authoritative Information"),
    MR_STATUS(204, "No Content"),
    MR_STATUS(205, "Reset Content"),
    MR_STATUS(206, "Partial Content"),
    MR_STATUS(207, "Multi-Status"),
    MR_STATUS(208, "Already Reported"),
    MR_STATUS(226, "IM Used"),
    MR_STATUS(300, "Multiple Choices"),
    MR_STATUS(301, "Moved Permanently"),
    MR_STATUS(302, "Found"),
    MR_STATUS(303, "See Other"),
    MR_STATUS(304, "Not Modified"),
    MR_STATUS(305, "Use Proxy"),
    MR_STATUS(307, "Temporary Redirect"),
    MR_STATUS(308, "Permanent Redirect"),
    MR_STATUS(400, "Bad Request"),
    MR_STATUS(401, "Unauthorized"),
    MR_STATUS(402, "Payment Required"),
    MR_STATUS(403, "Forbidden"),
    MR_STATUS(404, "Not Found"),
    MR_STATUS(405, "Method Not Allowed"),
    MR_STATUS(406, "Not Acceptable"),
    MR_STATUS(407, "Proxy Authentication Required"),
    MR_STATUS(408, "Request Timeout"),
    MR_STATUS(409, "Conflict"),
    MR_STATUS(410, "Gone"),
    MR_STATUS(411, "Length Required"),
    MR_STATUS(412, "Precondition Failed"),
    MR_STATUS(413, "Content Too Large"),
    MR_STATUS(414, "URI Too Long"),
    MR_STATUS(415, "Unsupported Media Type"),
    MR_STATUS(416, "Range Not Satisfiable"),
    MR_STATUS(417, "Expectation Failed"),
    MR_STATUS(418, "I'm a Teapot"),
    MR_STATUS(421, "Misdirected Request"),
    MR_STATUS(422, "Unprocessable Content"),
    MR_STATUS(423, "Locked"),
    MR_STATUS(424, "Failed Dependency"),
    MR_STATUS(425, "Too Early"),
    MR_STATUS(426, "Upgrade Required"),
    MR_STATUS(428, "Precondition Required"),
    MR_STATUS(429, "Too Many Requests"),
    MR_STATUS(431, "Request Header Fields Too Large"),
    MR_STATUS(451, "Unavailable For Legal Reasons"),
    MR_STATUS(500, "Internal Server Error"),
    MR_STATUS(501, "Not Implemented"),
    MR_STATUS(502, "Bad Gateway"),
    MR_STATUS(503, "Service Unavailable"),
    MR_STATUS(504, "Gateway Timeout"),
    MR_STATUS(505, "HTTP Version Not Supported"),
    MR_STATUS(506, "Variant Also Negotiates"),
    MR_STATUS(507, "Insufficient Storage"),
    MR_STATUS(508, "Loop Detected"),
    MR_STATUS(509, "Bandwidth Limit Exceeded"),
    MR_STATUS(510, "Not Extended"),
    MR_STATUS(511, "Network Authentication Required"),
};
#undef MR_STATUS

constexpr uint16_t kStatusFloor = 100;
constexpr size_t kStatusSpan = 500;
constexpr uint8_t kNoRow = 0xff;

constexpr std::array<uint8_t, kStatusSpan> make_row_numbers() {
  std::array<uint8_t, kStatusSpan> numbers{};
  numbers.fill(kNoRow);
  for (size_t i = 0; i < kStatusRows.size(); i++) {
    numbers[static_cast<size_t>(kStatusRows[i].status - kStatusFloor)] = static_cast<uint8_t>(i);
  }
  return numbers;
}

constexpr std::array<uint8_t, kStatusSpan> kRowNumbers = make_row_numbers();

constexpr size_t longest_status_line() {
  size_t longest = 0;
  for (const StatusRow& row : kStatusRows) longest = std::max(longest, row.line.size());
  return longest;
}

constexpr size_t kStatusLineBytesMax = longest_status_line();

// Empty when the status has no registered reason.
Bytes known_status_line(uint16_t status) {
  const size_t place = static_cast<size_t>(status) - kStatusFloor;  // wraps below the floor
  if (place >= kStatusSpan || kRowNumbers[place] == kNoRow) return {};
  return kStatusRows[kRowNumbers[place]].line;
}

char* put(char* out, Bytes text) {
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

char* put_status_line(char* out, uint16_t status) {
  const Bytes known = known_status_line(status);
  if (!known.empty()) return put(out, known);
  MR_CHECK(status >= 100 && status <= 999);
  out = put(out, kVersion);
  out += write_decimal(status, out);
  return put(out, " \r\n");  // the SP stays without a reason; RFC 9112 4
}

char* put_length(char* out, uint64_t length) {
  out = put(out, kContentLength);
  out += write_decimal(length, out);
  return put(out, kLineEnd);
}

size_t write_cgi_head(const ResponseHead& head, char* out) {
  char line[kStatusLineBytesMax];
  const auto length = static_cast<size_t>(put_status_line(line, head.status) - line);
  char* at = put(out, kCgiStatus);
  at = put(at, Bytes(line, length).substr(kVersion.size()));
  at = put(at, head.header_lines);
  if (head.content_length) at = put_length(at, head.length);
  at = put(at, kLineEnd);
  return static_cast<size_t>(at - out);
}

char* put_date_line(char* out, UnixSeconds now) {
  out = put(out, "Date: ");
  write_http_date(now, out);
  return put(out + kHttpDateBytes, kLineEnd);
}

}  // namespace

Bytes reason_phrase(uint16_t status) {
  Bytes line = known_status_line(status);
  if (line.empty()) return {};
  return line.substr(kBeforeReason, line.size() - kBeforeReason - kLineEnd.size());
}

Bytes DateLine::at(UnixSeconds now) {
  now = std::clamp<UnixSeconds>(now, 0, kHttpDateLast);
  if (now != made_at_) {
    length_ = static_cast<size_t>(put_date_line(text_, now) - text_);
    made_at_ = now;
  }
  return Bytes(text_, length_);
}

size_t response_head_size_max(const ResponseHead& head) {
  return kStatusLineBytesMax + head.date_line.size() + head.header_lines.size() +
         kContentLength.size() + kDecimalBytesMax + kLineEnd.size() + kChunked.size() +
         kKeepAlive.size() + kLineEnd.size();
}

size_t write_response_head(const ResponseHead& head, char* out) {
  if (head.form == HeadForm::Cgi) return write_cgi_head(head, out);
  char* at = put_status_line(out, head.status);
  at = put(at, head.date_line);
  at = put(at, head.header_lines);
  if (head.content_length) at = put_length(at, head.length);
  if (head.chunked) at = put(at, kChunked);
  if (head.close) {
    at = put(at, kClose);
  } else if (head.keep_alive) {
    at = put(at, kKeepAlive);
  }
  at = put(at, kLineEnd);
  return static_cast<size_t>(at - out);
}

char* write_chunk_size_before(uint32_t size, char* end) {
  *--end = '\n';
  *--end = '\r';
  do {
    *--end = "0123456789abcdef"[size & 15];
    size >>= 4;
  } while (size != 0);
  return end;
}

}  // namespace millrace::http1
