#include "core/proto/multipart/decoder.h"

#include <algorithm>
#include <cstring>

#include "core/base/check.h"
#include "core/proto/multipart/scan.h"

namespace millrace {

MultipartDecoder::MultipartDecoder(Bytes boundary, const MultipartLimits& limits)
    : limits_(limits) {
  MR_CHECK(is_multipart_boundary(boundary));
  std::memcpy(delimiter_.data(), "\r\n--", 4);
  std::memcpy(delimiter_.data() + 4, boundary.data(), boundary.size());
  delimiter_length_ = static_cast<uint8_t>(4 + boundary.size());
}

MultipartDecoder::Step MultipartDecoder::decode(Bytes unread) {
  if (phase_ == Phase::Closed) {
    total_ += unread.size();
    return {.found = Found::End, .consumed = unread.size()};
  }
  if (phase_ == Phase::Broken) return {.found = Found::Broken, .error = error_};
  // What is behind the limit is not looked at; that there is something breaks the body once all
  // before it has been found.
  const uint64_t room = limits_.total_bytes_max - total_;
  const Bytes text = room < unread.size() ? unread.substr(0, static_cast<size_t>(room)) : unread;
  Bytes rest = text;
  Step step;
  bool goes_on = true;
  while (goes_on) {
    switch (phase_) {
      case Phase::Start: goes_on = take_start(rest); break;
      case Phase::Preamble: goes_on = take_preamble(rest); break;
      case Phase::Boundary: goes_on = take_boundary(rest, step); break;
      case Phase::Padding: goes_on = take_padding(rest, step); break;
      case Phase::Head: goes_on = take_head(rest, step); break;
      case Phase::Content: goes_on = take_content(rest, step); break;
      case Phase::Closed:
      case Phase::Broken: goes_on = false; break;
    }
  }
  if (step.found == Found::NeedMore && text.size() < unread.size()) {
    fail(step, ErrorCode::MultipartLimit);
  }
  if (step.found == Found::Broken) return step;
  if (step.found == Found::End) rest = {};
  step.consumed = (step.found == Found::End ? unread.size() : text.size()) - rest.size();
  total_ += step.consumed;
  return step;
}

// The first delimiter may lack its CRLF.
bool MultipartDecoder::take_start(Bytes& rest) {
  const Bytes wanted = delimiter().substr(2);
  const size_t length = std::min(rest.size(), wanted.size());
  Behind behind = Behind::Text;
  if (rest.substr(0, length) == wanted.substr(0, length)) {
    behind = length < wanted.size() ? Behind::Undecided : judge(rest.substr(length));
  }
  if (behind == Behind::Undecided) return false;
  if (behind == Behind::Delimiter) rest.remove_prefix(length);
  phase_ = behind == Behind::Delimiter ? Phase::Boundary : Phase::Preamble;
  return true;
}

bool MultipartDecoder::take_preamble(Bytes& rest) {
  const Match match = find_delimiter(rest);
  rest.remove_prefix(match.at);
  if (match.behind != Behind::Delimiter) return false;
  rest.remove_prefix(delimiter_length_);
  phase_ = Phase::Boundary;
  return true;
}

// Behind "--boundary", which find_delimiter() or take_start() has judged by these bytes.
bool MultipartDecoder::take_boundary(Bytes& rest, Step& step) {
  if (rest.empty()) return false;
  if (rest.front() != '-') {
    phase_ = Phase::Padding;
    return true;
  }
  if (rest.size() < 2) return false;
  if (rest[1] != '-') return fail(step, ErrorCode::BadMultipart);
  phase_ = Phase::Closed;
  step.found = Found::End;
  return false;
}

bool MultipartDecoder::take_padding(Bytes& rest, Step& step) {
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  if (rest.empty() || rest == "\r") return false;
  if (!rest.starts_with("\r\n")) return fail(step, ErrorCode::BadMultipart);
  rest.remove_prefix(2);
  return begin_part(step);
}

bool MultipartDecoder::begin_part(Step& step) {
  if (parts_ == limits_.parts_max) return fail(step, ErrorCode::MultipartLimit);
  parts_++;
  phase_ = Phase::Head;
  content_bytes_ = 0;
  head_bytes_ = 0;
  head_lines_ = 0;
  has_disposition_ = false;
  line_.clear();
  headers_.assign(1, '\n');
  part_ = PartHead();
  return true;
}

bool MultipartDecoder::take_head(Bytes& rest, Step& step) {
  while (!rest.empty()) {
    const size_t line_feed = rest.find('\n');
    const bool ends = line_feed != Bytes::npos;
    Bytes line = rest.substr(0, ends ? line_feed + 1 : rest.size());
    if (line.size() > limits_.header_bytes_max - head_bytes_) {
      return fail(step, ErrorCode::PartHeadersTooLarge);
    }
    head_bytes_ += line.size();
    rest.remove_prefix(line.size());
    if (!ends || !line_.empty()) line_.append(line);
    if (!ends) return false;
    if (!line_.empty()) line = line_;
    if (!line.ends_with("\r\n")) return fail(step, ErrorCode::BadMultipart);
    line.remove_suffix(2);
    if (line.empty()) return finish_head(step);
    const ErrorCode error = take_head_line(line);
    if (error != ErrorCode::None) return fail(step, error);
    line_.clear();
  }
  return false;
}

// A line without a colon is a field without a value, as other servers read it. Values hold every
// byte but CR, LF and NUL: browsers leave the others as they are in names. Folded lines are
// refused, as RFC 9112 5.2 has it, and so is a boundary: the head has lost its end.
ErrorCode MultipartDecoder::take_head_line(Bytes line) {
  if (head_lines_ == limits_.header_count_max) return ErrorCode::PartHeadersTooLarge;
  head_lines_++;
  if (line.starts_with(delimiter().substr(2))) return ErrorCode::BadMultipart;
  if (line.find_first_of(Bytes("\r\0", 2)) != Bytes::npos) return ErrorCode::BadMultipart;
  const size_t colon = std::min(line.find(':'), line.size());
  const Bytes name = line.substr(0, colon);
  if (!is_token(name)) return ErrorCode::BadMultipart;
  const Bytes value = trim_ows(line.substr(std::min(colon + 1, line.size())));
  if (equals_folded(name, "content-disposition")) {
    if (has_disposition_ || !parse_disposition(value, disposition_)) return ErrorCode::BadMultipart;
    has_disposition_ = true;
  }
  for (char c : name) headers_ += ascii_lower(c);
  headers_ += '\0';
  headers_.append(value);
  headers_ += '\n';
  return ErrorCode::None;
}

bool MultipartDecoder::finish_head(Step& step) {
  if (!has_disposition_) return fail(step, ErrorCode::BadMultipart);
  const bool is_file = disposition_.has_filename;
  uint64_t& count = is_file ? files_ : fields_;
  if (count == (is_file ? limits_.files_max : limits_.fields_max)) {
    return fail(step, ErrorCode::MultipartLimit);
  }
  count++;
  content_bytes_max_ = is_file ? limits_.file_bytes_max : limits_.field_bytes_max;
  part_ = {.name = disposition_.name,
           .filename = disposition_.filename,
           .has_filename = is_file,
           .headers = headers_};
  phase_ = Phase::Content;
  step.found = Found::Part;
  return false;
}

// Content begins behind the head's empty line, and a delimiter has a CRLF of its own: a part that
// ends right there by RFC 2046's letter has, as for other servers, "--boundary" as its content.
bool MultipartDecoder::take_content(Bytes& rest, Step& step) {
  const Match match = find_delimiter(rest);
  if (match.at > 0) {
    const uint64_t room = content_bytes_max_ - content_bytes_;
    if (room == 0) return fail(step, ErrorCode::MultipartLimit);
    step.content = rest.substr(0, static_cast<size_t>(std::min<uint64_t>(match.at, room)));
    step.found = Found::Content;
    content_bytes_ += step.content.size();
    rest.remove_prefix(step.content.size());
    return false;
  }
  if (match.behind != Behind::Delimiter) return false;
  rest.remove_prefix(delimiter_length_);
  phase_ = Phase::Boundary;
  step.found = Found::PartEnd;
  return false;
}

bool MultipartDecoder::fail(Step& step, ErrorCode error) {
  phase_ = Phase::Broken;
  error_ = error;
  step = {.found = Found::Broken, .error = error};
  return false;
}

// The first delimiter, or the end of the text where it may be the beginning of one. Linear: a
// delimiter has its only CR in front, so no byte that matched can begin another one.
MultipartDecoder::Match MultipartDecoder::find_delimiter(Bytes text) const {
  const char* at = text.data();
  const char* end = at + text.size();
  while (true) {
    at = multipart::VectorScanner::candidate(at, end);
    if (at == end) return {.at = text.size()};
    const auto left = static_cast<size_t>(end - at);
    const size_t length = std::min<size_t>(left, delimiter_length_);
    if (std::memcmp(at, delimiter_.data(), length) != 0) {
      at++;
      continue;
    }
    const Behind behind =
        length < delimiter_length_ ? Behind::Undecided : judge(Bytes(at + length, left - length));
    if (behind != Behind::Text) return {static_cast<size_t>(at - text.data()), behind};
    at += length;
  }
}

MultipartDecoder::Behind MultipartDecoder::judge(Bytes behind) {
  if (behind.empty()) return Behind::Undecided;
  const char first = behind[0];
  if (first == ' ' || first == '\t') return Behind::Delimiter;
  if (first != '-' && first != '\r') return Behind::Text;
  if (behind.size() == 1) return Behind::Undecided;
  return behind[1] == (first == '-' ? '-' : '\n') ? Behind::Delimiter : Behind::Text;
}

}  // namespace millrace
