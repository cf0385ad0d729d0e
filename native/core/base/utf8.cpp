#include "core/base/utf8.h"

#include <cstdint>

namespace millrace {
namespace {

constexpr size_t kStep = 16;
constexpr uint32_t kReplacement = 0xfffd;

char* put(char* out, uint32_t code) {
  auto byte = [&out](uint32_t value) { *out++ = static_cast<char>(value); };
  if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xc0 | code >> 6);
    byte(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    byte(0xe0 | code >> 12);
    byte(0x80 | (code >> 6 & 0x3f));
    byte(0x80 | (code & 0x3f));
  } else {
    byte(0xf0 | code >> 18);
    byte(0x80 | (code >> 12 & 0x3f));
    byte(0x80 | (code >> 6 & 0x3f));
    byte(0x80 | (code & 0x3f));
  }
  return out;
}

bool is_high(char16_t unit) { return unit >= 0xd800 && unit <= 0xdbff; }
bool is_low(char16_t unit) { return unit >= 0xdc00 && unit <= 0xdfff; }

// Copies ASCII in steps that compilers make vectors of; how many units.
size_t copy_ascii(std::u16string_view text, char* out) {
  size_t at = 0;
  for (; text.size() - at >= kStep; at += kStep) {
    uint32_t all = 0;
    for (size_t i = 0; i < kStep; i++) all |= text[at + i];
    if (all >= 0x80) break;
    for (size_t i = 0; i < kStep; i++) out[at + i] = static_cast<char>(text[at + i]);
  }
  while (at < text.size() && text[at] < 0x80) {
    out[at] = static_cast<char>(text[at]);
    at++;
  }
  return at;
}

}  // namespace

size_t write_utf8(std::u16string_view text, char* out) {
  char* begin = out;
  while (!text.empty()) {
    size_t plain = copy_ascii(text, out);
    out += plain;
    text.remove_prefix(plain);
    for (; !text.empty() && text[0] >= 0x80; text.remove_prefix(1)) {
      uint32_t code = text[0];
      if (is_high(text[0]) && text.size() > 1 && is_low(text[1])) {
        code = 0x10000 + ((code - 0xd800) << 10) + (text[1] - uint32_t{0xdc00});
        text.remove_prefix(1);
      } else if (is_high(text[0]) || is_low(text[0])) {
        code = kReplacement;
      }
      out = put(out, code);
    }
  }
  return static_cast<size_t>(out - begin);
}

}  // namespace millrace
