#include "core/proto/multipart/disposition.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/proto/multipart/parameters.h"

namespace millrace {
namespace {

using multipart::Backslash;
using multipart::Parameter;
using multipart::ParameterReader;

enum class Outcome : uint8_t { Good, Malformed, Refused };

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = ascii_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(Bytes text) {
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text.front());
    size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || text.size() < length) return false;
    for (size_t i = 1; i < length; i++) {
      if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return false;
    }
    const auto second = static_cast<unsigned char>(length > 1 ? text[1] : 0);
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return false;
    if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return false;
    text.remove_prefix(length);
  }
  return true;
}

void append_latin1(char c, std::string& out) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < 0x80) {
    out += c;
    return;
  }
  out += static_cast<char>(0xc0 | byte >> 6);
  out += static_cast<char>(0x80 | (byte & 0x3f));
}

// RFC 8187 3.2.1: charset "'" [ language ] "'" value-chars.
bool decode_extended(const Parameter& parameter, std::string& out) {
  if (parameter.is_quoted) return false;
  const size_t first = parameter.value.find('\'');
  if (first == Bytes::npos) return false;
  const size_t second = parameter.value.find('\'', first + 1);
  if (second == Bytes::npos) return false;
  const Bytes charset = parameter.value.substr(0, first);
  const bool is_latin1 = equals_folded(charset, "iso-8859-1");
  if (!is_latin1 && !equals_folded(charset, "utf-8")) return false;
  Bytes rest = parameter.value.substr(second + 1);
  for (out.clear(); !rest.empty(); rest.remove_prefix(1)) {
    char c = rest.front();
    if (c == '%') {
      const int high = rest.size() > 2 ? hex_digit(rest[1]) : -1;
      const int low = rest.size() > 2 ? hex_digit(rest[2]) : -1;
      if (high < 0 || low < 0 || high + low == 0) return false;
      c = static_cast<char>(high << 4 | low);
      rest.remove_prefix(2);
    } else if (c == '*' || c == '\'' || !is_token_char(static_cast<unsigned char>(c))) {
      return false;
    }
    if (is_latin1) {
      append_latin1(c, out);
    } else {
      out += c;
    }
  }
  return is_utf8(out);
}

bool decode_value(const Parameter& parameter, Backslash backslash, std::string& out) {
  if (!parameter.is_quoted && !is_token(parameter.value)) return false;
  out.clear();
  for (Bytes rest = parameter.value; !rest.empty(); rest.remove_prefix(1)) {
    char c = rest.front();
    if (parameter.is_quoted && is_escape(rest, backslash)) {
      rest.remove_prefix(1);
      c = rest.front();
    } else if (c == '%') {
      const Bytes escape = rest.substr(0, 3);
      if (escape == "%22") c = '"';
      if (escape == "%0D") c = '\r';
      if (escape == "%0A") c = '\n';
      if (c != '%') rest.remove_prefix(2);
    }
    out += c;
  }
  return true;
}

// What has been seen of the parameters that count.
struct Seen {
  bool name = false;
  bool filename = false;
  bool extended = false;
  bool extended_is_good = false;
};

Outcome take_parameter(const Parameter& parameter, Backslash backslash, Seen& seen,
                       Disposition& disposition) {
  const bool is_name = equals_folded(parameter.name, "name");
  const bool is_filename = equals_folded(parameter.name, "filename");
  if (is_name || is_filename) {
    bool& seen_before = is_name ? seen.name : seen.filename;
    if (seen_before) return Outcome::Refused;
    seen_before = true;
    std::string ignored;
    std::string& filename = seen.extended_is_good ? ignored : disposition.filename;
    std::string& out = is_name ? disposition.name : filename;
    return decode_value(parameter, backslash, out) ? Outcome::Good : Outcome::Malformed;
  }
  if (!equals_folded(parameter.name, "filename*")) return Outcome::Good;
  if (seen.extended) return Outcome::Refused;
  seen.extended = true;
  std::string decoded;
  if (!decode_extended(parameter, decoded)) return Outcome::Good;
  seen.extended_is_good = true;
  disposition.filename = decoded;
  return Outcome::Good;
}

Outcome read_parameters(Bytes text, Backslash backslash, Disposition& disposition) {
  disposition = Disposition();
  ParameterReader reader(text, backslash);
  Parameter parameter;
  Seen seen;
  while (true) {
    const ParameterReader::Read read = reader.next(parameter);
    if (read == ParameterReader::Read::Malformed) return Outcome::Malformed;
    if (read == ParameterReader::Read::End) break;
    const Outcome outcome = take_parameter(parameter, backslash, seen, disposition);
    if (outcome != Outcome::Good) return outcome;
  }
  disposition.has_filename = seen.filename || seen.extended_is_good;
  return seen.name ? Outcome::Good : Outcome::Refused;
}

}  // namespace

bool parse_disposition(Bytes value, Disposition& disposition) {
  Bytes rest = value;
  if (!equals_folded(multipart::take_token(rest), "form-data")) return false;
  Outcome outcome = read_parameters(rest, Backslash::Escapes, disposition);
  if (outcome == Outcome::Malformed && rest.find('\\') != Bytes::npos) {
    outcome = read_parameters(rest, Backslash::IsText, disposition);
  }
  return outcome == Outcome::Good;
}

}  // namespace millrace
