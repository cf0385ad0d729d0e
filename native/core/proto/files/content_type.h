// Content types by file extension, and which of them are worth compressing. A fixed table of what
// the web serves; does not look into files.
#pragma once

#include "core/base/bytes.h"

namespace millrace::files {

constexpr Bytes kUnknownType = "application/octet-stream";

// By what follows the last dot of the last segment, in any case. Text comes with charset=utf-8. A
// dot that begins the name begins no extension.
[[nodiscard]] Bytes content_type_of(Bytes path);

// Of a content type, with parameters or without. False for what is compressed already, for what is
// unknown, and for text/event-stream, whose events must not wait for a compressor's block.
[[nodiscard]] bool is_compressible(Bytes content_type);

}  // namespace millrace::files
