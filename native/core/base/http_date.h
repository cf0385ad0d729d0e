// HTTP-date, RFC 9110 5.6.7: written in one form, read in all three. Knows no time zones and no
// clock; the time is passed in.
#pragma once

#include "core/base/bytes.h"
#include "core/base/clock.h"

namespace millrace {

constexpr size_t kHttpDateBytes = 29;  // "Sat, 21 Nov 2026 05:00:00 GMT"
constexpr UnixSeconds kNoDate = -1;
constexpr UnixSeconds kHttpDateLast = 253402300799;  // the last second of the year 9999

// Writes kHttpDateBytes of IMF-fixdate. Times outside the years 1970 to 9999 are taken for the
// nearest second inside.
void write_http_date(UnixSeconds at, char* out);

// kNoDate when malformed. A date before 1970 is 0: still older than whatever it is compared with.
// `now` settles the century of the RFC 850 form. The name of the weekday must be one, but need not
// be the right one.
[[nodiscard]] UnixSeconds parse_http_date(Bytes text, UnixSeconds now);

}  // namespace millrace
