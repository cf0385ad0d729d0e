#include "core/proto/scgi/session.h"

#include <string>

#include "core/model/request_event.h"
#include "core/proto/http1/head.h"
#include "core/proto/http1/session.h"
#include "core/proto/scgi/parser.h"

namespace millrace::scgi {
namespace {

constexpr size_t kMethodBytesMax = 255;
constexpr size_t kPlainVariablesMax = 64;  // besides those that are fields
constexpr size_t kRestOfLine = Bytes("  HTTP/1.1").size();

// What a path of a target may hold as it is, '%' aside (RFC 3986 3.3).
bool is_path_char(char c) {
  const char lower = ascii_lower(c);
  if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9')) return true;
  return c != '\0' && Bytes("/-._~!$&'()*+,;=:@").find(c) != Bytes::npos;
}

// A query came as it was sent.
bool is_query_char(char c) { return c > 0x20 && c < 0x7f && c != '#'; }

void append_encoded(Bytes text, bool (*may_stand)(char), std::string& to) {
  constexpr Bytes kDigits = "0123456789ABCDEF";
  for (const char c : text) {
    if (may_stand(c)) {
      to += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    to.append({'%', kDigits[byte >> 4], kDigits[byte & 15]});
  }
}

// Fields of framing and identity that only the gateway's own variables decide; and HTTP_PROXY,
// which libraries take for a setting of theirs.
bool is_ignored_field(Bytes name) {
  return name == "content-length" || name == "content-type" || name == "transfer-encoding" ||
         name == "proxy";
}

// The variables as a request of HTTP (RFC 3875 4.1). Owned by: its session.
class ScgiDialect final : public http1::Dialect {
 public:
  [[nodiscard]] int parse(Bytes input, const Limits& limits, RequestHead& head, HeaderField* fields,
                          ErrorCode& error) override {
    const ScgiLimits bounds{static_cast<size_t>(limits.header_bytes_max),
                            static_cast<size_t>(limits.header_count_max) + kPlainVariablesMax};
    const int parsed = parse_scgi_head(input, bounds, head_, error);
    if (parsed <= 0) return parsed;
    paths_ = {};
    client_length_ = {};
    client_address_ = {};
    names_.clear();
    names_.reserve(head_.block.size());  // they stay where they are
    head = {};
    head.method = "GET";
    head.headers = fields;
    field_count_max_ = static_cast<uint32_t>(limits.header_count_max);
    error = read(head, fields);
    if (error == ErrorCode::None) error = read_target(head);
    if (error == ErrorCode::None) error = judge_size(head, limits);
    return error == ErrorCode::None ? parsed : http1::kBroken;
  }

  [[nodiscard]] ErrorCode judge(http1::RequestRules& rules) const override {
    rules.has_length = true;
    rules.length = head_.content_length;
    rules.close = true;
    return ErrorCode::None;
  }

  [[nodiscard]] Bytes variables() const override { return head_.block; }
  [[nodiscard]] Bytes client_address() const override { return client_address_; }

 private:
  // Variables that make the target.
  struct Paths {
    Bytes uri;
    Bytes script;
    Bytes path;
    Bytes query;
  };

  ErrorCode read(RequestHead& head, HeaderField* fields) {
    for (Bytes rest = head_.block; !rest.empty();) {
      const Variable variable = take_variable(rest);
      ErrorCode error = ErrorCode::None;
      if (variable.name.starts_with("HTTP_")) {
        error = read_field(variable, head, fields);
      } else {
        error = read_plain(variable, head, fields);
      }
      if (error != ErrorCode::None) return error;
    }
    return read_length(head, fields);
  }

  // With scgi_request_buffering off nginx counts in CONTENT_LENGTH only what it has of the body so
  // far; the client's own field says how much comes. One request per connection: who is wrong waits
  // in vain, and nothing is taken for another request.
  ErrorCode read_length(RequestHead& head, HeaderField* fields) {
    constexpr uint64_t kLengthMax = (uint64_t{1} << 53) - 1;
    uint64_t length = 0;
    if (!parse_decimal(client_length_, length) || length <= head_.content_length) {
      return ErrorCode::None;
    }
    if (length > kLengthMax) return ErrorCode::BodyTooLarge;
    const bool has_field = head_.content_length > 0;
    head_.content_length = length;
    if (!has_field) return add_field({"content-length", client_length_}, head, fields);
    for (uint32_t i = 0; i < head.header_count; i++) {
      if (fields[i].name == "content-length") fields[i].value = client_length_;
    }
    return ErrorCode::None;
  }

  ErrorCode read_plain(const Variable& variable, RequestHead& head, HeaderField* fields) {
    const Bytes name = variable.name;
    const Bytes value = variable.value;
    if (name == "CONTENT_LENGTH" && head_.content_length > 0) {
      return add_field({"content-length", value}, head, fields);
    }
    if (name == "CONTENT_TYPE" && !value.empty()) {
      return add_field({"content-type", value}, head, fields);
    }
    if (name == "REQUEST_METHOD") {
      // A gateway has no tunnels to give.
      if (!is_token(value) || value.size() > kMethodBytesMax || value == "CONNECT") {
        return ErrorCode::BadScgi;
      }
      head.method = value;
    }
    if (name == "SERVER_PROTOCOL" && value == "HTTP/1.0") head.minor_version = 0;
    if (name == "REMOTE_ADDR") client_address_ = value;
    if (name == "REQUEST_URI") paths_.uri = value;
    if (name == "SCRIPT_NAME") paths_.script = value;
    if (name == "PATH_INFO") paths_.path = value;
    if (name == "QUERY_STRING") paths_.query = value;
    return ErrorCode::None;
  }

  // "HTTP_ACCEPT_LANGUAGE" is accept-language.
  ErrorCode read_field(const Variable& variable, RequestHead& head, HeaderField* fields) {
    const size_t begin = names_.size();
    for (const char c : variable.name.substr(5)) names_ += c == '_' ? '-' : ascii_lower(c);
    const Bytes name = Bytes(names_).substr(begin);
    if (!is_token(name)) return ErrorCode::BadScgi;
    if (name == "content-length") client_length_ = trim_ows(variable.value);
    if (is_ignored_field(name)) return ErrorCode::None;
    return add_field({name, variable.value}, head, fields);
  }

  ErrorCode add_field(HeaderField field, RequestHead& head, HeaderField* fields) const {
    if (head.header_count == field_count_max_) return ErrorCode::HeadersTooLarge;
    field.value = trim_ows(field.value);
    if (!http1::is_field_value(field.value)) return ErrorCode::BadScgi;
    if (field.name == "host") {
      if (!http1::is_valid_host(field.value)) return ErrorCode::BadHost;
      for (uint32_t i = 0; i < head.header_count; i++) {
        if (fields[i].name == field.name) return ErrorCode::BadHost;
      }
    }
    fields[head.header_count++] = field;
    return ErrorCode::None;
  }

  // As the client sent it, where the gateway says; else put together of what CGI has, where paths
  // are decoded.
  ErrorCode read_target(RequestHead& head) {
    const Bytes uri = paths_.uri;
    if (http1::is_request_target(head.method, uri)) {
      head.target = uri;
      return ErrorCode::None;
    }
    if (uri.starts_with('/')) return ErrorCode::BadScgi;
    target_.clear();
    append_encoded(paths_.script, &is_path_char, target_);
    append_encoded(paths_.path, &is_path_char, target_);
    if (!target_.starts_with('/')) target_.insert(0, 1, '/');
    if (!paths_.query.empty()) {
      target_ += '?';
      append_encoded(paths_.query, &is_query_char, target_);
    }
    head.target = target_;
    return ErrorCode::None;
  }

  // Bounds what an event of it takes: variables and fields say much of it twice.
  [[nodiscard]] static ErrorCode judge_variables(size_t size, const Limits& limits) {
    auto room = static_cast<size_t>(limits.header_bytes_max + limits.trailer_bytes_max);
    return size > room + kInlineBodyMax ? ErrorCode::HeadersTooLarge : ErrorCode::None;
  }

  [[nodiscard]] ErrorCode judge_size(const RequestHead& head, const Limits& limits) const {
    const size_t line = head.method.size() + head.target.size();
    if (line + kRestOfLine > static_cast<size_t>(limits.request_line_bytes_max)) {
      return ErrorCode::UriTooLong;
    }
    const size_t fields = fields_text_size(head.headers, head.header_count);
    return judge_variables(line + fields + head_.block.size(), limits);
  }

  ScgiHead head_;
  Paths paths_;
  Bytes client_length_;   // HTTP_CONTENT_LENGTH
  Bytes client_address_;  // REMOTE_ADDR
  uint32_t field_count_max_ = 0;
  std::string names_;
  std::string target_;
};

}  // namespace

std::unique_ptr<Session> make_session() {
  return std::make_unique<http1::Http1Session>(std::make_unique<ScgiDialect>());
}

}  // namespace millrace::scgi
