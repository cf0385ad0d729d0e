#include "core/proto/http1/head.h"

#include <algorithm>
#include <cstring>

#include "core/proto/http1/scan.h"
#include "core/proto/http1/system_head.h"

// One rule keeps the verdict the same at every split: bytes are judged from left to right, a
// judgement never looks at a later byte, and limits cut the window that is judged. So the first
// offending byte decides.

namespace millrace::http1 {
namespace {

constexpr size_t kMethodBytesMax = 255;

enum class Outcome : uint8_t { Done, NeedMore, Broken };

struct Cursor {
  const char* at;
  const char* end;
};

Outcome read_crlf(Cursor& cursor) {
  if (cursor.at == cursor.end) return Outcome::NeedMore;
  if (*cursor.at != '\r') return Outcome::Broken;
  if (cursor.at + 1 == cursor.end) return Outcome::NeedMore;
  if (cursor.at[1] != '\n') return Outcome::Broken;
  cursor.at += 2;
  return Outcome::Done;
}

Bytes bytes_between(const char* begin, const char* end) {
  return Bytes(begin, static_cast<size_t>(end - begin));
}

Bytes trimmed(const char* begin, const char* end) {
  while (begin != end && (*begin == ' ' || *begin == '\t')) begin++;
  while (begin != end && (end[-1] == ' ' || end[-1] == '\t')) end--;
  return bytes_between(begin, end);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_alpha(char c) { return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z'; }

// scheme "://" and at least one byte of an authority; RFC 3986 3.1, RFC 9110 4.2.1.
bool is_absolute_form(Bytes target) {
  if (!is_alpha(target[0])) return false;
  const size_t colon = target.find(':');
  if (colon == Bytes::npos) return false;
  for (char c : target.substr(1, colon - 1)) {
    if (!is_alpha(c) && !is_digit(c) && c != '+' && c != '-' && c != '.') return false;
  }
  const Bytes rest = target.substr(colon);
  if (rest.size() < 4 || !rest.starts_with("://") || rest[3] == '/' || rest[3] == '?') return false;
  // RFC 9110 4.2.4: user information in a target is refused.
  return rest.substr(3, rest.find_first_of("/?", 3) - 3).find('@') == Bytes::npos;
}

// host ":" port, for CONNECT only; RFC 9112 3.2.3.
bool is_authority_form(Bytes target) {
  const size_t colon = target.rfind(':');
  if (colon == Bytes::npos || colon == 0) return false;
  const Bytes host = target.substr(0, colon);
  if (host.find_first_of("/?@") != Bytes::npos) return false;
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (!bracketed && host.find_first_of(":[]") != Bytes::npos) return false;
  uint64_t port = 0;
  return parse_decimal(target.substr(colon + 1), port) && port >= 1 && port <= 65535;
}

// RFC 9112 3.2.
bool is_target(Bytes method, Bytes target) {
  if (method == "CONNECT") return is_authority_form(target);
  if (target[0] == '/') return true;
  if (target == "*") return method == "OPTIONS";
  return is_absolute_form(target);
}

Outcome read_method(Cursor& cursor, RequestHead& head) {
  const char* begin = cursor.at;
  const auto room = static_cast<size_t>(cursor.end - begin);
  const char* stop = begin + std::min(room, kMethodBytesMax + 1);
  const char* at = ScalarScanner::token_end(begin, stop);
  const auto length = static_cast<size_t>(at - begin);
  if (length > kMethodBytesMax) return Outcome::Broken;
  if (at == cursor.end) return Outcome::NeedMore;
  if (length == 0 || *at != ' ') return Outcome::Broken;
  head.method = Bytes(begin, length);
  cursor.at = at + 1;
  return Outcome::Done;
}

template <typename Scanner>
Outcome read_target(Cursor& cursor, RequestHead& head) {
  const char* at = Scanner::target_end(cursor.at, cursor.end);
  if (at == cursor.end) return Outcome::NeedMore;
  if (at == cursor.at || *at != ' ') return Outcome::Broken;
  head.target = bytes_between(cursor.at, at);
  if (!is_target(head.method, head.target)) return Outcome::Broken;
  cursor.at = at + 1;
  return Outcome::Done;
}

// "HTTP/D.D" and CRLF. Only a well-formed line of another version is VersionNotSupported.
Outcome read_version(Cursor& cursor, RequestHead& head, ErrorCode& error) {
  constexpr Bytes kShape = "HTTP/0.0";
  constexpr Bytes kUsual = "HTTP/1.1\r\n";
  const char* version = cursor.at;
  if (static_cast<size_t>(cursor.end - version) >= kUsual.size() &&
      std::memcmp(version, kUsual.data(), kUsual.size()) == 0) {
    head.minor_version = 1;
    cursor.at += kUsual.size();
    return Outcome::Done;
  }
  for (size_t i = 0; i < kShape.size(); i++) {
    if (cursor.at == cursor.end) return Outcome::NeedMore;
    const char c = *cursor.at;
    if (kShape[i] == '0' ? !is_digit(c) : c != kShape[i]) return Outcome::Broken;
    cursor.at++;
  }
  const Outcome line_end = read_crlf(cursor);
  if (line_end != Outcome::Done) return line_end;
  if (version[5] != '1' || version[7] > '1') {
    error = ErrorCode::VersionNotSupported;
    return Outcome::Broken;
  }
  head.minor_version = static_cast<uint8_t>(version[7] - '0');
  return Outcome::Done;
}

template <typename Scanner>
Outcome read_request_line(Cursor& cursor, RequestHead& head, ErrorCode& error) {
  error = ErrorCode::BadRequestLine;
  Outcome outcome = read_method(cursor, head);
  if (outcome == Outcome::Done) outcome = read_target<Scanner>(cursor, head);
  if (outcome == Outcome::Done) outcome = read_version(cursor, head, error);
  return outcome;
}

// Field lines and the empty line after them.
template <typename Scanner>
Outcome read_fields(Cursor& cursor, size_t count_max, HeaderField* fields, uint32_t& count,
                    ErrorCode& error) {
  error = ErrorCode::BadHeader;
  count = 0;
  const char* at = cursor.at;
  const char* const end = cursor.end;
  while (true) {
    if (at == end) return Outcome::NeedMore;
    if (*at == '\r') {
      cursor.at = at;
      return read_crlf(cursor);
    }
    const char* name = at;
    at = Scanner::token_end(at, end);
    if (at == name) return Outcome::Broken;
    if (count == count_max) {
      error = ErrorCode::HeadersTooLarge;
      return Outcome::Broken;
    }
    if (at == end) return Outcome::NeedMore;
    if (*at != ':') return Outcome::Broken;
    const char* colon = at;
    at = Scanner::value_end(colon + 1, end);
    if (at == end) return Outcome::NeedMore;
    if (*at != '\r') return Outcome::Broken;
    if (at + 1 == end) return Outcome::NeedMore;
    if (at[1] != '\n') return Outcome::Broken;
    fields[count++] = {bytes_between(name, colon), trimmed(colon + 1, at)};
    at += 2;
  }
}

enum class Section : uint8_t { Head, Fields };

// True when the bytes behind `last_length` only lengthen the field line that was open there: then
// they can neither end nor break the head, and nothing is parsed again. Keeps a client that sends
// byte by byte from costing the square of the head; what remains quadratic is a block scan of one
// line.
template <typename Scanner>
bool only_lengthens(Bytes input, size_t last_length, const HeadLimits& limits, Section section) {
  if (last_length == 0 || last_length > input.size()) return false;
  if (input.size() >= limits.header_bytes_max) return false;
  const char* begin = input.data();
  const char* old_end = begin + last_length;
  const char* end = begin + input.size();
  if (old_end[-1] == '\r') return false;
  const char* line_feed = Scanner::last_line_feed(begin, old_end);
  const bool after_first_line = line_feed != nullptr && !(line_feed == begin + 1 && *begin == '\r');
  if (section == Section::Head && !after_first_line) return false;
  const char* line = line_feed == nullptr ? begin : line_feed + 1;
  if (line == old_end) return false;  // the count is checked at a line's first byte
  if (std::memchr(line, ':', static_cast<size_t>(old_end - line)) == nullptr) {
    return Scanner::token_end(old_end, end) == end;
  }
  return Scanner::value_end(old_end, end) == end;
}

int answer(Outcome outcome, size_t consumed, bool window_full, ErrorCode too_large,
           ErrorCode& error) {
  if (outcome == Outcome::NeedMore && window_full) {
    outcome = Outcome::Broken;
    error = too_large;
  }
  if (outcome == Outcome::Broken) return kBroken;
  error = ErrorCode::None;
  return outcome == Outcome::NeedMore ? kNeedMore : static_cast<int>(consumed);
}

template <typename Scanner>
int parse_head(Bytes input, size_t last_length, const HeadLimits& limits, RequestHead& head,
               HeaderField* fields, ErrorCode& error) {
  error = ErrorCode::None;
  if (only_lengthens<Scanner>(input, last_length, limits, Section::Head)) return kNeedMore;
  const char* begin = input.data();
  Cursor cursor{begin, begin + input.size()};
  if (!input.empty() && input[0] == '\r') {
    error = ErrorCode::BadRequestLine;
    const Outcome skipped = read_crlf(cursor);
    if (skipped != Outcome::Done) return answer(skipped, 0, false, error, error);
  }

  const auto offered = static_cast<size_t>(cursor.end - cursor.at);
  const char* head_end = cursor.at + std::min(offered, limits.header_bytes_max);
  // The line with its CRLF; the subtraction cannot wrap as the addition could.
  const size_t line_bytes =
      limits.header_bytes_max < 2
          ? limits.header_bytes_max
          : std::min(limits.request_line_bytes_max, limits.header_bytes_max - 2) + 2;
  cursor.end = cursor.at + std::min(offered, line_bytes);
  Outcome outcome = read_request_line<Scanner>(cursor, head, error);
  if (outcome != Outcome::Done) {
    return answer(outcome, 0, offered >= line_bytes, ErrorCode::UriTooLong, error);
  }

  cursor.end = head_end;
  uint32_t count = 0;
  outcome = read_fields<Scanner>(cursor, limits.header_count_max, fields, count, error);
  head.headers = fields;
  head.header_count = count;
  return answer(outcome, static_cast<size_t>(cursor.at - begin), offered >= limits.header_bytes_max,
                ErrorCode::HeadersTooLarge, error);
}

}  // namespace

int parse_request_head(Bytes input, size_t last_length, const HeadLimits& limits, RequestHead& head,
                       HeaderField* fields, ErrorCode& error) {
  const int result = parse_head<VectorScanner>(input, last_length, limits, head, fields, error);
  if (result <= 0) return result;
  Bytes served = input.substr(0, static_cast<size_t>(result));
  if (served.front() == '\r') served.remove_prefix(2);
  if (read_with_system(served, head, fields)) return result;
  error = ErrorCode::BadRequest;
  return kBroken;
}

int parse_request_head_scalar(Bytes input, size_t last_length, const HeadLimits& limits,
                              RequestHead& head, HeaderField* fields, ErrorCode& error) {
  return parse_head<ScalarScanner>(input, last_length, limits, head, fields, error);
}

bool is_request_target(Bytes method, Bytes target) {
  const char* end = target.data() + target.size();
  return !target.empty() && VectorScanner::target_end(target.data(), end) == end &&
         is_target(method, target);
}

bool is_field_value(Bytes value) {
  const char* end = value.data() + value.size();
  return VectorScanner::value_end(value.data(), end) == end;
}

int parse_fields(Bytes input, size_t last_length, const HeadLimits& limits, HeaderField* fields,
                 uint32_t& count, ErrorCode& error) {
  count = 0;
  error = ErrorCode::None;
  if (only_lengthens<VectorScanner>(input, last_length, limits, Section::Fields)) return kNeedMore;
  const char* begin = input.data();
  Cursor cursor{begin, begin + std::min(input.size(), limits.header_bytes_max)};
  const Outcome outcome =
      read_fields<VectorScanner>(cursor, limits.header_count_max, fields, count, error);
  return answer(outcome, static_cast<size_t>(cursor.at - begin),
                input.size() >= limits.header_bytes_max, ErrorCode::HeadersTooLarge, error);
}

}  // namespace millrace::http1
