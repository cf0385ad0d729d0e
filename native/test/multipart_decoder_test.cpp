// The multipart decoder: delimiters, heads, limits, splits, and forms made up at random.
#include <cstdint>
#include <initializer_list>

#include "core/proto/multipart/scan.h"
#include "test/harness.h"
#include "test/multipart_rig.h"

namespace millrace::test {

namespace {

size_t everything(size_t left) { return left; }
size_t one_byte(size_t left) { return left == 0 ? 0 : 1; }

// Whole, and the same byte by byte and at every cut.
FoundForm decode(Bytes body, const MultipartLimits& limits = {}, Bytes boundary = "q1") {
  const FoundForm whole = decode_form(boundary, limits, body, everything);
  EXPECT(decode_form(boundary, limits, body, one_byte) == whole);
  for (size_t cut = 1; cut < body.size() && body.size() < 2000; cut++) {
    const auto at_cut = [&](size_t left) { return left == body.size() ? cut : left; };
    EXPECT(decode_form(boundary, limits, body, at_cut) == whole);
  }
  return whole;
}

const std::string kHead = "--q1\r\nContent-Disposition: form-data; name=a\r\n\r\n";
const std::string kFileHead =
    "--q1\r\nContent-Disposition: form-data; name=a; filename=\"\"\r\n\r\n";

// The content of the only part, or "?" and the error.
std::string content_of(const std::string& after_head, const MultipartLimits& limits = {}) {
  const FoundForm form = decode(kHead + after_head, limits);
  if (form.error != ErrorCode::None) return std::string("?") + error_code_name(form.error);
  if (!form.is_complete) return "?incomplete";
  return form.parts.size() == 1 ? form.parts[0].content : "?parts";
}

TEST("only a whole delimiter line ends a part") {
  const std::initializer_list<const char*> contents = {
      "x",
      "",
      "--q1",
      "ab --q1 cd",
      "\r\n--q1x",
      "\r\n--q1\n",
      "\r\n--q1\r",
      "\r\n--q1-",
      "\r\n--q1-x--",
      "\r\n--q1\rx",
      "\n--q1--",
      "\r--q1--",
      "\n--q1\r\n",
      "\r\n-q1--",
      "\r\n--Q1--",
      "\r\n--q",
      "\r\n\r\n--q\r\n--q1+\r\r\n-",
      "\r\n--q1\r--q1x",
      "\r\n--\r\n--q1x\r\n--q2",
      "\r",
      "\r\r\r",
      "\r\n",
      "--q1--",
      "--q1\r\n",
  };
  for (const char* content : contents) {
    context = content;
    EXPECT(content_of(std::string(content) + "\r\n--q1--") == content);
    const FoundForm two = decode(kHead + content + "\r\n" + kHead + content + "\r\n--q1--\r\n");
    EXPECT(two.is_complete && two.parts.size() == 2 && two.parts[1].content == content);
  }
}

TEST("content ends at the first delimiter, whatever it begins") {
  EXPECT(content_of("x\r\n--q1--\r\n--q1\r\ny") == "x");
  EXPECT(content_of("x\r\n--q1----q1--") == "x");
  EXPECT(content_of("x\r\n--q1x\r\n--q1--") == "x\r\n--q1x");
}

TEST("white space behind a boundary belongs to the delimiter, and CRLF must follow it") {
  const std::string part = kHead.substr(4);
  const FoundForm form = decode("--q1 \t" + part + "x\r\n--q1\t \t " + part + "y\r\n--q1--");
  EXPECT(form.is_complete && form.parts.size() == 2);
  for (const char* behind : {" x\r\n", " \n", " --", "\t\rx", " \r\r\n"}) {
    context = behind;
    EXPECT(content_of(std::string("x\r\n--q1") + behind) == "?ERR_MILLRACE_BAD_MULTIPART");
  }
}

TEST("a form may have no parts, and a preamble and an epilogue are dropped") {
  for (const char* body :
       {"--q1--", "--q1--\r\n", "--q1--x", "hello\r\n--q1--", "\r\n--q1--\r\nbye\r\n--q1\r\nX",
        "--q1x\r\n--q1--", "--q1\n\r\n--q1--", "--q\r\n-\r\n--q1--", "--q1\rx\r\n--q1--"}) {
    context = body;
    const FoundForm form = decode(body);
    EXPECT(form.is_complete && form.parts.empty());
  }
  EXPECT(decode("hello\r\n--q1--" + std::string(9000, '-'), {.total_bytes_max = 13}).is_complete);
}

TEST("a body that ends early is not complete and no error of the decoder") {
  const std::string body = "pre\r\n" + kHead + "xyz\r\n" + kHead + "\r\n--q1--";
  for (size_t length = 0; length < body.size(); length++) {
    const FoundForm form = decode_form("q1", {}, Bytes(body).substr(0, length), everything);
    EXPECT(!form.is_complete && form.error == ErrorCode::None);
  }
  EXPECT(decode(body).is_complete);
  EXPECT(!decode("--zz--").is_complete);
}

TEST("a part's headers come as text with lower-case names") {
  const FoundForm form = decode(
      "--q1\r\nX-One:  1 \t\r\nCONTENT-disposition:form-data;name=\"n\";filename=f\r\n"
      "NoColon\r\nx-one:\r\nX:a:b\x01\xff\r\n\r\n\r\n--q1--");
  if (!EXPECT(form.is_complete && form.parts.size() == 1)) return;
  const FoundPart& part = form.parts[0];
  EXPECT(part.name == "n" && part.filename == "f" && part.has_filename && part.has_end);
  std::string wanted =
      "\nx-one:1\ncontent-disposition:form-data;name=\"n\";filename=f\nnocolon:\nx-one:\n";
  for (char& c : wanted) {
    if (c == ':') c = '\0';
  }
  wanted.append("x\0a:b\x01\xff\n", 8);
  EXPECT(part.headers == wanted);
}

TEST("a malformed head, or one without a disposition, breaks the body") {
  const std::string disposition = "Content-Disposition: form-data; name=a\r\n";
  const std::initializer_list<std::string> heads = {
      "\r\n",
      "Content-Type: text/plain\r\n\r\n",
      disposition + disposition + "\r\n",
      disposition + ": x\r\n\r\n",
      disposition + "X : x\r\n\r\n",
      disposition + "X Y\r\n\r\n",
      disposition + " folded\r\n\r\n",
      disposition + "X: a\rb\r\n\r\n",
      disposition + "X: a\r\r\n\r\n",
      disposition + "X: a\n\r\n",
      disposition + "\n",
      disposition + std::string("X: a\0b\r\n\r\n", 11),
      disposition + "--q1\r\n" + disposition + "\r\n",
      disposition + "--q1--\r\n",
      "Content-Disposition: attachment; name=a\r\n\r\n",
      "Content-Disposition: form-data\r\n\r\n",
      "Content-Disposition\r\n\r\n",
  };
  for (const std::string& head : heads) {
    context = head;
    const FoundForm form = decode("--q1\r\n" + head + "x\r\n--q1--");
    EXPECT(form.error == ErrorCode::BadMultipart && form.parts.empty());
  }
}

struct LimitRow {
  const char* name;
  uint64_t MultipartLimits::*field;
  ErrorCode error;
  std::string body;
  uint64_t needed;
};

TEST("each limit allows what it says and not one more") {
  const std::string end = "--q1--";
  const std::string text = "12345\r\n";
  const std::string head = kHead.substr(6);
  const LimitRow rows[] = {
      {"parts", &MultipartLimits::parts_max, ErrorCode::MultipartLimit,
       kHead + text + kFileHead + text + kHead + text + end, 3},
      {"fields", &MultipartLimits::fields_max, ErrorCode::MultipartLimit,
       kHead + text + kFileHead + text + kHead + text + end, 2},
      {"files", &MultipartLimits::files_max, ErrorCode::MultipartLimit,
       kFileHead + text + kHead + text + kFileHead + text + end, 2},
      {"field bytes", &MultipartLimits::field_bytes_max, ErrorCode::MultipartLimit,
       kFileHead + "123456789\r\n" + kHead + text + end, 5},
      {"file bytes", &MultipartLimits::file_bytes_max, ErrorCode::MultipartLimit,
       kHead + "123456789\r\n" + kFileHead + text + end, 5},
      {"total bytes", &MultipartLimits::total_bytes_max, ErrorCode::MultipartLimit,
       kHead + text + end, kHead.size() + text.size() + end.size()},
      {"header bytes", &MultipartLimits::header_bytes_max, ErrorCode::PartHeadersTooLarge,
       kHead + text + kHead + text + end, head.size()},
      {"header count", &MultipartLimits::header_count_max, ErrorCode::PartHeadersTooLarge,
       kHead + text + "--q1\r\nX\r\nY:\r\n" + head + text + end, 3},
  };
  for (const LimitRow& row : rows) {
    for (uint64_t limit : {row.needed + 1, row.needed, row.needed - 1, uint64_t{0}}) {
      context = std::string(row.name) + " " + std::to_string(limit);
      MultipartLimits limits;
      limits.*row.field = limit;
      const FoundForm form = decode(row.body, limits);
      EXPECT(form.is_complete == (limit >= row.needed));
      EXPECT(form.error == (limit >= row.needed ? ErrorCode::None : row.error));
    }
  }
}

TEST("content over its limit is handed out up to the limit") {
  const FoundForm form = decode(kHead + "123456\r\n--q1--", {.field_bytes_max = 4});
  EXPECT(form.error == ErrorCode::MultipartLimit);
  EXPECT(form.parts.size() == 1 && form.parts[0].content == "1234" && !form.parts[0].has_end);
}

TEST("a head that never ends is refused at its limit") {
  MultipartDecoder decoder("q1", {.header_bytes_max = 1000});
  EXPECT(decoder.decode("--q1\r\n").found == MultipartDecoder::Found::NeedMore);
  const std::string bytes(100, 'x');
  for (int i = 0; i < 10; i++) EXPECT(decoder.decode(bytes).consumed == 100);
  EXPECT(decoder.decode("x").error == ErrorCode::PartHeadersTooLarge);
  EXPECT(decoder.decode("\r\n").error == ErrorCode::PartHeadersTooLarge);
}

std::string repeat(Bytes text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; i++) out += text;
  return out;
}

// What is not a delimiter must not cost steps: offered whole, such content is one step, and offered
// in pieces at most one more per piece.
TEST("content full of near delimiters takes no more steps than other content") {
  const std::string longest(70, 'b');
  for (const std::string& near :
       {std::string("\r\n--"), std::string("\r"), std::string("\r\n"), std::string("\r-"),
        std::string("\r-\r-\n-"), "\r\n--" + longest.substr(1), "\r\n--" + longest + "x",
        "\r\n--" + longest + "-", "\r\n--" + longest + "\r"}) {
    context = near;
    const std::string content = repeat(near, 100000 / near.size());
    const std::string body = "--" + longest + kHead.substr(4) + content + "\r\n--" + longest + "--";
    const FoundForm whole = decode_form(longest, {}, body, everything);
    EXPECT(whole.is_complete && whole.parts.size() == 1 && whole.parts[0].content == content);
    EXPECT(whole.steps == 4);
    const auto some = [](size_t left) { return left < 1000 ? left : 1000; };
    const FoundForm pieces = decode_form(longest, {}, body, some);
    EXPECT(pieces == whole && pieces.steps <= 4 + 2 * (body.size() / 1000 + 2));
  }
}

TEST("vector and scalar scanner find the same candidates at every alignment and length") {
  std::string text(300, 'x');
  uint64_t seed = 7;
  for (int round = 0; round < 300; round++) {
    for (char& c : text) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      const uint64_t dice = seed >> 40;
      const uint64_t rare = round % 3 == 0 ? 64 : 5;
      c = dice % rare == 0 ? '\r' : dice % rare == 1 ? '-' : dice % rare == 2 ? '\n' : 'x';
    }
    const size_t begin = static_cast<size_t>(seed >> 33) % 40;
    const size_t length = static_cast<size_t>(seed >> 45) % 250;
    const std::string exact = text.substr(begin, length);
    const char* end = exact.data() + exact.size();
    for (const char* at = exact.data();; at++) {
      const char* found = multipart::VectorScanner::candidate(at, end);
      EXPECT(found == multipart::ScalarScanner::candidate(at, end));
      if (at == end) break;
    }
  }
}

class Dice final {
 public:
  explicit Dice(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  size_t below(size_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state_ >> 33) % bound;
  }

 private:
  uint64_t state_;
};

// Content of pieces that resemble delimiters but hold none, not even with the CRLF behind it.
std::string made_up_content(Dice& dice, const std::string& boundary) {
  const std::string pieces[] = {"\r",
                                "\n",
                                "-",
                                "--",
                                "\r\n",
                                "x",
                                boundary,
                                "\r\n--" + boundary,
                                boundary.substr(0, 1 + dice.below(boundary.size())),
                                " "};
  std::string content;
  for (size_t left = dice.below(30); left > 0; left--) {
    content += pieces[dice.below(std::size(pieces))];
  }
  const std::string line = "\r\n--" + boundary;
  const std::string seen = content + line;
  for (size_t at = 0; (at = seen.find(line, at)) != std::string::npos; at++) {
    const Bytes behind = Bytes(seen).substr(at + line.size());
    if (behind.starts_with(" ") || behind.starts_with("--") || behind.starts_with("\r\n")) {
      return "plain";
    }
  }
  return content;
}

TEST("forms made up at random come back as they were made, at any split") {
  for (uint64_t seed = 0; seed < 2000; seed++) {
    context = "seed " + std::to_string(seed);
    Dice dice(seed);
    const std::string boundary = dice.below(3) == 0   ? "-"
                                 : dice.below(2) == 0 ? "--"
                                                      : std::string(1 + dice.below(70), 'b');
    std::vector<FoundPart> parts(dice.below(5));
    std::string body = dice.below(3) == 0 ? "preamble\r\n" : "";
    for (FoundPart& part : parts) {
      part.name = "n" + std::to_string(dice.below(100));
      part.has_filename = dice.below(2) == 0;
      part.content = made_up_content(dice, boundary);
      part.has_end = true;
      std::string value = "form-data; name=\"" + part.name + "\"";
      if (part.has_filename) value += "; filename=\"\"";
      part.headers = "\ncontent-disposition" + std::string(1, '\0') + value + "\n";
      body += "--" + boundary + (dice.below(4) == 0 ? " \t" : "") +
              "\r\nContent-Disposition: " + value + "\r\n\r\n" + part.content + "\r\n";
    }
    body += "--" + boundary + "--" + (dice.below(2) == 0 ? "\r\nepilogue" : "");
    const FoundForm whole = decode_form(boundary, {}, body, everything);
    EXPECT(whole.is_complete && whole.parts == parts);
    const std::vector<std::string> contents = split_naively(boundary, body);
    if (EXPECT(contents.size() == parts.size())) {
      for (size_t i = 0; i < parts.size(); i++) EXPECT(contents[i] == parts[i].content);
    }
    EXPECT(decode_form(boundary, {}, body, one_byte) == whole);
    const auto some = [&](size_t left) { return dice.below(left + 1); };
    EXPECT(decode_form(boundary, {}, body, some) == whole);
  }
}

}  // namespace

}  // namespace millrace::test
