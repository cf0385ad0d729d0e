// ResponsePattern: knows one response by heart, the first one, and compares all others with it. The
// Date value may differ, and the request's number where the first response echoed its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/request_template.h"
#include "bench/response_frame.h"

namespace millrace::bench {

class ResponsePattern final {
 public:
  ResponsePattern(const RequestTemplate& request, std::optional<std::string> body)
      : counts_(request.counts()), answers_head_(request.is_head()), body_(std::move(body)) {}

  // Bytes of the first response of `input`, the answer to request `number`; 0 when it is not whole.
  // Learns the first it sees. `right` says whether it is what it should be.
  [[nodiscard]] size_t match(std::string_view input, uint64_t number, bool& right) {
    if (input.empty()) return 0;
    if (text_.empty()) return learn(input, number, right);
    std::string digits = counts_ ? RequestTemplate::digits_of(number) : std::string();
    right = agrees(input, digits);
    if (right) return input.size() >= text_.size() ? text_.size() : 0;
    ResponseFrame frame = frame_of(input, answers_head_);  // ends the program for 404, 500, …
    if (frame.total > 0 && !told_) {
      told_ = true;
      std::fprintf(stderr, "%s: the first response that differs:\n%.*s\n", program_name,
                   static_cast<int>(std::min<size_t>(frame.total, 1024)), input.data());
    }
    return frame.total;
  }

 private:
  static constexpr size_t kDateLength = 29;  // "Sat, 21 Nov 2026 05:00:00 GMT"

  // A part of the text that is not compared with the text.
  struct Hole {
    size_t at;
    size_t length;
    bool is_number;
  };

  size_t learn(std::string_view input, uint64_t number, bool& right) {
    ResponseFrame frame = frame_of(input, answers_head_);
    if (frame.total == 0) return 0;
    if (body_ && *body_ != frame.body)
      fail_response("the body is not that of --expect-body-file", input);
    right = true;
    text_ = input.substr(0, frame.total);
    std::string_view date = field_of(input.substr(0, frame.head - 2), "date");
    if (date.size() == kDateLength)
      holes_.push_back({static_cast<size_t>(date.data() - input.data()), kDateLength, false});
    if (counts_) add_number_holes(RequestTemplate::digits_of(number));
    std::sort(holes_.begin(), holes_.end(),
              [](const Hole& a, const Hole& b) { return a.at < b.at; });
    return text_.size();
  }

  void add_number_holes(const std::string& digits) {
    size_t at = text_.find(digits);
    for (; at != std::string::npos; at = text_.find(digits, at + digits.size())) {
      holes_.push_back({at, digits.size(), true});
    }
  }

  // As far as both go.
  [[nodiscard]] bool agrees(std::string_view input, const std::string& digits) const {
    input = input.substr(0, std::min(input.size(), text_.size()));
    size_t at = 0;
    auto same = [&](const char* with, size_t length) {
      size_t count = std::min(length, input.size() - at);
      bool is_same = with == nullptr || std::memcmp(input.data() + at, with, count) == 0;
      at += count;
      return is_same;
    };
    for (const Hole& hole : holes_) {
      if (!same(text_.data() + at, hole.at - at)) return false;
      if (at == input.size()) return true;
      if (!same(hole.is_number ? digits.data() : nullptr, hole.length)) return false;
      if (at == input.size()) return true;
    }
    return same(text_.data() + at, input.size() - at);
  }

  const bool counts_;
  const bool answers_head_;
  std::optional<std::string> body_;
  std::string text_;
  std::vector<Hole> holes_;
  bool told_ = false;
};

}  // namespace millrace::bench
