#include "core/proto/ws/handshake.h"

#include <algorithm>
#include <climits>

// Strict: CRLF only, no obs-fold, no space before a colon (RFC 9112 4, 5). As in HTTP's parser,
// bytes are judged from left to right and no judgement looks at a later byte, so the verdict is the
// same at every split.

namespace millrace::ws {
namespace {

constexpr int kBroken = -1;
constexpr int kNeedMore = -2;

enum class Outcome : uint8_t { Done, NeedMore, Broken };

struct Cursor {
  const char* at;
  const char* end;
};

bool is_value_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

bool is_token_byte(char c) { return is_token_char(static_cast<unsigned char>(c)); }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

Bytes bytes_between(const char* begin, const char* end) {
  return Bytes(begin, static_cast<size_t>(end - begin));
}

Outcome read_crlf(Cursor& cursor) {
  for (char c : {'\r', '\n'}) {
    if (cursor.at == cursor.end) return Outcome::NeedMore;
    if (*cursor.at != c) return Outcome::Broken;
    cursor.at++;
  }
  return Outcome::Done;
}

bool fits(char c, char shape) {
  switch (shape) {
    case 'v': return c == '0' || c == '1';
    case 's': return is_digit(c) && c != '0';
    case 'd': return is_digit(c);
    default: return c == shape;
  }
}

// "HTTP/1." DIGIT SP 3DIGIT SP [ reason ] CRLF; the space behind the status is never left out.
Outcome read_status_line(Cursor& cursor, ResponseHead& head) {
  constexpr Bytes kShape = "HTTP/1.v sdd ";  // small letters stand for digits
  const char* line = cursor.at;
  for (char shape : kShape) {
    if (cursor.at == cursor.end) return Outcome::NeedMore;
    if (!fits(*cursor.at, shape)) return Outcome::Broken;
    cursor.at++;
  }
  const char* reason = cursor.at;
  cursor.at = std::find_if_not(reason, cursor.end, is_value_byte);
  head.reason = bytes_between(reason, cursor.at);
  head.minor_version = static_cast<uint8_t>(line[7] - '0');
  head.status =
      static_cast<uint16_t>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
  return read_crlf(cursor);
}

Outcome read_field(Cursor& cursor, HeaderField& field) {
  const char* name = cursor.at;
  const char* colon = std::find_if_not(name, cursor.end, is_token_byte);
  if (colon == cursor.end) return Outcome::NeedMore;
  if (*colon != ':') return Outcome::Broken;
  cursor.at = std::find_if_not(colon + 1, cursor.end, is_value_byte);
  field = {bytes_between(name, colon), trim_ows(bytes_between(colon + 1, cursor.at))};
  return read_crlf(cursor);
}

// Field lines and the empty line after them.
Outcome read_fields(Cursor& cursor, HeaderField* fields, uint32_t count_max, uint32_t& count) {
  while (true) {
    if (cursor.at == cursor.end) return Outcome::NeedMore;
    if (*cursor.at == '\r') return read_crlf(cursor);
    if (!is_token_byte(*cursor.at) || count == count_max) return Outcome::Broken;
    const Outcome outcome = read_field(cursor, fields[count]);
    if (outcome != Outcome::Done) return outcome;
    count++;
  }
}

// True when the bytes behind `last_length` only lengthen the field line that was open there, so
// that they can neither end nor break the head: a slow server does not cost the square of it.
bool only_lengthens(Bytes input, size_t last_length) {
  if (last_length == 0 || last_length > input.size()) return false;
  const Bytes old = input.substr(0, last_length);
  const Bytes added = input.substr(last_length);
  const size_t line_feed = old.rfind('\n');
  if (old.back() == '\r' || line_feed == Bytes::npos) return false;
  const Bytes line = old.substr(line_feed + 1);
  if (line.empty()) return false;  // fields are counted at a line's first byte
  const bool in_value = line.find(':') != Bytes::npos;
  return std::all_of(added.begin(), added.end(), in_value ? is_value_byte : is_token_byte);
}

}  // namespace

int parse_response_head(Bytes input, size_t last_length, size_t bytes_max, HeaderField* fields,
                        uint32_t count_max, ResponseHead& head) {
  const size_t window = std::min({input.size(), bytes_max, size_t{INT_MAX}});
  if (input.size() < bytes_max && only_lengthens(input, last_length)) return kNeedMore;
  head = ResponseHead();
  Cursor cursor{input.data(), input.data() + window};
  Outcome outcome = read_status_line(cursor, head);
  if (outcome == Outcome::Done) outcome = read_fields(cursor, fields, count_max, head.header_count);
  if (outcome == Outcome::Done) return static_cast<int>(cursor.at - input.data());
  return outcome == Outcome::NeedMore && input.size() < bytes_max ? kNeedMore : kBroken;
}

}  // namespace millrace::ws
