// Reads "; name=value" parameters of Content-Type and Content-Disposition (RFC 9110 5.6.6). Does
// not know what a parameter means. Internal to this folder.
#pragma once

#include <cstdint>

#include "core/base/bytes.h"

namespace millrace::multipart {

// What a backslash in a quoted string is: RFC 9110 5.6.4 has escapes; browsers write their names as
// they are (WHATWG HTML 4.10.21.8), so that one may end in a backslash.
enum class Backslash : uint8_t { Escapes, IsText };

struct Parameter {
  Bytes name;
  Bytes value;  // as written, without the quotes
  bool has_value = false;
  bool is_quoted = false;
};

// Owned by: who parses a field value. Views into that value.
class ParameterReader final {
 public:
  ParameterReader(Bytes text, Backslash backslash) : text_(text), backslash_(backslash) {}

  enum class Read : uint8_t { Found, End, Malformed };
  // `text` is what follows the media or disposition type. Empty parameters are passed over; one
  // without "=" has no value. An unquoted value reaches to white space or ";": which bytes it may
  // hold is the caller's to say.
  [[nodiscard]] Read next(Parameter& parameter);

 private:
  [[nodiscard]] bool read_quoted(Parameter& parameter);

  Bytes text_;
  Backslash backslash_;
};

// True where `text` begins with a backslash that stands for the byte after it. Before other bytes a
// backslash is text: old browsers send whole paths.
[[nodiscard]] bool is_escape(Bytes text, Backslash backslash);

// The token at the front; removes it.
[[nodiscard]] Bytes take_token(Bytes& text);

}  // namespace millrace::multipart
