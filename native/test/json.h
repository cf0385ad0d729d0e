// Reads the JSON that the tests keep their data in. Strings come as latin1; a malformed file gives
// null values, never a crash.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/base/bytes.h"

namespace millrace::test {

struct Json {
  enum class Kind : uint8_t { Null, False, True, Number, String, Array, Object };
  Kind kind = Kind::Null;
  std::string text;                // a string, or a number as written
  std::vector<Json> items;         // of an array, or the values of an object
  std::vector<std::string> names;  // of an object

  [[nodiscard]] bool is_there() const { return kind != Kind::Null; }
  [[nodiscard]] bool is_true() const { return kind == Kind::True; }
  [[nodiscard]] int64_t number() const { return std::strtoll(text.c_str(), nullptr, 10); }
  // A null value when there is none of that name.
  [[nodiscard]] const Json& operator[](Bytes name) const {
    static const Json kNull;
    for (size_t i = 0; i < names.size(); i++) {
      if (names[i] == name) return items[i];
    }
    return kNull;
  }
};

class JsonReader final {
 public:
  explicit JsonReader(Bytes text) : text_(text) {}

  Json read() {
    skip();
    Json value;
    if (text_.empty()) return value;
    switch (text_.front()) {
      case '{': read_object(value); break;
      case '[': read_array(value); break;
      case '"':
        value.kind = Json::Kind::String;
        value.text = read_string();
        break;
      case 't': take_literal("true", Json::Kind::True, value); break;
      case 'f': take_literal("false", Json::Kind::False, value); break;
      case 'n': take_literal("null", Json::Kind::Null, value); break;
      default: {
        value.kind = Json::Kind::Number;
        const size_t length = std::min(text_.find_first_not_of("+-.0123456789eE"), text_.size());
        value.text = std::string(text_.substr(0, length));
        text_.remove_prefix(length == 0 ? 1 : length);
      }
    }
    return value;
  }

 private:
  void skip() {
    const size_t begin = text_.find_first_not_of(" \n\r\t,:");
    text_.remove_prefix(std::min(begin, text_.size()));
  }
  [[nodiscard]] bool at_end(char closing) {
    skip();
    if (text_.empty()) return true;
    if (text_.front() != closing) return false;
    text_.remove_prefix(1);
    return true;
  }
  void take_literal(Bytes word, Json::Kind kind, Json& value) {
    value.kind = kind;
    text_.remove_prefix(std::min(word.size(), text_.size()));
  }
  void read_array(Json& value) {
    value.kind = Json::Kind::Array;
    text_.remove_prefix(1);
    while (!at_end(']')) value.items.push_back(read());
  }
  void read_object(Json& value) {
    value.kind = Json::Kind::Object;
    text_.remove_prefix(1);
    while (!at_end('}')) {
      value.names.push_back(read_string());
      value.items.push_back(read());
    }
  }
  std::string read_string() {
    std::string out;
    text_.remove_prefix(1);
    while (!text_.empty()) {
      const char c = text_.front();
      text_.remove_prefix(1);
      if (c == '"') break;
      if (c != '\\' || text_.empty()) {
        out += c;
        continue;
      }
      const char escape = text_.front();
      text_.remove_prefix(1);
      switch (escape) {
        case 'r': out += '\r'; break;
        case 'n': out += '\n'; break;
        case 't': out += '\t'; break;
        case 'f': out += '\f'; break;
        case 'b': out += '\b'; break;
        case 'u': {
          const std::string digits(text_.substr(0, 4));
          out += static_cast<char>(std::strtoul(digits.c_str(), nullptr, 16));
          text_.remove_prefix(std::min<size_t>(4, text_.size()));
          break;
        }
        default: out += escape;
      }
    }
    return out;
  }

  Bytes text_;
};

}  // namespace millrace::test
