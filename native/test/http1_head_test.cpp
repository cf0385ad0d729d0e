// Head parser: every rule, every limit, every split, SIMD against scalar, and no read past the
// span.
#include "core/proto/http1/head.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/proto/http1/scan.h"
#include "test/harness.h"

namespace {

using millrace::Bytes;
using millrace::ErrorCode;
using millrace::HeaderField;
using millrace::RequestHead;
using millrace::http1::HeadLimits;
using millrace::http1::kBroken;
using millrace::http1::kNeedMore;
using millrace::http1::parse_fields;
using millrace::http1::parse_request_head;
using millrace::http1::parse_request_head_scalar;

constexpr HeadLimits kLimits{
    .header_bytes_max = 4096, .header_count_max = 8, .request_line_bytes_max = 512};

// An allocation that ends exactly where the input does, so that a sanitizer sees one byte too many.
class ExactCopy final {
 public:
  explicit ExactCopy(Bytes bytes, size_t offset = 0)
      : memory_(static_cast<char*>(std::malloc(bytes.size() + offset + 1))) {
    // malloc(0) may answer nullptr; the byte too many lies in front.
    begin_ = memory_ + offset + 1;
    if (!bytes.empty()) std::memcpy(begin_, bytes.data(), bytes.size());
    size_ = bytes.size();
  }
  ~ExactCopy() { std::free(memory_); }
  ExactCopy(const ExactCopy&) = delete;
  ExactCopy& operator=(const ExactCopy&) = delete;
  [[nodiscard]] Bytes view() const { return Bytes(begin_, size_); }

 private:
  char* memory_;
  char* begin_;
  size_t size_;
};

enum class Way { Vector, Scalar, Fields };

struct Verdict {
  int result = 0;
  ErrorCode error = ErrorCode::None;
  friend bool operator==(const Verdict&, const Verdict&) = default;
};

struct Parsed {
  Verdict verdict;
  RequestHead head;
  std::vector<HeaderField> fields;
};

Parsed parse(Bytes input, size_t last_length, const HeadLimits& limits, Way way) {
  Parsed parsed;
  parsed.fields.resize(limits.header_count_max);
  HeaderField* fields = parsed.fields.data();
  Verdict& verdict = parsed.verdict;
  uint32_t count = 0;
  switch (way) {
    case Way::Vector:
      verdict.result =
          parse_request_head(input, last_length, limits, parsed.head, fields, verdict.error);
      count = parsed.head.header_count;
      break;
    case Way::Scalar:
      verdict.result =
          parse_request_head_scalar(input, last_length, limits, parsed.head, fields, verdict.error);
      count = parsed.head.header_count;
      break;
    case Way::Fields:
      verdict.result = parse_fields(input, last_length, limits, fields, count, verdict.error);
      break;
  }
  parsed.fields.resize(verdict.result > 0 ? count : 0);
  return parsed;
}

Verdict verdict_of(Bytes input, size_t last_length, const HeadLimits& limits, Way way) {
  return parse(input, last_length, limits, way).verdict;
}

std::string shown(Bytes input) {
  std::string text;
  for (char c : input.substr(0, 200)) {
    const bool plain = c >= 0x20 && c < 0x7f;
    char escaped[8];
    std::snprintf(escaped, sizeof(escaped), plain ? "%c" : "\\x%02x", static_cast<uint8_t>(c));
    text += escaped;
  }
  return text;
}

// One verdict however the bytes are cut, with and without last_length, and at the same byte.
void expect_everywhere(Bytes input, Verdict wanted, const HeadLimits& limits, Way way) {
  millrace::test::context = shown(input);
  EXPECT(verdict_of(ExactCopy(input).view(), 0, limits, way) == wanted);
  std::vector<Verdict> of_prefix;
  for (size_t length = 0; length <= input.size(); length++) {
    const ExactCopy prefix(input.substr(0, length));
    const Verdict fresh = verdict_of(prefix.view(), 0, limits, way);
    of_prefix.push_back(fresh);
    if (length == 0) continue;
    const Verdict before = of_prefix[length - 1];
    if (before.result != kNeedMore) {
      EXPECT(fresh == before);
    } else {
      EXPECT(verdict_of(prefix.view(), length - 1, limits, way) == fresh);
    }
  }
  EXPECT(of_prefix.back() == wanted);
  const ExactCopy whole(input);
  for (size_t cut = 0; cut <= input.size(); cut++) {
    if (of_prefix[cut].result != kNeedMore) break;
    EXPECT(verdict_of(whole.view(), cut, limits, way) == wanted);
  }
  millrace::test::context.clear();
}

void expect_head(Bytes input, Verdict wanted, const HeadLimits& limits = kLimits) {
  expect_everywhere(input, wanted, limits, Way::Vector);
  expect_everywhere(input, wanted, limits, Way::Scalar);
}

void expect_fields(Bytes input, Verdict wanted, const HeadLimits& limits = kLimits) {
  expect_everywhere(input, wanted, limits, Way::Fields);
}

void expect_good(Bytes input) {
  expect_head(input, {static_cast<int>(input.size()), ErrorCode::None});
}

Verdict broken(ErrorCode error) { return {kBroken, error}; }

std::string with_line(const std::string& line) { return line + "\r\nHost: a\r\n\r\n"; }
std::string with_field(const std::string& field) {
  return "GET / HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n";
}

TEST("a head yields method, target, version and trimmed fields") {
  const Bytes input =
      "PATCH /a?b=c HTTP/1.0\r\nHost: x.test \r\nX-E:\r\nx-t:\t\xe9 b \t\r\n\r\nrest";
  for (Way way : {Way::Vector, Way::Scalar}) {
    const Parsed parsed = parse(input, 0, kLimits, way);
    EXPECT(parsed.verdict.result == static_cast<int>(input.size() - 4));
    EXPECT(parsed.head.method == "PATCH");
    EXPECT(parsed.head.target == "/a?b=c");
    EXPECT(parsed.head.minor_version == 0);
    EXPECT(parsed.head.header_count == 3);
    EXPECT(parsed.head.headers != nullptr);
    if (parsed.fields.size() != 3) continue;
    EXPECT(parsed.fields[0].name == "Host" && parsed.fields[0].value == "x.test");
    EXPECT(parsed.fields[1].name == "X-E" && parsed.fields[1].value.empty());
    EXPECT(parsed.fields[2].name == "x-t" && parsed.fields[2].value == "\xe9 b");
  }
}

TEST("an empty or unfinished head needs more") {
  for (const char* input : {"", "\r", "\r\n", "G", "GET", "GET ", "GET /", "GET / HTTP/1.",
                            "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n",
                            "GET / HTTP/1.1\r\nA", "GET / HTTP/1.1\r\nA:", "GET / HTTP/1.1\r\nA: b",
                            "GET / HTTP/1.1\r\nA: b\r", "GET / HTTP/1.1\r\nA: b\r\n\r"}) {
    expect_head(input, {kNeedMore, ErrorCode::None});
  }
}

TEST("bytes behind the head are left alone") {
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const Verdict wanted{static_cast<int>(head.size()), ErrorCode::None};
  expect_head(head + "GET", wanted);
  expect_head(head + std::string(1, '\0'), wanted);
  expect_head(head + "\n", wanted);
}

TEST("one leading CRLF is skipped and counted, a second one is refused") {
  expect_good("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  expect_head("\r\n" + with_line("GET http://a#b HTTP/1.1"), broken(ErrorCode::BadRequestLine));
  expect_head("\r\n" + with_line("G\xe9T / HTTP/1.1"), broken(ErrorCode::BadRequestLine));
  for (const char* start : {"\r\n\r\n", "\r\r", "\n", "\r\n\n", " ", "\r "}) {
    expect_head(start + std::string("GET / HTTP/1.1\r\n\r\n"), broken(ErrorCode::BadRequestLine));
  }
}

TEST("a method is any token of 1 to 255 bytes") {
  for (const char* method : {"GET", "FROB", "get", "M-SEARCH", "!#$%&'*+-.^_`|~09azAZ"}) {
    expect_good(with_line(method + std::string(" / HTTP/1.1")));
  }
  for (const char* method :
       {"", "G\x01T", "G@T", "G\x80", "\"GET\"", "G:T", "GET\t", "(", "G\x7f"}) {
    expect_head(with_line(method + std::string(" / HTTP/1.1")), broken(ErrorCode::BadRequestLine));
  }
  expect_good(with_line(std::string(255, 'M') + " / HTTP/1.1"));
  expect_head(with_line(std::string(256, 'M') + " / HTTP/1.1"), broken(ErrorCode::BadRequestLine));
}

TEST("the request line has three parts and one SP between them") {
  for (const char* line : {"GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / x HTTP/1.1", "GET /", "GET",
                           "GET / ", "GET /\tHTTP/1.1", "GET\t/ HTTP/1.1", "GET HTTP/1.1",
                           "GET  HTTP/1.1", " GET / HTTP/1.1", "GET / HTTP/1.1 "}) {
    expect_head(with_line(line), broken(ErrorCode::BadRequestLine));
  }
}

TEST("a target has one of the four forms and fits its method") {
  for (const char* line :
       {"GET / HTTP/1.1", "GET //a HTTP/1.1", "GET /q?x=%zz&y=~ HTTP/1.1", "OPTIONS * HTTP/1.1",
        "GET http://a.test HTTP/1.1", "GET http://a.test:80/b?c HTTP/1.1",
        "GET a+b-c.1://x HTTP/1.1", "OPTIONS http://a.test HTTP/1.1", "CONNECT a.test:443 HTTP/1.1",
        "CONNECT [::1]:443 HTTP/1.1"}) {
    expect_good(with_line(line));
  }
  for (const char* line :
       {"GET * HTTP/1.1",           "OPTIONS ** HTTP/1.1",         "PRI * HTTP/2.0",
        "GET a HTTP/1.1",           "GET a.test:80 HTTP/1.1",      "GET ?a HTTP/1.1",
        "GET http:/a HTTP/1.1",     "GET http:// HTTP/1.1",        "GET http:///a HTTP/1.1",
        "GET http://?a HTTP/1.1",   "GET 1a://b HTTP/1.1",         "GET a_b://c HTTP/1.1",
        "GET ://a HTTP/1.1",        "CONNECT / HTTP/1.1",          "CONNECT * HTTP/1.1",
        "CONNECT a.test HTTP/1.1",  "CONNECT :443 HTTP/1.1",       "CONNECT a:0 HTTP/1.1",
        "CONNECT a:65536 HTTP/1.1", "CONNECT a:b HTTP/1.1",        "CONNECT a: HTTP/1.1",
        "CONNECT u@a:1 HTTP/1.1",   "CONNECT http://a:1 HTTP/1.1", "CONNECT a:1:2 HTTP/1.1",
        "CONNECT []:1 HTTP/1.1",    "CONNECT ::1:443 HTTP/1.1"}) {
    expect_head(with_line(line), broken(ErrorCode::BadRequestLine));
  }
}

TEST("a target holds visible ASCII without a fragment") {
  for (int c = 0; c < 256; c++) {
    std::string target = "/a";
    target += static_cast<char>(c);
    target += "b";
    const std::string input = with_line("GET " + target + " HTTP/1.1");
    if (c > 0x20 && c < 0x7f && c != '#') {
      expect_good(input);
    } else {
      expect_head(input, broken(ErrorCode::BadRequestLine));
    }
  }
}

TEST("only HTTP/1.0 and HTTP/1.1 are served; other versions are named as such") {
  expect_good(with_line("GET / HTTP/1.0"));
  expect_good(with_line("GET / HTTP/1.1"));
  for (const char* version :
       {"HTTP/1.2", "HTTP/1.9", "HTTP/0.9", "HTTP/2.0", "HTTP/0.0", "HTTP/9.9"}) {
    expect_head(with_line("GET / " + std::string(version)), broken(ErrorCode::VersionNotSupported));
  }
  for (const char* version : {"HTTP/1.10", "HTTP/1", "HTTP/1.", "HTTP/11", "http/1.1", "HTTP/a.1",
                              "HTTP/1.a", "HTTP/-1.1", "HTTP 1.1", "HTTQ/1.1", "HTTP/2.0x",
                              "HTTP/2.0\rx", "XTTP/1.1", "HTTP/01.1", "HTTP/1,1", ""}) {
    expect_head(with_line("GET / " + std::string(version)), broken(ErrorCode::BadRequestLine));
  }
}

TEST("bare LF and bare CR end nothing") {
  expect_head("GET / HTTP/1.1\nHost: a\n\n", broken(ErrorCode::BadRequestLine));
  expect_head("GET / HTTP/1.1\rHost: a\r\n\r\n", broken(ErrorCode::BadRequestLine));
  expect_head("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", broken(ErrorCode::BadRequestLine));
  expect_head("GET /\r\nHost: a\r\n\r\n", broken(ErrorCode::BadRequestLine));
  for (const char* rest :
       {"Host: a\nB: c\r\n\r\n", "Host: a\n\n", "Host: a\rB: c\r\n\r\n", "Host: a\r\r\n\r\n",
        "Host: a\r\n\n", "\n", "\rX", "\r\r\n", "Host\r\n\r\n", "Host\n"}) {
    expect_head("GET / HTTP/1.1\r\n" + std::string(rest), broken(ErrorCode::BadHeader));
  }
}

TEST("malformed field lines are refused") {
  for (const char* field :
       {" folded", "\tfolded", "A : b", "A\t: b", ": b", "A", "A b", "A b: c", "A\x01: b",
        "A\x80: b", "A(: b", "A@b: c", "A: b\x0b", "A: b\x7f", "A: b\r c", " : "}) {
    expect_head(with_field(field), broken(ErrorCode::BadHeader));
  }
  expect_head(with_field("A: b\r\n c"), broken(ErrorCode::BadHeader));
  expect_head("GET / HTTP/1.1\r\n Host: a\r\n\r\n", broken(ErrorCode::BadHeader));
}

TEST("fields may be empty, spaced, and hold obs-text") {
  for (const char* field :
       {"A:", "A: ", "A: \t ", "A:b", "A:\tb\tc\t", "!#$%&'*+-.^_`|~09: ::", "A: \x80\xff"}) {
    expect_good(with_field(field));
  }
  expect_good("GET / HTTP/1.1\r\n\r\n");
}

TEST("each byte value is judged in names and values") {
  for (int c = 0; c < 256; c++) {
    const char byte = static_cast<char>(c);
    const bool value = c == '\t' || (c >= 0x20 && c != 0x7f);
    const std::string in_value = with_field(std::string("A: b") + byte + "c");
    const std::string in_name = with_field(std::string("A") + byte + "b: c");
    if (value) {
      expect_good(in_value);
    } else {
      expect_head(in_value, broken(ErrorCode::BadHeader));
    }
    if (millrace::is_token_char(static_cast<unsigned char>(c)) || c == ':') {
      expect_good(in_name);
    } else {
      expect_head(in_name, broken(ErrorCode::BadHeader));
    }
    EXPECT(millrace::http1::is_of(byte, millrace::http1::kTokenByte) ==
           millrace::is_token_char(static_cast<unsigned char>(c)));
  }
}

TEST("a request line is served up to its limit and 414 beyond") {
  HeadLimits limits = kLimits;
  limits.request_line_bytes_max = 80;
  for (size_t length = 77; length <= 85; length++) {
    const std::string target = "/" + std::string(length - 14, 'a');
    const std::string input = with_line("GET " + target + " HTTP/1.1");
    if (length <= 80) {
      expect_head(input, {static_cast<int>(input.size()), ErrorCode::None}, limits);
    } else {
      expect_head(input, broken(ErrorCode::UriTooLong), limits);
    }
  }
  // Never ending, and over the limit in the method already.
  expect_head("GET /" + std::string(500, 'a'), broken(ErrorCode::UriTooLong), limits);
  expect_head(std::string(100, 'A'), broken(ErrorCode::UriTooLong), limits);
  // A skipped empty line is not part of it.
  const std::string most = "\r\n" + with_line("GET /" + std::string(66, 'a') + " HTTP/1.1");
  expect_head(most, {static_cast<int>(most.size()), ErrorCode::None}, limits);
}

TEST("the first offence decides between grammar and limit") {
  HeadLimits limits = kLimits;
  limits.request_line_bytes_max = 80;
  limits.header_bytes_max = 200;
  expect_head("GET /" + std::string(60, 'a') + "#" + std::string(60, 'a'),
              broken(ErrorCode::BadRequestLine), limits);
  expect_head("GET /" + std::string(90, 'a') + "#", broken(ErrorCode::UriTooLong), limits);
  const std::string line = "GET / HTTP/1.1\r\n";
  expect_head(line + "A: " + std::string(100, 'b') + "\n" + std::string(200, 'c'),
              broken(ErrorCode::BadHeader), limits);
  expect_head(line + "A: " + std::string(300, 'b') + "\n", broken(ErrorCode::HeadersTooLarge),
              limits);
  expect_head("GET / HTTP/3.0\r\nA: " + std::string(300, 'b'),
              broken(ErrorCode::VersionNotSupported), limits);
}

TEST("a head is served up to its byte limit and 431 beyond") {
  HeadLimits limits = kLimits;
  limits.header_bytes_max = 128;
  const std::string around = with_field("A: ");
  for (size_t length = 124; length <= 132; length++) {
    const std::string input = with_field("A: " + std::string(length - around.size(), 'b'));
    EXPECT(input.size() == length);
    const Verdict fits{static_cast<int>(length), ErrorCode::None};
    expect_head(input, length <= 128 ? fits : broken(ErrorCode::HeadersTooLarge), limits);
    const Verdict fits_with_crlf{static_cast<int>(length + 2), ErrorCode::None};
    expect_head("\r\n" + input, length <= 128 ? fits_with_crlf : broken(ErrorCode::HeadersTooLarge),
                limits);
  }
  expect_head("GET / HTTP/1.1\r\nA: " + std::string(500, 'b'), broken(ErrorCode::HeadersTooLarge),
              limits);
  expect_head("GET / HTTP/1.1\r\n" + std::string(500, 'b'), broken(ErrorCode::HeadersTooLarge),
              limits);
  // The request line alone fills the whole head.
  expect_head("GET /" + std::string(200, 'a'), broken(ErrorCode::UriTooLong), limits);
}

TEST("as many fields as the limit says are served and one more is 431") {
  HeadLimits limits = kLimits;
  for (size_t count_max : {size_t{0}, size_t{1}, size_t{3}}) {
    limits.header_count_max = count_max;
    std::string input = "GET / HTTP/1.1\r\n";
    for (size_t count = 0; count <= count_max + 2; count++) {
      const std::string ended = input + "\r\n";
      const Verdict fits{static_cast<int>(ended.size()), ErrorCode::None};
      expect_head(ended, count <= count_max ? fits : broken(ErrorCode::HeadersTooLarge), limits);
      input += "A: b\r\n";
    }
  }
  limits.header_count_max = 1;
  expect_head("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", broken(ErrorCode::BadHeader), limits);
  expect_head("GET / HTTP/1.1\r\nA: b\r\nA", broken(ErrorCode::HeadersTooLarge), limits);
}

TEST("limits of zero and of everything neither wrap nor crash") {
  const std::string input = with_field("A: b");
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{2}, size_t{3}}) {
    const HeadLimits small{
        .header_bytes_max = bytes, .header_count_max = 8, .request_line_bytes_max = bytes};
    EXPECT(verdict_of(input, 0, small, Way::Vector) == broken(ErrorCode::UriTooLong));
    EXPECT(verdict_of(input, 0, small, Way::Scalar) == broken(ErrorCode::UriTooLong));
  }
  const HeadLimits large{
      .header_bytes_max = SIZE_MAX, .header_count_max = 8, .request_line_bytes_max = SIZE_MAX};
  expect_head(input, {static_cast<int>(input.size()), ErrorCode::None}, large);
}

TEST("trailers obey the field rules and limits") {
  expect_fields("\r\n", {2, ErrorCode::None});
  expect_fields("A: b\r\nC:d\r\n\r\nGET", {13, ErrorCode::None});
  expect_fields("", {kNeedMore, ErrorCode::None});
  expect_fields("A: b\r\n", {kNeedMore, ErrorCode::None});
  for (const char* input : {"\n", "\rX", " A: b\r\n\r\n", "A : b\r\n\r\n", "A: b\n\r\n",
                            "A: b\r\n c\r\n\r\n", ": b\r\n\r\n"}) {
    expect_fields(input, broken(ErrorCode::BadHeader));
  }
  HeadLimits limits = kLimits;
  limits.header_count_max = 1;
  expect_fields("A: b\r\n\r\n", {8, ErrorCode::None}, limits);
  expect_fields("A: b\r\nC: d\r\n\r\n", broken(ErrorCode::HeadersTooLarge), limits);
  limits.header_bytes_max = 8;
  expect_fields("A: b\r\n\r\n", {8, ErrorCode::None}, limits);
  expect_fields("A: bc\r\n\r\n", broken(ErrorCode::HeadersTooLarge), limits);
  expect_fields("A: bcdefghijklm", broken(ErrorCode::HeadersTooLarge), limits);
}

// The vector scan must stop at the byte, wherever the byte and the buffer lie, and never look
// behind the end.
TEST("vector and scalar scans agree at all alignments and positions") {
  for (size_t offset = 0; offset < 64; offset++) {
    for (size_t position = 0; position <= 100; position++) {
      for (char c : {'\0', '\x1f', '\x7f', '\r', '\n', '\t', ' ', '\x80', '\xff', '#', 'a'}) {
        std::string text(100, 'x');
        if (position < text.size()) text[position] = c;
        const ExactCopy copy(text, offset);
        const char* begin = copy.view().data();
        const char* end = begin + text.size();
        using millrace::http1::ScalarScanner;
        using millrace::http1::VectorScanner;
        const bool same =
            VectorScanner::value_end(begin, end) == ScalarScanner::value_end(begin, end) &&
            VectorScanner::target_end(begin, end) == ScalarScanner::target_end(begin, end) &&
            VectorScanner::token_end(begin, end) == ScalarScanner::token_end(begin, end) &&
            VectorScanner::last_line_feed(begin, end) == ScalarScanner::last_line_feed(begin, end);
        if (!same) EXPECT(same);
      }
    }
  }
}

TEST("vector and scalar scans agree on each byte value") {
  for (int c = 0; c < 256; c++) {
    for (size_t position :
         {size_t{0}, size_t{15}, size_t{16}, size_t{31}, size_t{32}, size_t{47}}) {
      std::string text(48, 'x');
      text[position] = static_cast<char>(c);
      const char* begin = text.data();
      const char* end = begin + text.size();
      using millrace::http1::ScalarScanner;
      using millrace::http1::VectorScanner;
      EXPECT(VectorScanner::value_end(begin, end) == ScalarScanner::value_end(begin, end));
      EXPECT(VectorScanner::target_end(begin, end) == ScalarScanner::target_end(begin, end));
      EXPECT(VectorScanner::last_line_feed(begin, end) ==
             ScalarScanner::last_line_feed(begin, end));
    }
  }
}

TEST("an offending byte at each position of a long value or target is found at all alignments") {
  for (size_t position = 0; position < 100; position++) {
    std::string text(100, 'v');
    text[position] = '\x01';
    const std::string value = with_field("A: " + text);
    const std::string target = with_line("GET /" + text + " HTTP/1.1");
    for (size_t offset = 0; offset < 64; offset++) {
      for (Way way : {Way::Vector, Way::Scalar}) {
        EXPECT(verdict_of(ExactCopy(value, offset).view(), 0, kLimits, way) ==
               broken(ErrorCode::BadHeader));
        EXPECT(verdict_of(ExactCopy(target, offset).view(), 0, kLimits, way) ==
               broken(ErrorCode::BadRequestLine));
      }
    }
    expect_head(value, broken(ErrorCode::BadHeader));
    expect_head(target, broken(ErrorCode::BadRequestLine));
  }
}

// Why: a client that sends byte by byte must not make the parser read the square of the head.
TEST("a large head byte by byte keeps its verdict") {
  HeadLimits limits{
      .header_bytes_max = 65536, .header_count_max = 100, .request_line_bytes_max = 8192};
  std::string input = "GET /" + std::string(2000, 'p') + " HTTP/1.1\r\n";
  for (int i = 0; i < 90; i++) input += "X-Some-Field: " + std::string(600, 'v') + "\r\n";
  input += "\r\n";
  for (size_t length = 1; length < input.size(); length++) {
    const Verdict verdict =
        verdict_of(Bytes(input).substr(0, length), length - 1, limits, Way::Vector);
    if (verdict.result != kNeedMore) EXPECT(verdict.result == kNeedMore);
  }
  EXPECT(verdict_of(input, input.size() - 1, limits, Way::Vector).result ==
         static_cast<int>(input.size()));
}

}  // namespace
