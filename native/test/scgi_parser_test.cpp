// SCGI's netstring: what is taken, what is refused, each at every place where reads may end.
#include "core/proto/scgi/parser.h"

#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/proto/http1/head.h"
#include "test/scgi_rig.h"

namespace millrace::test {

namespace {

using http1::kBroken;
using http1::kNeedMore;
using scgi::parse_scgi_head;
using scgi::ScgiHead;
using scgi::ScgiLimits;
using scgi::take_variable;

constexpr ScgiLimits kLimits{.block_bytes_max = 16384, .variable_count_max = 164};

struct Verdict {
  int result = 0;
  ErrorCode error = ErrorCode::None;
  bool operator==(const Verdict&) const = default;
};

// From memory of exactly that size, so that a sanitizer sees one byte too many.
Verdict parse(Bytes input, const ScgiLimits& limits = kLimits) {
  const std::unique_ptr<char[]> copy(new char[input.size()]);
  if (!input.empty()) std::memcpy(copy.get(), input.data(), input.size());
  ScgiHead head;
  Verdict verdict;
  verdict.result = parse_scgi_head(Bytes(copy.get(), input.size()), limits, head, verdict.error);
  return verdict;
}

// Where a broken head is known to be broken; the size of the input when it is not.
size_t place_of(const std::string& input, Verdict wanted, const ScgiLimits& limits = kLimits) {
  size_t place = input.size() + 1;
  for (size_t size = 0; size <= input.size(); size++) {
    context = "cut at " + std::to_string(size);
    const Verdict verdict = parse(Bytes(input).substr(0, size), limits);
    if (verdict.result == kNeedMore) {
      EXPECT(place > input.size() && verdict.error == ErrorCode::None);
      continue;
    }
    EXPECT(verdict == wanted);
    place = std::min(place, size);
  }
  context.clear();
  return place;
}

void expect_broken(const std::string& input, ErrorCode error = ErrorCode::BadScgi,
                   const ScgiLimits& limits = kLimits) {
  const std::string shown = input.substr(0, 60);
  const size_t place = place_of(input, {kBroken, error}, limits);
  context = shown;
  EXPECT(place <= input.size());
  context.clear();
}

void expect_good(const std::string& input, const ScgiLimits& limits = kLimits) {
  const auto size = static_cast<int>(input.size());
  EXPECT(place_of(input, {size, ErrorCode::None}, limits) == input.size());
  EXPECT(parse(input + "more", limits).result == size);
}

const std::string kFirst = block_of({{"CONTENT_LENGTH", "5"}});
const std::string kStart = block_of({{"CONTENT_LENGTH", "5"}, {"SCGI", "1"}});

TEST("a netstring yields its block and the length of the body") {
  const std::string block = kStart + block_of({{"A", ""}, {"B", "c d"}});
  const std::string input = netstring(block) + "hello";
  ScgiHead head;
  ErrorCode error = ErrorCode::None;
  EXPECT(parse_scgi_head(input, kLimits, head, error) == static_cast<int>(input.size() - 5));
  EXPECT(head.block == block && head.content_length == 5);
  Bytes rest = head.block;
  EXPECT(take_variable(rest).name == "CONTENT_LENGTH");
  EXPECT(take_variable(rest).value == "1");
  scgi::Variable variable = take_variable(rest);
  EXPECT(variable.name == "A" && variable.value.empty());
  variable = take_variable(rest);
  EXPECT(variable.name == "B" && variable.value == "c d" && rest.empty());
}

TEST("good heads are taken at their last byte, whatever is behind it") {
  expect_good(netstring(kStart));
  expect_good(netstring(block_of({{"CONTENT_LENGTH", "0"}, {"SCGI", "1"}})));
  expect_good(netstring(kFirst + block_of({{"A", "1"}, {"SCGI", "1"}, {"AA", "SCGI"}})));
  expect_good(netstring(kStart + block_of({{"A", "\r\n\x01\xff"}, {"a", ""}, {",", ":"}})));
}

TEST("a length is digits without leading zeros, and a colon") {
  for (const char* start : {"x", ":", "-1:", "+1:", " 62:", "0:", "00:", "062:", "12x",
                            "6 2:", "0x", "GET / HTTP/1.1", "\r\n", ","}) {
    expect_broken(start + kStart + ",");
  }
  EXPECT(place_of("12x", {kBroken, ErrorCode::BadScgi}) == 3);
  // Too short for any.
  EXPECT(place_of("23:" + kStart.substr(0, 23) + ",", {kBroken, ErrorCode::BadScgi}) == 3);
  EXPECT(place_of("24:" + kStart.substr(0, 20), {}) > 20);
}

TEST("the netstring's length is bounded by its digits alone") {
  const ScgiLimits limits{.block_bytes_max = 300, .variable_count_max = 10};
  const std::string filler(300 - kStart.size() - 3, 'x');
  expect_good(netstring(kStart + block_of({{"A", filler}})), limits);
  expect_good(netstring(kStart + block_of({{"A", filler.substr(1)}})), limits);
  EXPECT(place_of("301", {kBroken, ErrorCode::HeadersTooLarge}, limits) == 3);
  EXPECT(place_of("99999999999999999999:", {kBroken, ErrorCode::HeadersTooLarge}, limits) == 3);
  EXPECT(place_of("65537", {kBroken, ErrorCode::HeadersTooLarge}, {1 << 20, 10}) == 5);
  EXPECT(parse("65536", {1 << 20, 10}).result == kNeedMore);
}

TEST("CONTENT_LENGTH is first, and judged as it comes") {
  expect_broken(netstring(block_of({{"SCGI", "1"}, {"CONTENT_LENGTH", "5"}})));
  expect_broken(netstring(block_of({{"SCGI", "1"}, {"REQUEST_METHOD", "GET"}})));
  expect_broken(netstring(block_of({{"CONTENT_LENGTHS", "5"}, {"SCGI", "1"}})));
  expect_broken(netstring(block_of({{"content_length", "5"}, {"SCGI", "1"}})));
  EXPECT(place_of("62:CONTENT-LENGTH", {kBroken, ErrorCode::BadScgi}) == 11);
  for (const char* value : {"", "05", "00", "-1", "+1", " 5", "5 ", "5a", "0x5", "1,2"}) {
    expect_broken(netstring(block_of({{"CONTENT_LENGTH", value}, {"SCGI", "1"}, {"A", "long"}})));
  }
  // It goes on behind the end of the block.
  expect_broken("24:" + block_of({{"CONTENT_LENGTH", "123456789"}}).substr(0, 24) + "," + kStart);
}

TEST("a body's length is what JavaScript can count") {
  const auto with = [](Bytes length) {
    return netstring(block_of({{"CONTENT_LENGTH", length}, {"SCGI", "1"}}));
  };
  expect_good(with("9007199254740991"));
  expect_broken(with("9007199254740992"), ErrorCode::BodyTooLarge);
  expect_broken(with("99999999999999999999999999"), ErrorCode::BodyTooLarge);
}

TEST("SCGI=1 is there once") {
  expect_broken(netstring(kFirst + block_of({{"REQUEST_METHOD", "GET"}})));
  for (const char* value : {"", "2", "11", "01", " 1"}) {
    expect_broken(netstring(kFirst + block_of({{"SCGI", value}, {"A", "b"}})));
  }
  expect_broken(netstring(kStart + block_of({{"SCGI", "1"}})));
  expect_broken(netstring(kFirst + block_of({{"scgi", "1"}})));
}

TEST("fields may come twice, as clients send them") {
  expect_good(netstring(kStart + block_of({{"HTTP_COOKIE", "a=1"}, {"HTTP_COOKIE", "b=2"}})));
  expect_broken(netstring(kStart + block_of({{"HTTPS", "on"}, {"HTTPS", "on"}})));
}

TEST("no name is empty or comes twice") {
  expect_broken(netstring(kStart + block_of({{"", "a"}})));
  expect_broken(netstring(kStart + block_of({{"A", "1"}, {"B", "2"}, {"A", "1"}})));
  expect_broken(netstring(kStart + block_of({{"CONTENT_LENGTH", "3"}})));
  expect_broken(netstring(kStart + block_of({{"A", "1"}, {"", ""}, {"B", "2"}})));
  std::string many;
  for (int i = 0; i < 160; i++) many += block_of({{"NAME_" + std::to_string(i), "x"}});
  expect_good(netstring(kStart + many));
  for (const char* name : {"NAME_0", "NAME_99", "NAME_159"}) {
    const std::string twice = netstring(kStart + many + block_of({{name, ""}}));
    EXPECT(parse(twice) == (Verdict{kBroken, ErrorCode::BadScgi}));
  }
}

TEST("a block ends in NUL with a value for each name, and a comma follows") {
  expect_broken("23:" + kStart.substr(0, 23) + ",");
  expect_broken(netstring(kStart + "AB"));
  expect_broken(netstring(kStart + std::string("A\0B", 3)));
  expect_broken(netstring(kStart + std::string("A\0", 2)));
  expect_broken(std::to_string(kStart.size()) + ":" + kStart + ";hello");
  expect_broken(std::to_string(kStart.size() - 1) + ":" + kStart + ",");
  expect_broken(std::to_string(kStart.size() + 1) + ":" + kStart + ",,");
}

TEST("variables are counted") {
  const ScgiLimits limits{.block_bytes_max = 16384, .variable_count_max = 4};
  const std::string three = kStart + block_of({{"A", "1"}});
  expect_good(netstring(three), limits);
  expect_good(netstring(three + block_of({{"B", "1"}})), limits);
  expect_broken(netstring(three + block_of({{"B", "1"}, {"C", "1"}})), ErrorCode::HeadersTooLarge,
                limits);
}

TEST("as many variables as the limits allow are told apart, and one more is refused") {
  std::string many = kStart;
  for (int i = 2; i < 1536; i++) many += block_of({{std::to_string(i), ""}});
  const ScgiLimits limits{.block_bytes_max = 65536, .variable_count_max = 100000};
  EXPECT(parse(netstring(many), limits).error == ErrorCode::None);
  many += block_of({{"x", ""}});
  EXPECT(parse(netstring(many), limits) == (Verdict{kBroken, ErrorCode::HeadersTooLarge}));
}

}  // namespace

}  // namespace millrace::test
