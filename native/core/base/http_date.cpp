#include "core/base/http_date.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <tuple>

namespace millrace {
namespace {

constexpr int64_t kDaySeconds = 86400;
// From Thursday on, as 1970 began.
constexpr std::array<Bytes, 7> kWeekdays = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
constexpr std::array<Bytes, 7> kLongWeekdays = {"Thursday", "Friday",  "Saturday", "Sunday",
                                                "Monday",   "Tuesday", "Wednesday"};
constexpr std::array<Bytes, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
// Days of an ordinary year before each month.
constexpr std::array<int64_t, 13> kDaysBefore = {0,   31,  59,  90,  120, 151, 181,
                                                 212, 243, 273, 304, 334, 365};

struct Moment {
  int64_t year = 0;
  size_t month = 0;    // 0 to 11
  int64_t day = 0;     // from 1
  int64_t second = 0;  // of the day
};

bool is_leap_year(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

// Days from the start of the year `year` and its months before `month`.
int64_t days_before_month(int64_t year, size_t month) {
  return kDaysBefore[month] + (month > 1 && is_leap_year(year) ? 1 : 0);
}

// Days from 1970-01-01 to the first of January; year >= 1.
int64_t days_before_year(int64_t year) {
  const int64_t past = year - 1;
  constexpr int64_t kLeapDaysBefore1970 = 1969 / 4 - 1969 / 100 + 1969 / 400;
  return 365 * (year - 1970) + past / 4 - past / 100 + past / 400 - kLeapDaysBefore1970;
}

Moment moment_of(UnixSeconds at) {
  const int64_t days = at / kDaySeconds;
  Moment moment;
  moment.second = at % kDaySeconds;
  moment.year = 1970 + days * 400 / 146097;  // by the mean length of a year: at most one off
  while (days_before_year(moment.year) > days) moment.year--;
  while (days_before_year(moment.year + 1) <= days) moment.year++;
  const int64_t day = days - days_before_year(moment.year);
  moment.month = 11;
  while (days_before_month(moment.year, moment.month) > day) moment.month--;
  moment.day = day - days_before_month(moment.year, moment.month) + 1;
  return moment;
}

// kNoDate when the month has no such day.
UnixSeconds seconds_of(const Moment& moment) {
  const int64_t start = days_before_month(moment.year, moment.month);
  const int64_t end = days_before_month(moment.year, moment.month + 1);
  if (moment.day < 1 || moment.day > end - start) return kNoDate;
  if (moment.year < 1970) return 0;
  return (days_before_year(moment.year) + start + moment.day - 1) * kDaySeconds + moment.second;
}

char* put_two_digits(char* out, int64_t value) {
  out[0] = static_cast<char>('0' + value / 10);
  out[1] = static_cast<char>('0' + value % 10);
  return out + 2;
}

char* put(char* out, Bytes text) {
  std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

// ── reading: each takes its piece off the front, or returns false ──

bool take(Bytes& rest, Bytes text) {
  if (rest.substr(0, text.size()) != text) return false;
  rest.remove_prefix(text.size());
  return true;
}

bool take_name(Bytes& rest, std::span<const Bytes> names, size_t& index) {
  for (index = 0; index < names.size(); index++) {
    if (take(rest, names[index])) return true;
  }
  return false;
}

bool take_digits(Bytes& rest, size_t count, int64_t& value) {
  uint64_t number = 0;
  if (rest.size() < count || !parse_decimal(rest.substr(0, count), number)) return false;
  rest.remove_prefix(count);
  value = static_cast<int64_t>(number);
  return true;
}

// hh:mm:ss; a leap second counts as the first of the next minute.
bool take_clock(Bytes& rest, int64_t& second) {
  int64_t hours = 0;
  int64_t minutes = 0;
  int64_t seconds = 0;
  if (!take_digits(rest, 2, hours) || !take(rest, ":") || !take_digits(rest, 2, minutes) ||
      !take(rest, ":") || !take_digits(rest, 2, seconds)) {
    return false;
  }
  second = hours * 3600 + minutes * 60 + seconds;
  return hours < 24 && minutes < 60 && seconds <= 60;
}

// Behind the weekday: ", 06 Nov 1994 08:49:37 GMT".
bool read_fixdate(Bytes rest, Moment& moment) {
  return take(rest, ", ") && take_digits(rest, 2, moment.day) && take(rest, " ") &&
         take_name(rest, kMonths, moment.month) && take(rest, " ") &&
         take_digits(rest, 4, moment.year) && take(rest, " ") && take_clock(rest, moment.second) &&
         rest == " GMT";
}

// Behind the weekday: " Nov  6 08:49:37 1994".
bool read_asctime(Bytes rest, Moment& moment) {
  if (!take(rest, " ") || !take_name(rest, kMonths, moment.month) || !take(rest, " ")) return false;
  const size_t digits = take(rest, " ") ? 1 : 2;
  return take_digits(rest, digits, moment.day) && take(rest, " ") &&
         take_clock(rest, moment.second) && take(rest, " ") && take_digits(rest, 4, moment.year) &&
         rest.empty();
}

// The last year that ends in these two digits and is no more than 50 years ahead.
void settle_century(Moment& moment, UnixSeconds now) {
  const Moment present = moment_of(std::clamp<UnixSeconds>(now, 0, kHttpDateLast));
  const auto in_year = std::tie(moment.month, moment.day, moment.second);
  const bool later = in_year > std::tie(present.month, present.day, present.second);
  const int64_t last = present.year + 50 - (later ? 1 : 0);
  moment.year += last / 100 * 100;
  if (moment.year > last) moment.year -= 100;
}

// Behind the weekday: ", 06-Nov-94 08:49:37 GMT".
bool read_rfc850(Bytes rest, UnixSeconds now, Moment& moment) {
  if (!take(rest, ", ") || !take_digits(rest, 2, moment.day) || !take(rest, "-") ||
      !take_name(rest, kMonths, moment.month) || !take(rest, "-") ||
      !take_digits(rest, 2, moment.year) || !take(rest, " ") || !take_clock(rest, moment.second) ||
      rest != " GMT") {
    return false;
  }
  settle_century(moment, now);
  return true;
}

}  // namespace

void write_http_date(UnixSeconds at, char* out) {
  at = std::clamp<UnixSeconds>(at, 0, kHttpDateLast);
  const Moment moment = moment_of(at);
  out = put(out, kWeekdays[static_cast<size_t>(at / kDaySeconds % 7)]);
  out = put(out, ", ");
  out = put_two_digits(out, moment.day);
  *out++ = ' ';
  out = put(out, kMonths[moment.month]);
  *out++ = ' ';
  out = put_two_digits(out, moment.year / 100);
  out = put_two_digits(out, moment.year % 100);
  *out++ = ' ';
  out = put_two_digits(out, moment.second / 3600);
  *out++ = ':';
  out = put_two_digits(out, moment.second / 60 % 60);
  *out++ = ':';
  out = put_two_digits(out, moment.second % 60);
  put(out, " GMT");
}

UnixSeconds parse_http_date(Bytes text, UnixSeconds now) {
  Moment moment;
  size_t weekday = 0;
  Bytes rest = text;
  if (take_name(rest, kLongWeekdays, weekday)) {
    return read_rfc850(rest, now, moment) ? seconds_of(moment) : kNoDate;
  }
  if (!take_name(rest, kWeekdays, weekday)) return kNoDate;
  const bool known =
      rest.substr(0, 1) == "," ? read_fixdate(rest, moment) : read_asctime(rest, moment);
  return known ? seconds_of(moment) : kNoDate;
}

}  // namespace millrace
