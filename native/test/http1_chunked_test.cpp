// Chunk decoder: sizes, extensions, limits, and the same verdict and body at every split.
#include "core/proto/http1/chunked.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "test/harness.h"

namespace {

using millrace::Bytes;
using millrace::ErrorCode;
using millrace::MutableBytes;
using millrace::http1::ChunkDecoder;
using State = millrace::http1::ChunkDecoder::State;

struct Limits {
  uint64_t body_bytes_max = 1 << 20;
  uint64_t extension_bytes_max = 64;
};

struct Result {
  State state = State::NeedMore;
  ErrorCode error = ErrorCode::None;
  size_t consumed = 0;
  std::string body;
  friend bool operator==(const Result&, const Result&) = default;
};

// Offers one piece in an allocation of exactly its size and adds what comes of it to `result`.
void offer(ChunkDecoder& decoder, Bytes piece, Limits limits, Result& result) {
  char* memory = static_cast<char*>(std::malloc(std::max<size_t>(piece.size(), 1)));
  char* end = memory + std::max<size_t>(piece.size(), 1);
  char* begin = end - piece.size();
  if (!piece.empty()) std::memcpy(begin, piece.data(), piece.size());
  const ChunkDecoder::Step step = decoder.decode(MutableBytes(begin, piece.size()),
                                                 limits.body_bytes_max, limits.extension_bytes_max);
  EXPECT(step.produced <= step.consumed && step.consumed <= piece.size());
  EXPECT(step.state != State::NeedMore || step.consumed == piece.size());
  EXPECT((step.state == State::Broken) == (step.error != ErrorCode::None));
  result.body.append(begin, step.produced);
  EXPECT(decoder.total() == result.body.size());
  result.consumed += step.consumed;
  result.state = step.state;
  result.error = step.error;
  std::free(memory);
}

Result decode_at(Bytes input, size_t first, size_t second, Limits limits) {
  ChunkDecoder decoder;
  Result result;
  for (Bytes piece :
       {input.substr(0, first), input.substr(first, second - first), input.substr(second)}) {
    if (result.state == State::NeedMore) offer(decoder, piece, limits, result);
  }
  return result;
}

Result decode_bytewise(Bytes input, Limits limits) {
  ChunkDecoder decoder;
  Result result;
  for (size_t i = 0; i < input.size() && result.state == State::NeedMore; i++) {
    offer(decoder, input.substr(i, 1), limits, result);
  }
  return result;
}

// Whole, byte by byte, and at every pair of cuts.
void expect_everywhere(Bytes input, const Result& wanted, Limits limits) {
  millrace::test::context = std::string(input.substr(0, 80));
  EXPECT(decode_bytewise(input, limits) == wanted);
  for (size_t first = 0; first <= input.size(); first++) {
    for (size_t second = first; second <= input.size(); second++) {
      EXPECT(decode_at(input, first, second, limits) == wanted);
    }
  }
  millrace::test::context.clear();
}

void expect_body(Bytes input, const std::string& body, size_t behind = 0, Limits limits = {}) {
  expect_everywhere(input, {State::Trailers, ErrorCode::None, input.size() - behind, body}, limits);
}

void expect_more(Bytes input, const std::string& body, Limits limits = {}) {
  expect_everywhere(input, {State::NeedMore, ErrorCode::None, input.size(), body}, limits);
}

// Only the verdict and the body: where exactly it broke is in `consumed`, the same at every split.
void expect_broken(Bytes input, ErrorCode error, const std::string& body = "", Limits limits = {}) {
  const Result whole = decode_at(input, input.size(), input.size(), limits);
  millrace::test::context = std::string(input.substr(0, 80));
  EXPECT(whole.state == State::Broken);
  EXPECT(whole.error == error);
  EXPECT(whole.body == body);
  expect_everywhere(input, whole, limits);
}

TEST("chunks are joined and what follows the last chunk's line is left alone") {
  expect_body("0\r\n", "");
  expect_body("3\r\nabc\r\n0\r\n", "abc");
  expect_body("3\r\nabc\r\n0\r\n\r\nGET", "abc", 5);
  expect_body("5\r\nalpha\r\n6\r\n be\r\n\r\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n", "alpha be\r\n\r!", 8);
  expect_body("1\r\n0\r\n0\r\n", "0");
}

TEST("sizes are hex of either case, with leading zeros, up to 16 digits") {
  expect_body("A\r\n0123456789\r\n0\r\n", "0123456789");
  expect_body("a\r\n0123456789\r\n0\r\n", "0123456789");
  expect_body("0000000000000003\r\nabc\r\n0000000000000000\r\n", "abc");
  expect_broken("00000000000000003\r\nabc\r\n0\r\n", ErrorCode::BadChunk);
  expect_broken("00000000000000000\r\n", ErrorCode::BadChunk);
}

TEST("every other size line is refused") {
  for (const char* input :
       {"\r\n",      ";a\r\n",  "0x3\r\nabc", "-3\r\nabc",   "+3\r\nabc", " 3\r\nabc",
        "3 \r\nabc", "g\r\n",   "3\t\r\nabc", "3 ;a\r\nabc", "3\nabc\n",  "3\rabc",
        "3\r\r\n",   "\n3\r\n", "3,3\r\n",    "3.\r\n",      "3h\r\n",    "\xb3\r\n",
        "3\x7f\r\n", "@\r\n",   "`\r\n",      "G\r\n",       "/\r\n",     ":\r\n"}) {
    expect_broken(input, ErrorCode::BadChunk);
  }
  expect_broken(Bytes("\0\r\n", 3), ErrorCode::BadChunk);
}

TEST("data that CRLF does not follow is refused") {
  expect_broken("3\r\nabcd\r\n0\r\n", ErrorCode::BadChunk, "abc");
  expect_broken("3\r\nabc\n0\r\n", ErrorCode::BadChunk, "abc");
  expect_broken("3\r\nabc\rX", ErrorCode::BadChunk, "abc");
  expect_broken("3\r\nabc0\r\n", ErrorCode::BadChunk, "abc");
  expect_broken("3\r\nabc\r\n\r\n", ErrorCode::BadChunk, "abc");
  expect_broken("3\r\nabc\r\n0\n", ErrorCode::BadChunk, "abc");
}

TEST("unfinished bodies need more") {
  for (const char* input : {"", "3", "3\r", "3;", "3;a=\"", "3;a=\"\\", "0", "0\r"})
    expect_more(input, "");
  expect_more("3\r\nab", "ab");
  expect_more("3\r\nabc", "abc");
  expect_more("3\r\nabc\r", "abc");
  expect_more("3\r\nabc\r\n", "abc");
}

TEST("extensions are skipped") {
  for (const char* extension : {";a", ";a=b", ";a=\"b;c\"", ";a = b ; c", ";a=\"\\\"\"",
                                ";\ta=\"\x80\"", ";", ";a=\"\\\\\""}) {
    expect_body("3" + std::string(extension) + "\r\nabc\r\n0" + extension + "\r\n", "abc");
  }
}

TEST("extensions that could hide a line end are refused") {
  for (const char* extension : {";a\n", ";a\rb", ";a=\"\r\n\"", ";a=\"\n\"", ";a=\"\\\r\n",
                                ";a\x7f", ";a\x01", ";a=\"\x1f\"", ";a=\"b"}) {
    expect_broken("3" + std::string(extension) + "\r\nabc\r\n0\r\n", ErrorCode::BadChunk);
  }
  expect_broken(Bytes("3;\0\r\n", 5), ErrorCode::BadChunk);
}

TEST("extensions of a whole body stay under their limit") {
  const Limits limits{.extension_bytes_max = 8};
  expect_body("1;abc\r\nx\r\n0;def\r\n", "x", 0, limits);
  expect_body("1;abc\r\nx\r\n0;de\r\n", "x", 0, limits);
  expect_broken("1;abc\r\nx\r\n0;defg\r\n", ErrorCode::BadChunk, "x", limits);
  expect_broken("1;abcdefghijk", ErrorCode::BadChunk, "", limits);
  expect_broken("1;a=\"defghijk", ErrorCode::BadChunk, "", limits);
  expect_broken("0;\r\n", ErrorCode::BadChunk, "", {.extension_bytes_max = 0});
  expect_body("0\r\n", "", 0, {.extension_bytes_max = 0});
}

TEST("a body is accepted up to its limit and 413 beyond, at the size line") {
  const Limits limits{.body_bytes_max = 6};
  expect_body("5\r\nabcde\r\n0\r\n", "abcde", 0, limits);
  expect_body("6\r\nabcdef\r\n0\r\n", "abcdef", 0, limits);
  expect_body("3\r\nabc\r\n3\r\ndef\r\n0\r\n", "abcdef", 0, limits);
  expect_broken("7\r", ErrorCode::BodyTooLarge, "", limits);
  expect_broken("7;", ErrorCode::BodyTooLarge, "", limits);
  expect_broken("3\r\nabc\r\n4\r", ErrorCode::BodyTooLarge, "abc", limits);
  expect_broken("3\r\nabc\r\n4\r\ndefg\r\n", ErrorCode::BodyTooLarge, "abc", limits);
  expect_broken("1\r", ErrorCode::BodyTooLarge, "", {.body_bytes_max = 0});
  expect_body("0\r\n", "", 0, {.body_bytes_max = 0});
  expect_broken("7z\r\n", ErrorCode::BadChunk, "", limits);
}

TEST("sizes near the end of the range do not wrap") {
  for (const char* size : {"8000000000000000", "8fffffffffffffff", "ffffffffffffffff",
                           "fffffffffffffffd", "7fffffffffffffff", "100000001", "100000000"}) {
    expect_broken(size + std::string("\r\n"), ErrorCode::BodyTooLarge);
    expect_broken("3\r\nabc\r\n" + std::string(size) + "\r\n", ErrorCode::BodyTooLarge, "abc");
  }
  expect_more("ffffffffffffffff\r\nabc", "abc", {.body_bytes_max = UINT64_MAX});
  expect_broken("3\r\nabc\r\nfffffffffffffffd\r\n", ErrorCode::BodyTooLarge, "abc",
                {.body_bytes_max = UINT64_MAX});
  expect_more("3\r\nabc\r\nfffffffffffffffc\r\nd", "abcd", {.body_bytes_max = UINT64_MAX});
}

TEST("a limit that shrinks below what has come refuses the next chunk") {
  ChunkDecoder decoder;
  Result result;
  offer(decoder, "3\r\nabc\r\n", {}, result);
  offer(decoder, "1\r\n", {.body_bytes_max = 2}, result);
  EXPECT(result.error == ErrorCode::BodyTooLarge);
}

TEST("the end and an error are final") {
  ChunkDecoder ended;
  Result result;
  offer(ended, "0\r\n", {}, result);
  offer(ended, "3\r\nabc", {}, result);
  EXPECT(result.state == State::Trailers && result.consumed == 3 && result.body.empty());
  ChunkDecoder broken;
  result = {};
  offer(broken, "x", {}, result);
  offer(broken, "3\r\nabc", {}, result);
  EXPECT(result.state == State::Broken && result.error == ErrorCode::BadChunk &&
         result.consumed == 0);
}

}  // namespace
