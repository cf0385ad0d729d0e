// Parser of SCGI's request heads: a netstring of variables. Stateless, over one span; allocates
// nothing; never reads past the span. What the variables mean is session.cpp's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"
#include "core/model/error.h"

namespace millrace::scgi {

struct ScgiLimits {
  size_t block_bytes_max;  // of the variables: what the netstring's length says
  size_t variable_count_max;
};

struct ScgiHead {
  Bytes block;                  // "name\0value\0" each
  uint64_t content_length = 0;  // below 2^53
};

// The contract of http1::parse_request_head(): > 0 bytes consumed, kBroken with `error`, kNeedMore;
// once broken, every longer input is broken with the same error. BadScgi but for HeadersTooLarge
// and BodyTooLarge.
//
// Strict: a length without leading zeros, CONTENT_LENGTH first and a plain decimal, SCGI=1, no name
// empty or twice, NUL behind each name and value, a comma. The length and the first variable are
// judged as they come, the rest when it is there, so that no byte is looked at often.
[[nodiscard]] int parse_scgi_head(Bytes input, const ScgiLimits& limits, ScgiHead& head,
                                  ErrorCode& error);

struct Variable {
  Bytes name;
  Bytes value;
};

// Takes the first variable off what is left of a block that has been parsed.
[[nodiscard]] Variable take_variable(Bytes& block);

}  // namespace millrace::scgi
