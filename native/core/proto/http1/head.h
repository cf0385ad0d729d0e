// Request-head parser. Stateless, over one span; allocates nothing; never reads past the span.
//
// The contract is picohttpparser's: > 0 bytes consumed, -1 broken, -2 need more; `last_length` is what was offered
// by the previous call that answered -2 (0 at first), so that a slow client costs no quadratic rescan.
// Ours is strict where that family is lax: CRLF only, no obs-fold, no space before the colon, one SP between the
// parts of the request line, token methods of any kind, no control bytes, no empty names (RFC 9112 2-5).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/model/error.h"
#include "core/model/head.h"

namespace millrace::http1 {

constexpr int kBroken = -1;
constexpr int kNeedMore = -2;

struct HeadLimits {
  size_t header_bytes_max;
  size_t header_count_max;
  size_t request_line_bytes_max;
};

// `fields` has room for header_count_max. On kBroken `error` says why (BadRequestLine, BadHeader, UriTooLong,
// HeadersTooLarge, VersionNotSupported). One leading empty line (CRLF) is skipped and counted as consumed (RFC 9112 2.2).
// Every prefix of a broken head answers kNeedMore or kBroken; once broken, every longer input is broken
// with the same error.
[[nodiscard]] int parse_request_head(Bytes input, size_t last_length, const HeadLimits& limits, RequestHead& head,
                                     HeaderField* fields, ErrorCode& error);
// The same without SIMD; the differential tests and the fuzzer compare both.
[[nodiscard]] int parse_request_head_scalar(Bytes input, size_t last_length, const HeadLimits& limits, RequestHead& head,
                                            HeaderField* fields, ErrorCode& error);
// Parses header lines up to and including the empty line (trailers). Same answers.
[[nodiscard]] int parse_fields(Bytes input, size_t last_length, const HeadLimits& limits, HeaderField* fields,
                               uint32_t& count, ErrorCode& error);

}  // namespace millrace::http1
