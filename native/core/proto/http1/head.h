// Request-head parser. Stateless, over one span; allocates nothing; never reads past the span.
//
// The contract is picohttpparser's: > 0 bytes consumed, -1 broken, -2 need more; `last_length` is
// what was offered by the previous call that answered -2 (0 at first), so that a slow client costs
// no quadratic rescan. Ours is strict where that family is lax: RFC 9112 2-5 to the letter.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/model/error.h"
#include "core/model/head.h"

namespace millrace::http1 {

constexpr int kBroken = -1;
constexpr int kNeedMore = -2;

struct HeadLimits {
  size_t header_bytes_max;        // the whole head with its empty line; not a skipped leading CRLF
  size_t header_count_max;        // field lines
  size_t request_line_bytes_max;  // without its CRLF
};

// Strict: CRLF only, no obs-fold, no space before the colon, one SP between the parts of the
// request line, token methods of any kind (up to 255 bytes), targets of visible ASCII without '#'
// in one of the four forms, no control bytes, no empty names (RFC 9112 2-5).
//
// `fields` has room for header_count_max. On kBroken `error` says why (BadRequestLine, BadHeader,
// UriTooLong, HeadersTooLarge, VersionNotSupported). A head that outgrows either byte limit inside
// its request line is UriTooLong. One leading empty line (CRLF) is skipped and counted as consumed
// (RFC 9112 2.2).
//
// Every prefix of a broken head answers kNeedMore or kBroken; once broken, every longer input is
// broken with the same error: the first offending byte decides, whatever comes in which read.
[[nodiscard]] int parse_request_head(Bytes input, size_t last_length, const HeadLimits& limits,
                                     RequestHead& head, HeaderField* fields, ErrorCode& error);
// The same without SIMD; the differential tests and the fuzzer compare both.
[[nodiscard]] int parse_request_head_scalar(Bytes input, size_t last_length,
                                            const HeadLimits& limits, RequestHead& head,
                                            HeaderField* fields, ErrorCode& error);
// Parses header lines up to and including the empty line (trailers). Same answers; header_bytes_max
// bounds the section, empty line included, so it must be at least 2 for any to pass.
[[nodiscard]] int parse_fields(Bytes input, size_t last_length, const HeadLimits& limits,
                               HeaderField* fields, uint32_t& count, ErrorCode& error);

// Whether a request line of that method may hold the target (RFC 9112 3.2).
[[nodiscard]] bool is_request_target(Bytes method, Bytes target);
// Whether a field line may hold the value (RFC 9110 5.5).
[[nodiscard]] bool is_field_value(Bytes value);

}  // namespace millrace::http1
