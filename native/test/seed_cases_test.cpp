// The raw exchanges of test/cases/seed_http.json against the session alone, with a handler that
// echoes: as they are, and byte by byte.
#include <algorithm>
#include <cstdio>

#include "test/fake_sink.h"
#include "test/harness.h"
#include "test/json.h"

namespace millrace::test {

namespace {

const Json& seeds() {
  static const Json document = [] {
    std::string text;
    std::FILE* file = std::fopen(MILLRACE_ROOT "/test/cases/seed_http.json", "rb");
    if (!EXPECT(file != nullptr)) return Json();
    char buffer[4096];
    size_t length = 0;
    while ((length = std::fread(buffer, 1, sizeof(buffer), file)) > 0) text.append(buffer, length);
    std::fclose(file);
    return JsonReader(text).read();
  }();
  return document;
}

void apply_limits(const Json& from, Limits& limits) {
  size_t count = 0;
  const LimitRow* rows = limit_rows(count);
  for (size_t i = 0; i < count; i++) {
    const Json& value = from[rows[i].public_name];
    if (value.is_there()) limits.*rows[i].field = value.number();
  }
}

struct Answer {
  int64_t status = 0;
  std::string head;
  std::string body;
};

// What an exchange came to. The handler answers the requests of one read last first.
class Outcome final {
 public:
  Outcome(const Json& limits, const Json& more_limits) {
    apply_limits(limits, limits_);
    apply_limits(more_limits, limits_);
    Route everything;
    everything.kind = RouteKind::Handler;
    router_.set_fallback(everything);
    router_.seal();
    sink_ = std::make_unique<FakeSink>(limits_, router_);
  }

  void send(const Json& segments, bool byte_by_byte) {
    std::string text;
    for (const Json& segment : segments.items) {
      const int64_t times = std::max<int64_t>(segment["times"].number(), 1);
      for (int64_t i = 0; i < times; i++) text += segment["text"].text;
      if (segment["more"].is_true()) continue;
      feed(std::exchange(text, {}), byte_by_byte || segment["bytewise"].is_true());
      if (segment["half_close"].is_true()) {
        sink_->half_close();
        echo();
      }
    }
  }
  void feed(const std::string& text, bool byte_by_byte) {
    for (size_t i = 0; byte_by_byte && i < text.size(); i++) {
      sink_->feed(Bytes(text).substr(i, 1));
      echo();
    }
    if (!byte_by_byte) sink_->feed(text);
    echo();
  }

  [[nodiscard]] const std::vector<SeenEvent>& calls() const { return calls_; }
  [[nodiscard]] bool closed() const { return !sink_->is_open(); }
  [[nodiscard]] std::vector<Answer> answers() const {
    std::vector<Answer> found;
    size_t finals = 0;
    Bytes rest = sink_->written;
    while (!rest.empty()) {
      const size_t end = rest.find("\r\n\r\n");
      if (!EXPECT(end != Bytes::npos && rest.starts_with("HTTP/1.1 "))) break;
      Answer answer;
      answer.head = std::string(rest.substr(0, end + 2));
      answer.status = std::strtoll(answer.head.c_str() + 9, nullptr, 10);
      rest.remove_prefix(end + 4);
      const size_t field = answer.head.find("Content-Length: ");
      size_t length = 0;
      if (field != std::string::npos) {
        length = static_cast<size_t>(std::strtoll(answer.head.c_str() + field + 16, nullptr, 10));
      }
      if (answer.status >= 200 && finals < calls_.size() && calls_[finals].is_head) length = 0;
      if (answer.status >= 200) finals++;
      answer.body = std::string(rest.substr(0, length));
      rest.remove_prefix(std::min(length, rest.size()));
      found.push_back(std::move(answer));
    }
    return found;
  }

 private:
  void echo() {
    std::vector<SeenEvent> asked;
    for (SeenEvent& event : sink_->events) {
      if (event.kind == EventKind::Request) asked.push_back(event);
    }
    sink_->events.clear();
    calls_.insert(calls_.end(), asked.begin(), asked.end());
    std::reverse(asked.begin(), asked.end());
    for (const SeenEvent& event : asked) {
      const std::string body = event.method + " " + event.target + " [" + event.body + "]";
      sink_->answer(event.exchange, {.header_lines = "Content-Type: text/plain\r\n", .body = body});
    }
    if (!sink_->events.empty()) echo();
  }

  Limits limits_;
  Router router_;
  std::unique_ptr<FakeSink> sink_;
  std::vector<SeenEvent> calls_;
};

bool fits(const Json& wanted, const std::vector<Answer>& answers, bool closed) {
  const Json& statuses = wanted["statuses"];
  if (statuses.items.size() != answers.size()) return false;
  for (size_t i = 0; i < answers.size(); i++) {
    if (statuses.items[i].number() != answers[i].status) return false;
  }
  return !wanted["closed"].is_there() || wanted["closed"].is_true() == closed;
}

void check_calls(const Json& require, const Outcome& outcome) {
  const auto& calls = outcome.calls();
  if (require["handler_calls"].is_there()) {
    EXPECT(static_cast<int64_t>(calls.size()) == require["handler_calls"].number());
  }
  for (const Json& uri : require["forbid_uris"].items) {
    for (const SeenEvent& call : calls) EXPECT(call.target != uri.text);
  }
  const Json& header = require["request_header"];
  std::string value;
  if (header.is_there() && EXPECT(!calls.empty())) {
    EXPECT(calls[0].header(header.items[0].text, value) && value == header.items[1].text);
  }
}

void check_answers(const Json& require, const Outcome& outcome) {
  const std::vector<Answer> answers = outcome.answers();
  bool one_fits = false;
  for (const Json& wanted : require["any_of"].items) {
    one_fits = one_fits || fits(wanted, answers, outcome.closed());
  }
  EXPECT(one_fits);
  const Json& preferred = require["preferred"];
  EXPECT(!preferred.is_there() || fits(preferred, answers, outcome.closed()));
  const Json& max = require["max_responses"];
  EXPECT(!max.is_there() || static_cast<int64_t>(answers.size()) <= max.number());
  std::vector<Answer> echoes;
  for (const Answer& answer : answers) {
    if (answer.status == 200) echoes.push_back(answer);
  }
  const auto& wanted = require["echo"].items;
  if (!EXPECT(echoes.size() >= wanted.size())) return;
  for (size_t i = 0; i < wanted.size(); i++) {
    EXPECT(echoes[i].body == wanted[i]["method"].text + " " + wanted[i]["uri"].text + " [" +
                                 wanted[i]["body"].text + "]");
  }
  if (require["in_order"].is_true() && EXPECT(echoes.size() == outcome.calls().size())) {
    for (size_t i = 0; i < echoes.size(); i++) {
      const SeenEvent& call = outcome.calls()[i];
      const std::string text = call.method + " " + call.target + " [" + call.body + "]";
      EXPECT(call.is_head ? echoes[i].body.empty() : echoes[i].body == text);
    }
  }
  const Json& header = require["response_header"];
  if (!header.is_there() || !EXPECT(!answers.empty())) return;
  std::string head;
  for (char c : answers[0].head) head += ascii_lower(c);
  const std::string line = "\r\n" + header.items[0].text + ": " + header.items[1].text + "\r\n";
  EXPECT(head.find(line) != std::string::npos);
}

TEST("every seed exchange comes to what it requires, as it is and byte by byte") {
  EXPECT(seeds()["cases"].items.size() > 80);
  for (const Json& seed : seeds()["cases"].items) {
    if (!seed["send"].is_there()) continue;
    for (bool byte_by_byte : {false, true}) {
      context = seed["id"].text + (byte_by_byte ? " byte by byte" : "");
      Outcome outcome(seeds()["limits"], seed["limits"]);
      outcome.send(seed["send"], byte_by_byte);
      std::vector<Answer> answers = outcome.answers();
      // An invitation is only owed to who waits for it.
      const Json& wanted = seed["require"]["any_of"].items[0]["statuses"];
      const bool invited = !answers.empty() && answers[0].status == 100;
      EXPECT(!invited || (!wanted.items.empty() && wanted.items[0].number() == 100));
      check_calls(seed["require"], outcome);
      check_answers(seed["require"], outcome);
    }
  }
}

int64_t status_of(const std::string& request) {
  Outcome outcome(seeds()["limits"], Json());
  outcome.feed(request, false);
  const std::vector<Answer> answers = outcome.answers();
  return answers.empty() ? 0 : answers[0].status;
}

std::string with_length(const std::string& length) {
  const int64_t size = std::strtoll(length.c_str(), nullptr, 10);
  return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + length + "\r\n\r\n" +
         std::string(size > 0 && size < 100000 ? static_cast<size_t>(size) : 0, 'x');
}

std::string with_chunk(const std::string& size_text) {
  const uint64_t size = std::strtoull(size_text.c_str(), nullptr, 16);
  const std::string start = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  if (size == 0) return start + size_text + "\r\n\r\n";
  if (size > 100000) return start + size_text + "\r\n";
  return start + size_text + "\r\n" + std::string(static_cast<size_t>(size), 'x') + "\r\n0\r\n\r\n";
}

void check_numbers(const Json& numbers, std::string (*request)(const std::string&)) {
  for (const Json& number : numbers["accept"].items) {
    context = number.text;
    const int64_t status = status_of(request(number.text));
    EXPECT(status == 200 || (number.text.size() > 9 && status == 413));
  }
  for (const Json& number : numbers["zeros"].items) {
    context = number.text;
    EXPECT(status_of(request(number.text)) == 200);
  }
  for (const Json& number : numbers["reject"].items) {
    context = number.text;
    const int64_t status = status_of(request(number.text));
    EXPECT(status == 400 || (number.text.size() > 9 && status == 413));
  }
}

TEST("seed numbers are lengths and chunk sizes, or are refused") {
  size_t seen = 0;
  for (const Json& seed : seeds()["cases"].items) {
    if (seed["lengths"].is_there()) {
      check_numbers(seed["lengths"], with_length);
      seen++;
    }
    if (seed["chunk_sizes"].is_there()) {
      check_numbers(seed["chunk_sizes"], with_chunk);
      seen++;
    }
  }
  EXPECT(seen == 2);
}

TEST("seed tokens are found in their lists") {
  size_t checks = 0;
  for (const Json& seed : seeds()["cases"].items) {
    for (const Json& check : seed["checks"].items) {
      std::string token;
      for (char c : check.items[1].text) token += ascii_lower(c);
      context = check.items[0].text + " " + token;
      EXPECT(list_has_token(seed["headers"][check.items[0].text].text, token) ==
             check.items[2].is_true());
      checks++;
    }
  }
  EXPECT(checks >= 12);
}

}  // namespace

}  // namespace millrace::test
