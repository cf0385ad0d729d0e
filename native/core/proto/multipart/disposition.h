// Content-Disposition of a form's part (RFC 7578 4.2, RFC 6266, RFC 8187), as browsers write it.
#pragma once

#include <string>

#include "core/base/bytes.h"

namespace millrace {

struct Disposition {
  std::string name;      // bytes, as a rule UTF-8; may be empty
  std::string filename;  // bytes as sent, a path and ".." included; may be empty
  bool has_filename = false;
};

// False when the value is malformed, is not of form-data, has no name, or repeats name, filename or
// filename*. A readable filename* (UTF-8 or ISO-8859-1; its result is UTF-8) stands above filename;
// one that cannot be read counts as absent. In name and filename exactly %22, %0D and %0A are
// decoded (WHATWG HTML 4.10.21.8).
[[nodiscard]] bool parse_disposition(Bytes value, Disposition& disposition);

}  // namespace millrace
