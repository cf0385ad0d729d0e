// Drives the multipart decoder over a body in pieces, checks at every step what must always hold,
// and gathers what it finds. Shared by its tests and its fuzz target.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/proto/multipart/decoder.h"

namespace millrace::test {

struct FoundPart {
  std::string name = {};
  std::string filename = {};
  bool has_filename = false;
  std::string headers = {};
  std::string content = {};
  bool has_end = false;
  bool operator==(const FoundPart&) const = default;
};

struct FoundForm {
  std::vector<FoundPart> parts;
  ErrorCode error = ErrorCode::None;
  size_t steps = 0;  // not compared
  bool is_complete = false;
  bool operator==(const FoundForm& other) const {
    return parts == other.parts && error == other.error && is_complete == other.is_complete;
  }
};

// Takes one step in; says whether there may be another one in what was offered.
inline bool note_step(const MultipartDecoder::Step& step, const MultipartDecoder& decoder,
                      Bytes offered, FoundForm& result) {
  MR_CHECK(step.consumed <= offered.size());
  MR_CHECK((step.found == MultipartDecoder::Found::Broken) == (step.error != ErrorCode::None));
  MR_CHECK(step.found == MultipartDecoder::Found::Content ? step.content.size() == step.consumed
                                                          : step.content.empty());
  switch (step.found) {
    case MultipartDecoder::Found::NeedMore: return false;
    case MultipartDecoder::Found::Part:
      MR_CHECK(result.parts.empty() || result.parts.back().has_end);
      result.parts.push_back({.name = std::string(decoder.part().name),
                              .filename = std::string(decoder.part().filename),
                              .has_filename = decoder.part().has_filename,
                              .headers = std::string(decoder.part().headers)});
      return true;
    case MultipartDecoder::Found::Content:
      MR_CHECK(!step.content.empty() && step.content.data() == offered.data());
      MR_CHECK(!result.parts.empty() && !result.parts.back().has_end);
      result.parts.back().content.append(step.content);
      return true;
    case MultipartDecoder::Found::PartEnd:
      MR_CHECK(!result.parts.empty() && !result.parts.back().has_end);
      MR_CHECK(decoder.part().headers == result.parts.back().headers);
      result.parts.back().has_end = true;
      return true;
    case MultipartDecoder::Found::End: MR_CHECK(step.consumed == offered.size()); return false;
    case MultipartDecoder::Found::Broken: result.error = step.error; return false;
  }
  return false;
}

// `more(left)`: how many further bytes are offered with what was left unread.
template <typename More>
FoundForm decode_form(Bytes boundary, const MultipartLimits& limits, Bytes body, More more) {
  MultipartDecoder decoder(boundary, limits);
  FoundForm result;
  std::string unread;
  while (true) {
    const size_t length = more(body.size());
    unread.append(body.substr(0, length));
    body.remove_prefix(length);
    for (bool goes_on = true; goes_on;) {
      // Exactly as large as the offer, so that a sanitizer sees one byte too many.
      const std::unique_ptr<char[]> exact(new char[unread.size()]);
      if (!unread.empty()) std::memcpy(exact.get(), unread.data(), unread.size());
      const Bytes offered(exact.get(), unread.size());
      const MultipartDecoder::Step step = decoder.decode(offered);
      result.steps++;
      goes_on = note_step(step, decoder, offered, result);
      unread.erase(0, step.consumed);
      if (step.found == MultipartDecoder::Found::NeedMore) {
        MR_CHECK(unread.size() <= MultipartDecoder::held_max(boundary.size()));
      }
    }
    if (result.error != ErrorCode::None || body.empty()) break;
  }
  result.is_complete = decoder.is_complete();
  const auto again = decoder.decode("again");
  MR_CHECK(result.error == ErrorCode::None || again.error == result.error);
  MR_CHECK(!result.is_complete ||
           (again.found == MultipartDecoder::Found::End && again.consumed == 5));
  return result;
}

// The contents of the parts of a body that is known to be well-formed.
inline std::vector<std::string> split_naively(Bytes boundary, Bytes body) {
  const std::string line = "\r\n--" + std::string(boundary);
  std::string text = "\r\n" + std::string(body);
  std::vector<std::string> contents;
  size_t begin = std::string::npos;
  for (size_t at = 0; (at = text.find(line, at)) != std::string::npos;) {
    const Bytes behind = Bytes(text).substr(at + line.size());
    size_t padding = 0;
    while (padding < behind.size() && (behind[padding] == ' ' || behind[padding] == '\t')) {
      padding++;
    }
    const bool is_last = behind.starts_with("--");
    if (!is_last && !behind.substr(padding).starts_with("\r\n")) {
      at += line.size();
      continue;
    }
    if (begin != std::string::npos) contents.push_back(text.substr(begin, at - begin));
    if (is_last) break;
    at += line.size() + padding;
    begin = text.find("\r\n\r\n", at);
    MR_CHECK(begin != std::string::npos);
    begin += 4;
    at = begin;
  }
  return contents;
}

}  // namespace millrace::test
