#include "core/proto/multipart/parameters.h"

#include <algorithm>

namespace millrace::multipart {

bool is_escape(Bytes text, Backslash backslash) {
  return backslash == Backslash::Escapes && text.size() >= 2 && text[0] == '\\' &&
         (text[1] == '"' || text[1] == '\\');
}

Bytes take_token(Bytes& text) {
  size_t length = 0;
  while (length < text.size() && is_token_char(static_cast<unsigned char>(text[length]))) length++;
  const Bytes token = text.substr(0, length);
  text.remove_prefix(length);
  return token;
}

ParameterReader::Read ParameterReader::next(Parameter& parameter) {
  parameter = Parameter();
  do {
    text_ = trim_ows(text_);
    if (text_.empty()) return Read::End;
    if (text_.front() != ';') return Read::Malformed;
    text_ = trim_ows(text_.substr(1));
  } while (text_.empty() || text_.front() == ';');
  parameter.name = take_token(text_);
  if (parameter.name.empty()) return Read::Malformed;
  if (text_.empty() || text_.front() != '=') return Read::Found;
  text_.remove_prefix(1);
  parameter.has_value = true;
  if (!text_.empty() && text_.front() == '"') {
    return read_quoted(parameter) ? Read::Found : Read::Malformed;
  }
  const size_t length = std::min(text_.find_first_of("; \t"), text_.size());
  parameter.value = text_.substr(0, length);
  text_.remove_prefix(length);
  return Read::Found;
}

bool ParameterReader::read_quoted(Parameter& parameter) {
  parameter.is_quoted = true;
  text_.remove_prefix(1);
  size_t length = 0;
  while (length < text_.size() && text_[length] != '"') {
    length += is_escape(text_.substr(length), backslash_) ? 2 : 1;
  }
  if (length == text_.size()) return false;
  parameter.value = text_.substr(0, length);
  text_.remove_prefix(length + 1);
  return true;
}

}  // namespace millrace::multipart
