#include "test/case_file.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace millrace::test {
namespace {

struct Word {
  const char* name;
  StepKind kind;
};
constexpr Word kBareWords[] = {
    {"half-close", StepKind::HalfClose},
    {"reset", StepKind::Reset},
    {"drain", StepKind::Drain},
    {"open", StepKind::Open},
    {"closed", StepKind::Closed},
    {"lingers", StepKind::Lingers},
    {"quiet", StepKind::Quiet},
    {"over", StepKind::Over},
    {"stop", StepKind::Stop},
};
constexpr Word kAnswerWords[] = {
    {"reply", StepKind::Reply}, {"inform", StepKind::Inform},     {"cut", StepKind::Cut},
    {"read", StepKind::Read},   {"begin", StepKind::Begin},       {"write", StepKind::Write},
    {"end", StepKind::End},     {"answered", StepKind::Answered},
};

bool read_file(const std::string& path, std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  char buffer[4096];
  size_t length = 0;
  while ((length = std::fread(buffer, 1, sizeof(buffer), file)) > 0) text.append(buffer, length);
  std::fclose(file);
  return true;
}

// Takes one escape behind the backslash; false when there is no such escape.
bool unescape_one(Bytes& text, std::string& out) {
  if (text.empty()) return false;
  const char c = text.front();
  text.remove_prefix(1);
  switch (c) {
    case 'r': out += '\r'; return true;
    case 'n': out += '\n'; return true;
    case 't': out += '\t'; return true;
    case '0': out += '\0'; return true;
    case '\\':
    case '"':
    case '{': out += c; return true;
    case 'x': {
      if (text.size() < 2) return false;
      const std::string digits(text.substr(0, 2));
      out += static_cast<char>(std::strtoul(digits.c_str(), nullptr, 16));
      text.remove_prefix(2);
      return true;
    }
    default: return false;
  }
}

// Up to the end, or to an unescaped `stop`, which is taken too.
bool unescape(Bytes& text, char stop, std::string& out) {
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == stop && stop != '\0') return true;
    if (c == '\\') {
      if (!unescape_one(text, out)) return false;
    } else if (c == '{') {
      std::string unit;
      if (!unescape(text, '*', unit)) return false;
      const size_t end = text.find('}');
      if (end == Bytes::npos) return false;
      uint64_t count = 0;
      if (!parse_decimal(text.substr(0, end), count)) return false;
      text.remove_prefix(end + 1);
      for (uint64_t i = 0; i < count; i++) out += unit;
    } else {
      out += c;
    }
  }
  return stop == '\0';
}

bool unescape_all(Bytes text, std::string& out) { return unescape(text, '\0', out); }

Bytes take_word(Bytes& text) {
  const size_t begin = text.find_first_not_of(' ');
  text = begin == Bytes::npos ? Bytes() : text.substr(begin);
  const size_t end = std::min(text.find(' '), text.size());
  const Bytes word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

bool take_quoted(Bytes& text, std::string& out) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == Bytes::npos || text[begin] != '"') return false;
  text.remove_prefix(begin + 1);
  return unescape(text, '"', out);
}

bool take_number(Bytes& text, int64_t& number) {
  uint64_t value = 0;
  if (!parse_decimal(take_word(text), value)) return false;
  number = static_cast<int64_t>(value);
  return true;
}

bool read_limits(Bytes rest, Limits& limits) {
  size_t count = 0;
  const LimitRow* rows = limit_rows(count);
  for (Bytes word = take_word(rest); !word.empty(); word = take_word(rest)) {
    const size_t equals = word.find('=');
    if (equals == Bytes::npos) return false;
    bool found = false;
    for (size_t i = 0; i < count; i++) {
      if (word.substr(0, equals) != rows[i].public_name) continue;
      uint64_t value = 0;
      if (!parse_decimal(word.substr(equals + 1), value)) return false;
      limits.*rows[i].field = static_cast<int64_t>(value);
      found = true;
    }
    if (!found) return false;
  }
  return limits_are_valid(limits);
}

bool read_route(Bytes rest, std::vector<RouteRow>& routes) {
  RouteRow row;
  const Bytes method = take_word(rest);
  if (method != "*") row.method = std::string(method);
  row.pattern = std::string(take_word(rest));
  const Bytes kind = take_word(rest);
  row.route.kind = RouteKind::Handler;
  row.route.id = static_cast<uint16_t>(routes.size());
  if (kind == "static") {
    row.route.kind = RouteKind::Static;
    row.route.headers = "content-type: text/plain;charset=UTF-8\r\n";
    row.route.content = "static hello";
  } else if (kind == "none") {
    row.route.body = BodyMode::None;
  } else if (kind == "sized") {
    row.route.body = BodyMode::Sized;
  } else if (kind == "stream") {
    row.route.body = BodyMode::Stream;
  } else if (kind != "handler") {
    return false;
  }
  const Bytes max = take_word(rest);
  if (max.starts_with("max=")) {
    uint64_t size = 0;
    if (!parse_decimal(max.substr(4), size)) return false;
    row.route.body_bytes_max = static_cast<int64_t>(size);
  }
  routes.push_back(std::move(row));
  return true;
}

bool read_levels(Bytes rest, unsigned& levels) {
  levels = 0;
  for (Bytes word = take_word(rest); !word.empty(); word = take_word(rest)) {
    if (word.size() != 1 || word[0] < '1' || word[0] > '3') return false;
    levels |= 1u << (word[0] - '1');
  }
  return levels != 0;
}

void take_exchange(Bytes& rest, Step& step) {
  Bytes after = rest;
  const Bytes word = take_word(after);
  uint64_t number = 0;
  if (!word.starts_with("#") || !parse_decimal(word.substr(1), number)) return;
  step.number = static_cast<uint32_t>(number);
  rest = after;
}

bool read_body_event(Bytes what, Bytes rest, Step& step) {
  if (what == "chunks") {
    step.kind = StepKind::Chunks;
    return take_quoted(rest, step.text);
  }
  if (what == "trailer") {
    step.kind = StepKind::Trailer;
    step.name = std::string(take_word(rest));
    return take_quoted(rest, step.text);
  }
  if (what == "body-failed") {
    step.kind = StepKind::BodyFailed;
    step.name = std::string(take_word(rest));
    return !step.name.empty();
  }
  if (what == "written") {
    step.kind = StepKind::Written;
    return take_number(rest, step.amount);
  }
  step.kind = StepKind::BodyEnd;
  return what == "body-end";
}

bool read_event(Bytes rest, Step& step) {
  take_exchange(rest, step);
  const Bytes what = take_word(rest);
  if (what == "request") {
    step.kind = StepKind::Request;
    step.name = std::string(take_word(rest));
    step.http10 = false;
    if (!unescape_all(take_word(rest), step.text)) return false;
    const Bytes version = take_word(rest);
    step.http10 = version == "HTTP/1.0";
    return version.empty() || step.http10;
  }
  if (what == "header" || what == "variable") {
    step.kind = what == "header" ? StepKind::Header : StepKind::Variable;
    step.name = std::string(take_word(rest));
    return take_quoted(rest, step.text);
  }
  if (what == "body") {
    step.kind = StepKind::Body;
    return take_quoted(rest, step.text);
  }
  step.kind = what == "aborted" ? StepKind::Aborted : StepKind::PeerClosed;
  return what == "aborted" || what == "peer-closed" || read_body_event(what, rest, step);
}

bool read_answer(Bytes rest, Step& step) {
  if (step.kind != StepKind::Answered) take_exchange(rest, step);
  if (step.kind == StepKind::Cut) return true;
  if (step.kind == StepKind::Write) return take_quoted(rest, step.text);
  if (step.kind != StepKind::End && !take_number(rest, step.amount)) return false;
  if (step.kind == StepKind::Read) return true;
  const bool has_body = step.kind == StepKind::Reply || step.kind == StepKind::Answered;
  if (has_body && !take_quoted(rest, step.text)) return false;
  const size_t begin = rest.find_first_not_of(' ');
  return begin == Bytes::npos || unescape_all(rest.substr(begin), step.headers);
}

// A line of the form "word: rest".
bool read_worded(Bytes word, Bytes rest, Step& step) {
  if (word == "event") return read_event(rest, step);
  if (word == "advance" || word == "window") {
    step.kind = word == "advance" ? StepKind::Advance : StepKind::Window;
    return take_number(rest, step.amount);
  }
  if (word == "refused") {
    step.kind = StepKind::Refused;
    if (!take_number(rest, step.amount)) return false;
    step.name = std::string(take_word(rest));
    return !step.name.empty();
  }
  for (const Word& answer : kAnswerWords) {
    if (word != answer.name) continue;
    step.kind = answer.kind;
    return read_answer(rest, step);
  }
  return false;
}

bool read_send(Bytes line, CaseScript& script, Step& step) {
  const bool new_read = line.starts_with("|>");
  line.remove_prefix(new_read ? 2 : 1);
  if (line.starts_with(" ")) line.remove_prefix(1);
  std::string bytes;
  if (!unescape_all(line, bytes)) return false;
  if (script.steps.empty() || script.steps.back().kind != StepKind::Send) {
    step.kind = StepKind::Send;
    step.reads.push_back(std::move(bytes));
    script.steps.push_back(std::move(step));
  } else if (new_read) {
    script.steps.back().reads.push_back(std::move(bytes));
  } else {
    script.steps.back().reads.back() += bytes;
  }
  return true;
}

bool read_line(Bytes line, CaseScript& script, Step step) {
  if (line.starts_with(">") || line.starts_with("|>")) return read_send(line, script, step);
  if (line.starts_with("<")) {
    const bool maybe = line.starts_with("<?");
    step.kind = maybe ? StepKind::ExpectMaybe : StepKind::Expect;
    line.remove_prefix(maybe ? 2 : 1);
    if (line.starts_with(" ")) line.remove_prefix(1);
    if (!unescape_all(line, step.text)) return false;
    script.steps.push_back(std::move(step));
    return true;
  }
  for (const Word& word : kBareWords) {
    if (line != word.name) continue;
    step.kind = word.kind;
    script.steps.push_back(std::move(step));
    return true;
  }
  const size_t colon = line.find(':');
  if (colon == Bytes::npos) return false;
  const Bytes word = line.substr(0, colon);
  const Bytes rest = line.substr(colon + 1);
  if (word == "level") return read_levels(rest, script.levels);
  if (word == "protocol") {
    script.protocol = rest.substr(std::min(rest.find_first_not_of(' '), rest.size()));
    return script.protocol == "scgi";
  }
  if (word == "limits") return read_limits(rest, script.limits);
  if (word == "route") return read_route(rest, script.routes);
  if (!read_worded(word, rest, step)) return false;
  script.steps.push_back(std::move(step));
  return true;
}

}  // namespace

bool read_cases(const std::string& path, std::vector<CaseScript>& cases, std::string& error) {
  std::string text;
  if (!read_file(path, text)) {
    error = path + ": cannot be read";
    return false;
  }
  const std::string file = path.substr(path.rfind('/') + 1);
  CaseScript* script = nullptr;
  int number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const Bytes line = Bytes(text).substr(at, end - at);
    at = end + 1;
    number++;
    if (line.empty() || line[0] == '#') continue;
    if (line.starts_with("case: ")) {
      script = &cases.emplace_back();
      script->title = std::string(line.substr(6));
      script->file = file;
      script->line = number;
      continue;
    }
    Step step;
    step.line = number;
    if (script == nullptr || !read_line(line, *script, std::move(step))) {
      error = file + ":" + std::to_string(number) + ": not understood: " + std::string(line);
      return false;
    }
  }
  return true;
}

}  // namespace millrace::test
