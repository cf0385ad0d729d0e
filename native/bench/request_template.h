// RequestTemplate: the bytes of one request. Every "{n}" in it stands for a number of ten digits
// that differs from request to request, so that no cache answers twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/program.h"

namespace millrace::bench {

class RequestTemplate final {
 public:
  static constexpr size_t kDigits = 10;
  // No response holds this by chance, as it might hold ten zeros.
  static constexpr uint64_t kFirstNumber = 1'730'000'000;

  explicit RequestTemplate(std::string_view text) {
    if (text.find("\r\n\r\n") == std::string_view::npos)
      fail("the request has no end of its head (CRLF CRLF)");
    for (;;) {
      size_t at = text.find("{n}");
      text_ += text.substr(0, at);
      if (at == std::string_view::npos) break;
      places_.push_back(text_.size());
      text_.append(kDigits, '0');
      text.remove_prefix(at + 3);
    }
  }

  [[nodiscard]] size_t size() const { return text_.size(); }
  // Whether requests differ.
  [[nodiscard]] bool counts() const { return !places_.empty(); }
  // The response to HEAD has no body, whatever it announces.
  [[nodiscard]] bool is_head() const { return text_.starts_with("HEAD "); }

  [[nodiscard]] static std::string digits_of(uint64_t number) {
    std::string digits(kDigits, '0');
    for (size_t i = kDigits; i-- > 0; number /= 10) {
      digits[i] = static_cast<char>('0' + number % 10);
    }
    return digits;
  }
  void append_to(std::string& out, uint64_t number) const {
    size_t begin = out.size();
    out += text_;
    if (!counts()) return;
    std::string digits = digits_of(number);
    for (size_t place : places_) out.replace(begin + place, kDigits, digits);
  }

 private:
  std::string text_;
  std::vector<size_t> places_;
};

}  // namespace millrace::bench
