// UTF-16 to UTF-8: every length, surrogates whole and halved.
#include "core/base/utf8.h"

#include <string>

#include "test/harness.h"

namespace millrace {
namespace {

std::string written(const std::u16string& text) {
  std::string out(text.size() * kUtf8PerUnit, '?');
  out.resize(write_utf8(text, out.data()));
  return out;
}

TEST("ASCII of every length up to several steps is copied") {
  for (size_t length = 0; length < 70; length++) {
    std::string ascii;
    for (size_t i = 0; i < length; i++) ascii += static_cast<char>(1 + (i * 37 + length) % 127);
    EXPECT(written(std::u16string(ascii.begin(), ascii.end())) == ascii);
  }
}

TEST("each size of code point is encoded, at each place of a step") {
  for (size_t before = 0; before < 40; before++) {
    std::u16string text(before, u'a');
    std::string bytes(before, 'a');
    text += u"\u0080\u07ff\u0800\uffff\U00010000\U0010ffff" + std::u16string(40 - before, u'z');
    bytes += "\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf" +
             std::string(40 - before, 'z');
    EXPECT(written(text) == bytes);
  }
}

TEST("half a surrogate pair becomes U+FFFD") {
  const std::string replacement = "\xef\xbf\xbd";
  EXPECT(written({0xd800}) == replacement);
  EXPECT(written({0xdfff}) == replacement);
  EXPECT(written({u'a', 0xdbff}) == "a" + replacement);
  EXPECT(written({0xd800, u'a'}) == replacement + "a");
  EXPECT(written({0xdc00, 0xd800}) == replacement + replacement);
  EXPECT(written({0xd800, 0xd800, 0xdc00}) == replacement + "\xf0\x90\x80\x80");
}

}  // namespace
}  // namespace millrace
