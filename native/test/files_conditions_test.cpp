// Conditional requests: each field alone, all in the precedence of RFC 9110 13.2.2, and ranges on
// top.
#include "core/proto/files/conditions.h"

#include <string>

#include "core/base/http_date.h"
#include "test/harness.h"

namespace {

using millrace::Method;
using millrace::UnixSeconds;
using namespace millrace::files;

constexpr UnixSeconds kNow = 1795237200;
constexpr UnixSeconds kChanged = 784111777;
constexpr const char* kSame = "Sun, 06 Nov 1994 08:49:37 GMT";
constexpr const char* kBefore = "Sun, 06 Nov 1994 08:49:36 GMT";
constexpr const char* kAfter = "Sun, 06 Nov 1994 08:49:38 GMT";
constexpr const char* kBad = "yesterday";

Representation representation_at(int64_t mtime_ns, UnixSeconds now) {
  return {.size = 100,
          .mtime_ns = mtime_ns,
          .tag = make_entity_tag({.size = 100, .mtime_ns = mtime_ns, .inode = 3},
                                 Encoding::Identity, now)};
}

// Half a second past what Last-Modified says, as files are.
const Representation kFile = representation_at(kChanged * 1'000'000'000 + 500'000'000, kNow);
const std::string kTag(kFile.tag.text());
const std::string kWeakTag = "W/" + kTag;
const std::string kOther = "\"other\"";

int status_of(const Conditions& conditions, Method method = Method::Get) {
  return verdict_status(evaluate(conditions, kFile, method, kNow).verdict);
}

TEST("without conditions everything is sent") {
  for (Method method : {Method::Get, Method::Head, Method::Post, Method::Other}) {
    EXPECT(status_of({}, method) == 200);
  }
}

TEST("If-Match compares strongly") {
  EXPECT(status_of({.if_match = kTag}) == 200);
  EXPECT(status_of({.if_match = "*"}) == 200);
  EXPECT(status_of({.if_match = kOther}) == 412);
  EXPECT(status_of({.if_match = kWeakTag}) == 412);
  EXPECT(status_of({.if_match = "nonsense"}) == 412);
  const std::string list = kOther + ", " + kTag;
  EXPECT(status_of({.if_match = list}) == 200);
  EXPECT(status_of({.if_match = kOther}, Method::Head) == 412);
  EXPECT(status_of({.if_match = kOther}, Method::Post) == 412);
}

TEST("If-None-Match compares weakly") {
  EXPECT(status_of({.if_none_match = kTag}) == 304);
  EXPECT(status_of({.if_none_match = kWeakTag}) == 304);
  EXPECT(status_of({.if_none_match = "*"}) == 304);
  EXPECT(status_of({.if_none_match = kOther}) == 200);
  EXPECT(status_of({.if_none_match = "nonsense"}) == 200);
  const std::string list = "x, " + kOther + "," + kWeakTag;
  EXPECT(status_of({.if_none_match = list}) == 304);
  EXPECT(status_of({.if_none_match = kTag}, Method::Head) == 304);
  EXPECT(status_of({.if_none_match = kTag}, Method::Put) == 412);
  EXPECT(status_of({.if_none_match = "*"}, Method::Delete) == 412);
}

TEST("the dates compare whole seconds") {
  EXPECT(status_of({.if_modified_since = kSame}) == 304);
  EXPECT(status_of({.if_modified_since = kAfter}) == 304);
  EXPECT(status_of({.if_modified_since = kBefore}) == 200);
  EXPECT(status_of({.if_modified_since = kBad}) == 200);
  EXPECT(status_of({.if_modified_since = "Sunday, 06-Nov-94 08:49:37 GMT"}) == 304);
  EXPECT(status_of({.if_modified_since = "Sun Nov  6 08:49:37 1994"}) == 304);
  EXPECT(status_of({.if_modified_since = kSame}, Method::Head) == 304);
  EXPECT(status_of({.if_modified_since = kSame}, Method::Post) == 200);
  EXPECT(status_of({.if_unmodified_since = kSame}) == 200);
  EXPECT(status_of({.if_unmodified_since = kAfter}) == 200);
  EXPECT(status_of({.if_unmodified_since = kBefore}) == 412);
  EXPECT(status_of({.if_unmodified_since = kBad}) == 200);
  EXPECT(status_of({.if_unmodified_since = kBefore}, Method::Post) == 412);
  EXPECT(status_of({.if_unmodified_since = "Wed, 31 Dec 1969 23:59:59 GMT"}) == 412);
}

struct Row {
  const char* match;  // "": no field, "=": the tag, "!": another, else as it stands
  const char* unmodified;
  const char* none_match;
  const char* modified;
  int status;
};

TEST("the fields count in the order of RFC 9110 13.2.2") {
  const Row rows[] = {
      {"=", kBefore, "", "", 200},  // If-Unmodified-Since is not looked at
      {"!", kAfter, "", "", 412},        {"=", "", "=", "", 304},  // both hold their own
      {"!", "", "=", "", 412},                                     // If-Match first
      {"=", "", "!", "", 200},           {"", kBefore, "=", "", 412},
      {"", kAfter, "=", "", 304},        {"", kBad, "=", "", 304},
      {"", "", "!", kSame, 200},  // If-Modified-Since is not looked at
      {"", "", "=", kBefore, 304},       {"", "", "nonsense", kSame, 200},
      {"", kBefore, "", kSame, 412},     {"", kSame, "", kSame, 304},
      {"", kSame, "", kBefore, 200},     {"=", kBefore, "!", kSame, 200},
      {"=", kBefore, "=", kBefore, 304}, {"!", kAfter, "=", kSame, 412},
      {"*", kBefore, "*", kBefore, 304},
  };
  int number = 0;
  for (const Row& row : rows) {
    millrace::test::context = "row " + std::to_string(number++);
    const auto field = [](const char* text) -> std::string {
      if (std::string(text) == "=") return kTag;
      return std::string(text) == "!" ? kOther : text;
    };
    const std::string match = field(row.match);
    const std::string none_match = field(row.none_match);
    const Conditions conditions{.if_match = match,
                                .if_none_match = none_match,
                                .if_modified_since = row.modified,
                                .if_unmodified_since = row.unmodified};
    EXPECT(status_of(conditions) == row.status);
    EXPECT(status_of(conditions, Method::Head) == row.status);
    // A range is looked at last, and only where 200 would be.
    Conditions with_range = conditions;
    with_range.range = "bytes=0-0";
    EXPECT(status_of(with_range) == (row.status == 200 ? 206 : row.status));
    with_range.range = "bytes=100-";
    EXPECT(status_of(with_range) == (row.status == 200 ? 416 : row.status));
    EXPECT(status_of(with_range, Method::Head) == row.status);
  }
}

TEST("Range counts for GET alone") {
  const Conditions conditions{.range = "bytes=5-9,20-"};
  const Decision decision = evaluate(conditions, kFile, Method::Get, kNow);
  EXPECT(decision.verdict == Verdict::Partial && decision.ranges.count == 2);
  EXPECT((decision.ranges.ranges[0] == ByteRange{5, 9}));
  EXPECT((decision.ranges.ranges[1] == ByteRange{20, 99}));
  for (Method method : {Method::Head, Method::Post, Method::Put, Method::Other}) {
    EXPECT(status_of(conditions, method) == 200);
    EXPECT(status_of({.range = "bytes=100-"}, method) == 200);
  }
  EXPECT(status_of({.range = "bytes=100-"}) == 416);
  EXPECT(status_of({.range = "lines=1-"}) == 200);
}

TEST("If-Range lets a range through for the same strong tag or the same date") {
  const auto with = [](const std::string& if_range) {
    return status_of({.if_range = if_range, .range = "bytes=0-0"});
  };
  EXPECT(with(kTag) == 206);
  EXPECT(with(kSame) == 206);
  EXPECT(with("Sun Nov  6 08:49:37 1994") == 206);
  EXPECT(with(kWeakTag) == 200);
  EXPECT(with(kOther) == 200);
  EXPECT(with(kBefore) == 200);
  EXPECT(with(kAfter) == 200);
  EXPECT(with(kBad) == 200);
  EXPECT(with("*") == 200);
  EXPECT(with("\"") == 200);
  EXPECT(with(kTag + ", " + kTag) == 200);
  EXPECT(status_of({.if_range = kOther, .range = "bytes=100-"}) == 200);
  EXPECT(status_of({.if_range = kTag, .range = "bytes=100-"}) == 416);
  EXPECT(status_of({.if_range = kOther}) == 200);
  EXPECT(status_of({.if_range = kTag, .range = "bytes=0-0"}, Method::Head) == 200);
}

TEST("a file of this moment has no strong validator, so it is sent whole or not at all") {
  const Representation young = representation_at(kNow * 1'000'000'000, kNow);
  const std::string tag(young.tag.text());
  std::string date(millrace::kHttpDateBytes, ' ');
  millrace::write_http_date(kNow, date.data());
  const auto status = [&young](const Conditions& conditions, UnixSeconds now) {
    return verdict_status(evaluate(conditions, young, Method::Get, now).verdict);
  };
  EXPECT(tag.substr(0, 2) == "W/");
  EXPECT(status({.if_none_match = tag}, kNow) == 304);
  EXPECT(status({.if_modified_since = date}, kNow) == 304);
  EXPECT(status({.if_match = tag}, kNow) == 412);
  EXPECT(status({.if_match = "*"}, kNow) == 200);
  EXPECT(status({.range = "bytes=0-0"}, kNow) == 206);
  EXPECT(status({.if_range = tag, .range = "bytes=0-0"}, kNow) == 200);
  EXPECT(status({.if_range = date, .range = "bytes=0-0"}, kNow + 1) == 200);
  EXPECT(status({.if_range = date, .range = "bytes=0-0"}, kNow + 2) == 206);
}

}  // namespace
