// From the tail of a target to a path below a served folder. Pure text: what the path leads to
// (links, kinds of files) is for who opens it. RFC 3986 2.1, 3.3.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/bytes.h"

namespace millrace::files {

constexpr size_t kPathBytesMax = 4095;        // PATH_MAX of Linux without its NUL
constexpr size_t kPathSegmentBytesMax = 255;  // NAME_MAX

// What becomes of segments that begin with "."; ".well-known" (RFC 8615) is allowed always, what
// lies in it is not.
enum class DotfilePolicy : uint8_t { Ignore, Deny, Allow };

enum class PathVerdict : uint8_t {
  File,       // may be a folder, too: then a redirect with "/" is due
  Folder,     // the target ends with "/", or is empty
  Malformed,  // 400: "%" without two digits, controls (NUL too), plain or escaped
  NotFound,   // 404: no file can have this name, or none that is shown
  Forbidden,  // 403: DotfilePolicy::Deny
};

[[nodiscard]] uint16_t path_status(PathVerdict verdict);  // 200 for File and Folder

// `tail` is the raw target behind the route's prefix, without the query. Decodes once. `out`
// becomes a relative path, "a/b" without slashes at its ends, "" for the folder itself.
//
// - NotFound: "." and ".." segments, plain or escaped (clients resolve them before they send; those
//   that do not, mean no good), %2F (a slash inside a name), names and paths over the limits.
// - Empty segments collapse, as with nginx's merge_slashes: "//a///b" is "a/b".
// - A backslash is a character like others, as it is on POSIX. A port to Windows must refuse it.
// - Bytes need not be UTF-8; file names need not either.
[[nodiscard]] PathVerdict resolve_path(Bytes tail, DotfilePolicy dotfiles, std::string& out);

}  // namespace millrace::files
