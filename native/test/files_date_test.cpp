// HTTP-date against known instants, against the C library's calendar, and with every byte wrong.
#include <cstdint>
#include <ctime>
#include <string>

#include "core/base/http_date.h"
#include "test/harness.h"

namespace {

using millrace::kHttpDateBytes;
using millrace::kHttpDateLast;
using millrace::kNoDate;
using millrace::parse_http_date;
using millrace::UnixSeconds;

constexpr UnixSeconds kThen = 784111777;  // the instant of RFC 9110's examples
constexpr UnixSeconds kNow = 1795237200;  // 2026-11-21 05:00:00
constexpr UnixSeconds kDay = 86400;

std::string written(UnixSeconds at) {
  std::string text(kHttpDateBytes, '?');
  millrace::write_http_date(at, text.data());
  return text;
}

TEST("the three forms of a date are one instant") {
  EXPECT(written(kThen) == "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT", kNow) == kThen);
  EXPECT(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT", kNow) == kThen);
  EXPECT(parse_http_date("Sun Nov  6 08:49:37 1994", kNow) == kThen);
  EXPECT(parse_http_date("Wed Nov 16 08:49:37 1994", kNow) == kThen + 10 * kDay);
}

TEST("what is written is what the C library writes, and reads back") {
  // 97 days and a bit: every weekday, month and hour comes by within the 8 000 years.
  for (UnixSeconds at = 0; at <= kHttpDateLast; at += 97 * kDay + 3671) {
    const std::time_t time = static_cast<std::time_t>(at);
    std::tm parts{};
    gmtime_r(&time, &parts);
    char wanted[64];
    char classic[64];
    std::strftime(wanted, sizeof(wanted), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    std::strftime(classic, sizeof(classic), "%a %b %e %H:%M:%S %Y", &parts);
    millrace::test::context = wanted;
    if (!EXPECT(written(at) == wanted)) return;
    if (!EXPECT(parse_http_date(wanted, kNow) == at)) return;
    if (!EXPECT(parse_http_date(classic, kNow) == at)) return;
  }
}

TEST("each day around the ends of years is written right") {
  for (int64_t year = 1970; year < 2500; year++) {
    for (int64_t day = -1; day < 61; day++) {
      const UnixSeconds at = ((year - 1970) * 146097 / 400 + day) * kDay;
      if (at < 0) continue;
      millrace::test::context = written(at);
      if (!EXPECT(parse_http_date(written(at), kNow) == at)) return;
      if (!EXPECT(parse_http_date(written(at + kDay - 1), kNow) == at + kDay - 1)) return;
    }
  }
}

TEST("times outside the years 1970 to 9999 are written as the nearest second inside") {
  EXPECT(written(-1) == "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT(written(INT64_MIN) == "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT(written(kHttpDateLast) == "Fri, 31 Dec 9999 23:59:59 GMT");
  EXPECT(written(kHttpDateLast + 1) == "Fri, 31 Dec 9999 23:59:59 GMT");
  EXPECT(written(INT64_MAX) == "Fri, 31 Dec 9999 23:59:59 GMT");
}

TEST("a date before 1970 is the oldest one, not a malformed one") {
  EXPECT(parse_http_date("Wed, 31 Dec 1969 23:59:59 GMT", kNow) == 0);
  EXPECT(parse_http_date("Sat, 01 Jan 0000 00:00:00 GMT", kNow) == 0);
  EXPECT(parse_http_date("Tue, 30 Feb 1965 00:00:00 GMT", kNow) == kNoDate);
}

TEST("two digits of a year mean at most 50 years from now, to the second") {
  // 2076-11-21 05:00:00 is 50 years after kNow.
  EXPECT(written(parse_http_date("Saturday, 21-Nov-76 05:00:00 GMT", kNow)).substr(12, 4) ==
         "2076");
  EXPECT(written(parse_http_date("Sunday, 21-Nov-76 05:00:01 GMT", kNow)).substr(12, 4) == "1976");
  EXPECT(written(parse_http_date("Sunday, 22-Nov-76 00:00:00 GMT", kNow)).substr(12, 4) == "1976");
  EXPECT(written(parse_http_date("Sunday, 01-Dec-76 00:00:00 GMT", kNow)).substr(12, 4) == "1976");
  EXPECT(written(parse_http_date("Sunday, 31-Oct-76 09:00:00 GMT", kNow)).substr(12, 4) == "2076");
  EXPECT(written(parse_http_date("Sunday, 21-Nov-77 05:00:00 GMT", kNow)).substr(12, 4) == "1977");
  EXPECT(written(parse_http_date("Sunday, 21-Nov-26 05:00:00 GMT", kNow)).substr(12, 4) == "2026");
  EXPECT(written(parse_http_date("Sunday, 21-Nov-00 05:00:00 GMT", kNow)).substr(12, 4) == "2000");
  const UnixSeconds in2095 = 3944678400;
  EXPECT(written(parse_http_date("Sunday, 21-Nov-05 05:00:00 GMT", in2095)).substr(12, 4) ==
         "2105");
  EXPECT(parse_http_date("Thursday, 29-Feb-24 05:00:00 GMT", kNow) != kNoDate);
  EXPECT(parse_http_date("Thursday, 29-Feb-23 05:00:00 GMT", kNow) == kNoDate);
  for (const UnixSeconds now : {UnixSeconds{INT64_MIN}, UnixSeconds{0}, UnixSeconds{INT64_MAX}}) {
    EXPECT(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT", now) >= 0);
  }
}

TEST("a day is in its month and a time in its day") {
  const auto with = [](const char* day, const char* month, const char* year, const char* time) {
    return parse_http_date(
               std::string("Mon, ") + day + " " + month + " " + year + " " + time + " GMT", kNow) !=
           kNoDate;
  };
  EXPECT(with("31", "Jan", "2023", "00:00:00") && !with("32", "Jan", "2023", "00:00:00"));
  EXPECT(with("30", "Apr", "2023", "00:00:00") && !with("31", "Apr", "2023", "00:00:00"));
  EXPECT(with("28", "Feb", "2023", "00:00:00") && !with("29", "Feb", "2023", "00:00:00"));
  EXPECT(with("29", "Feb", "2024", "00:00:00") && !with("30", "Feb", "2024", "00:00:00"));
  EXPECT(with("29", "Feb", "2000", "00:00:00") && !with("29", "Feb", "2100", "00:00:00"));
  EXPECT(with("31", "Dec", "2023", "00:00:00") && !with("32", "Dec", "2023", "00:00:00"));
  EXPECT(!with("00", "Jan", "2023", "00:00:00"));
  EXPECT(with("01", "Jan", "2023", "23:59:59"));
  EXPECT(!with("01", "Jan", "2023", "24:00:00"));
  EXPECT(!with("01", "Jan", "2023", "00:60:00"));
  EXPECT(!with("01", "Jan", "2023", "00:00:61"));
}

TEST("a leap second is the first of the next minute") {
  EXPECT(parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT", kNow) == 1483228800);
}

TEST("the wrong weekday is forgiven") {
  EXPECT(parse_http_date("Mon, 06 Nov 1994 08:49:37 GMT", kNow) == kThen);
}

TEST("whatever is not one of the three forms is no date") {
  const char* const texts[] = {
      "",
      "0",
      "-1",
      "now",
      "1994-11-06T08:49:37Z",
      "Sun, 6 Nov 1994 08:49:37 GMT",
      "Sun, 06 nov 1994 08:49:37 GMT",
      "sun, 06 Nov 1994 08:49:37 GMT",
      "Sun, 06 Nov 1994 08:49:37 gmt",
      "Sun, 06 Nov 1994 08:49:37 UTC",
      "Sun, 06 Nov 1994 08:49:37 +0000",
      "Sun, 06 Nov 1994 08:49:37",
      "Sun, 06 Nov 94 08:49:37 GMT",
      "Sun,  06 Nov 1994 08:49:37 GMT",
      " Sun, 06 Nov 1994 08:49:37 GMT",
      "Sun, 06 Nov 1994 08:49:37 GMT ",
      "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
      "Sun, 06 Nov 1994 8:49:37 GMT",
      "Sun, +6 Nov 1994 08:49:37 GMT",
      "Sun, 06-Nov-94 08:49:37 GMT",
      "Sunday, 06 Nov 1994 08:49:37 GMT",
      "Sunday, 06-Nov-1994 08:49:37 GMT",
      "Sun Nov 6 08:49:37 1994",
      "Sun Nov 06 08:49:37 1994 GMT",
      "Sun Nov   6 08:49:37 1994",
  };
  for (const char* text : texts) {
    millrace::test::context = text;
    EXPECT(parse_http_date(text, kNow) == kNoDate);
  }
}

TEST("a date cut anywhere, or with one byte replaced by a letter, is no date") {
  for (const std::string text : {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                 "Sun Nov  6 08:49:37 1994"}) {
    for (size_t i = 0; i < text.size(); i++) {
      millrace::test::context = text + " at " + std::to_string(i);
      EXPECT(parse_http_date(std::string(text, 0, i), kNow) == kNoDate);
      std::string other = text;
      other[i] = 'q';
      EXPECT(parse_http_date(other, kNow) == kNoDate);
    }
  }
}

}  // namespace
