// The ASCII tools that parsers share: tokens, folding, lists, trimming, decimals.
#include "core/base/bytes.h"

#include <cstdint>
#include <string>

#include "test/harness.h"

namespace {

using millrace::ascii_lower;
using millrace::Bytes;
using millrace::equals_folded;
using millrace::is_token;
using millrace::is_token_char;
using millrace::list_has_token;
using millrace::parse_decimal;
using millrace::trim_ows;
using millrace::write_decimal;

TEST("token characters are those of RFC 9110 and no others") {
  const std::string wanted =
      "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (int c = 0; c < 256; c++) {
    const bool listed = wanted.find(static_cast<char>(c)) != std::string::npos;
    EXPECT(is_token_char(static_cast<unsigned char>(c)) == listed);
  }
}

TEST("a token has at least one character and only token characters") {
  EXPECT(is_token("a"));
  EXPECT(is_token("Content-Length"));
  EXPECT(!is_token(""));
  EXPECT(!is_token("a b"));
  EXPECT(!is_token("a:"));
  EXPECT(!is_token(Bytes("a\0", 2)));
  EXPECT(!is_token("\xe9"));
}

TEST("only ASCII letters are folded") {
  for (int c = 0; c < 256; c++) {
    const char byte = static_cast<char>(c);
    const bool upper = c >= 'A' && c <= 'Z';
    EXPECT(ascii_lower(byte) == (upper ? static_cast<char>(c + 32) : byte));
  }
  EXPECT(equals_folded("ChUnKeD", "chunked"));
  EXPECT(equals_folded("", ""));
  EXPECT(!equals_folded("chunke", "chunked"));
  EXPECT(!equals_folded("chunkedd", "chunked"));
  EXPECT(!equals_folded("[", "{"));
  EXPECT(!equals_folded("@", "`"));
}

TEST("a list holds a token in any case, between commas and white space") {
  EXPECT(list_has_token("close", "close"));
  EXPECT(list_has_token("foo, CLOSE", "close"));
  EXPECT(list_has_token("\tclose\t,foo", "close"));
  EXPECT(list_has_token(",,close,", "close"));
  EXPECT(!list_has_token("", "close"));
  EXPECT(!list_has_token(",", "close"));
  EXPECT(!list_has_token("closed", "close"));
  EXPECT(!list_has_token("not close", "close"));
  EXPECT(!list_has_token("close;q=1", "close"));
}

TEST("white space goes at both ends and stays inside") {
  EXPECT(trim_ows(" \t a b\t ") == "a b");
  EXPECT(trim_ows("a") == "a");
  EXPECT(trim_ows(" \t ").empty());
  EXPECT(trim_ows("").empty());
  EXPECT(trim_ows("\r\na\v") == "\r\na\v");
}

TEST("decimals are digits only and never wrap") {
  uint64_t value = 7;
  EXPECT(parse_decimal("0", value) && value == 0);
  EXPECT(parse_decimal("00012", value) && value == 12);
  EXPECT(parse_decimal("18446744073709551615", value) && value == UINT64_MAX);
  value = 7;
  for (const char* text :
       {"", "-1", "+1", " 1", "1 ", "1a", "0x1", "1,1", "1.0", "18446744073709551616",
        "18446744073709551620", "99999999999999999999", "184467440737095516150"}) {
    EXPECT(!parse_decimal(text, value));
    EXPECT(value == 7);
  }
}

TEST("a written decimal is the shortest form of the number") {
  for (uint64_t value :
       {uint64_t{0}, uint64_t{9}, uint64_t{10}, uint64_t{12345}, uint64_t{UINT64_MAX}}) {
    char out[20];
    EXPECT(std::string(out, write_decimal(value, out)) == std::to_string(value));
  }
}

}  // namespace
