// Base64: the examples of RFC 4648 section 10, and what is not base64.
#include "core/base/base64.h"

#include <string>

#include "test/harness.h"

namespace millrace {
namespace {

std::string encoded(Bytes bytes) {
  std::string text(base64_size(bytes.size()), '\0');
  write_base64(bytes, text.data());
  return text;
}

TEST("the examples of RFC 4648 are encoded as published") {
  const Bytes examples[][2] = {{"", ""},
                               {"f", "Zg=="},
                               {"fo", "Zm8="},
                               {"foo", "Zm9v"},
                               {"foob", "Zm9vYg=="},
                               {"fooba", "Zm9vYmE="},
                               {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : examples) {
    EXPECT(encoded(bytes) == text);
    size_t size = 99;
    EXPECT(is_base64(text, size) && size == bytes.size());
  }
  EXPECT(encoded("\xfb\xff\xbf") == "+/+/");
  EXPECT(encoded("\xff\xff\xff\xff") == "/////w==");
}

TEST("what is not base64 is told from what is") {
  size_t size = 0;
  for (Bytes text : {"Zg=", "Zg", "Z", "Z===", "====", "=Zg=", "Zg=a", "Zm8=Zm8=", "Zm-_", "Zm 8",
                     "Zm9\n", "Zm9v====", "Zm9\x80"}) {
    test::context = text;
    EXPECT(!is_base64(text, size));
  }
  EXPECT(!is_base64(Bytes("Zm\0v", 4), size));
  for (int c = 0; c < 256; c++) {
    const char text[4] = {'A', static_cast<char>(c), 'A', 'A'};
    const bool wanted = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                        (c >= 'A' && c <= 'Z') || c == '+' || c == '/';
    EXPECT(is_base64(Bytes(text, 4), size) == wanted);
  }
  // Bits that padding leaves over are not looked at.
  EXPECT(is_base64("Zh==", size) && size == 1);
}

}  // namespace
}  // namespace millrace
