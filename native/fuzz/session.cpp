// Fuzzes the HTTP/1 session: the same bytes give the same requests, answers and end, whole, byte by
// byte and at random splits. The first two bytes of an input choose limits and how handlers answer.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "test/fake_sink.h"

namespace {

using millrace::Bytes;
using millrace::CommandKind;
using millrace::ErrorCode;
using millrace::EventKind;
using millrace::Limits;
using millrace::Milliseconds;
using millrace::Route;
using millrace::RouteKind;
using millrace::Router;
using millrace::RouteRow;
using millrace::test::CommandText;
using millrace::test::FakeSink;
using millrace::test::SeenEvent;

constexpr Bytes kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
constexpr Milliseconds kForEver = 1'000'000'000'000;

// A handler that closes answers at the end: at once, it would be a race with the next request.
enum class Manner : uint8_t { AtOnce, AtOnceAndLarge, AtTheEndBackwards, AtTheEndClosing };
constexpr size_t kManners = 4;

struct Setting {
  Limits limits;
  Manner manner = Manner::AtOnce;
  bool peer_closes = false;  // else it falls silent
  uint32_t credit = 1;       // of a streamed body, to begin with; what comes is paid back
  uint8_t uses = 0;          // where the uses of streamed bodies begin
};

struct Outcome {
  std::vector<std::string> requests;
  std::vector<ErrorCode> refusals;
  std::string written;
  bool operator==(const Outcome&) const = default;
};

Limits narrow_limits() {
  Limits limits;
  limits.header_bytes_max = 256;
  limits.header_count_max = 4;
  limits.request_line_bytes_max = 64;
  limits.body_bytes_max = 24;
  limits.chunk_extension_bytes_max = 8;
  limits.trailer_bytes_max = 16;
  limits.requests_per_connection_max = 5;
  limits.pipeline_max = 2;
  limits.buffered_bytes_max = 4096;
  limits.handler_timeout = 5000;
  limits.discard_bytes_max = 8;
  return limits;
}

Setting setting_of(uint8_t first, uint8_t second) {
  Setting setting;
  if (first % 3 == 1) setting.limits = narrow_limits();
  if (first % 3 == 2) {
    setting.limits.in_flight_max = 1;
    setting.limits.pipeline_max = 3;
  }
  setting.manner = static_cast<Manner>(second % kManners);
  setting.peer_closes = (second & 64) != 0;
  setting.credit = (second & 32) != 0 ? 1 : 100'000;
  setting.uses = second >> 2 & 3;
  return setting;
}

const Router& router() {
  static const Router& made = []() -> const Router& {
    static Router routes;
    RouteRow row;
    row.method = "GET";
    row.pattern = "/s";
    row.route.kind = RouteKind::Static;
    row.route.content = "static";
    MR_CHECK(routes.add(row).empty());
    row = {"POST", "/n", {}};
    row.route.kind = RouteKind::Handler;
    row.route.body = millrace::BodyMode::None;
    MR_CHECK(routes.add(row).empty());
    row.pattern = "/z";
    row.route.body = millrace::BodyMode::Sized;
    MR_CHECK(routes.add(row).empty());
    row.pattern = "/u*";
    row.route.body = millrace::BodyMode::Stream;
    MR_CHECK(routes.add(row).empty());
    Route everything;
    everything.kind = RouteKind::Handler;
    routes.set_fallback(everything);
    routes.seal();
    return routes;
  }();
  return made;
}

// What a handler of a streamed body does: reads it all, answers without it, answers by pieces, or
// reads it as a form of which it skips every other file.
enum class Use : uint8_t { ReadAll, AnswerFirst, Pieces, Form };

struct Open {
  SeenEvent request;
  Use use = Use::ReadAll;
  bool streams = false;    // its body has not come to an end
  bool has_begun = false;  // its response
  size_t place = 0;        // in the requests
  std::string text = {};   // of the body, or of what came of the form
  uint64_t written = 0;    // bytes of the response, and those that were said to have left
  uint64_t acknowledged = 0;
  uint32_t parts = 0;
};

// One connection with its handlers.
class Exchange final {
 public:
  // `full`: whether the lane has no room while the next bytes come.
  Exchange(const Setting& setting, bool full)
      : setting_(setting), full_(full), sink_(setting_.limits, router()) {}

  void feed(Bytes bytes) {
    sink_.lane_is_full = full_ && (bytes.size() + static_cast<uint8_t>(bytes[0])) % 3 == 0;
    sink_.feed(bytes);
    sink_.lane_is_full = false;
    sink_.settle_now();
    take_events();
    if (setting_.manner < Manner::AtTheEndBackwards) answer_ready();
    // Whoever waits for the peer waits with a deadline.
    MR_CHECK(!sink_.is_open() || sink_.open_exchanges() > 0 || sink_.armed() != millrace::kNever);
  }

  Outcome end() {
    setting_.manner < Manner::AtTheEndBackwards ? answer_ready() : answer_all();
    for (int i = 0; i < 200 && sink_.is_open(); i++) {
      if (!setting_.peer_closes) {
        sink_.advance(kForEver);
      } else if (i == 0) {
        sink_.half_close();
      }
      take_events();
      answer_all();
    }
    MR_CHECK(!sink_.is_open());
    MR_CHECK(sink_.open_exchanges() == 0);
    Outcome outcome{std::move(requests_), sink_.refusals, std::move(sink_.written)};
    size_t at = 0;
    while ((at = outcome.written.find(kContinue)) != std::string::npos) {
      outcome.written.erase(at, kContinue.size());
    }
    return outcome;
  }

 private:
  void take_events() {
    while (!sink_.events.empty()) {
      for (const SeenEvent& event : std::exchange(sink_.events, {})) see(event);
    }
  }

  void see(const SeenEvent& event) {
    if (event.kind == EventKind::Request) return see_request(event);
    const auto open = std::find_if(open_.begin(), open_.end(), [&event](const Open& one) {
      return one.request.exchange == event.exchange;
    });
    if (event.kind == EventKind::PeerClosed) return;
    // Nothing comes of what has been answered.
    MR_CHECK(open != open_.end());
    switch (event.kind) {
      case EventKind::Aborted: open_.erase(open); return;
      case EventKind::Written:
        open->acknowledged += event.head_a;
        MR_CHECK(event.head_a > 0 && open->acknowledged <= open->written);
        return;
      default: break;
    }
    MR_CHECK(open->streams);
    see_body(*open, event);
  }

  void see_request(const SeenEvent& event) {
    Open open{.request = event};
    open.streams = event.body_follows;
    open.place = requests_.size();
    requests_.push_back(event.method + " " + event.target + (event.http10 ? " 1.0" : " 1.1") +
                        event.headers + event.body);
    if (open.streams) open.use = use_of(event);
    open_.push_back(open);
    // Before anything else of this connection is looked at: its body may be short.
    const Open& now = open_.back();
    if (!now.streams || now.use == Use::AnswerFirst) return;
    if (now.use == Use::Pieces) begin(open_.back());
    ask_for_body(open_.back());
  }

  // A client that waits for a 100 makes a difference between bytes that are here and bytes that
  // come; and what a form is found to be depends on the chunks around it being whole.
  [[nodiscard]] Use use_of(const SeenEvent& event) const {
    std::string value;
    const auto use = static_cast<Use>((event.target.size() + setting_.uses) % 4);
    if (event.header("expect", value)) return Use::ReadAll;
    if (use == Use::Form && !event.header("content-length", value)) return Use::ReadAll;
    return use;
  }

  void ask_for_body(Open& open) {
    if (open.use == Use::Form) {
      const millrace::MultipartLimits limits = {.parts_max = 5, .header_bytes_max = 100};
      std::string content(reinterpret_cast<const char*>(&limits), sizeof(limits));
      content += 'B';
      return tell(open, {.kind = CommandKind::Parts, .body = content, .amount = setting_.credit});
    }
    tell(open, {.kind = CommandKind::Read, .amount = setting_.credit});
  }

  void see_body(Open& open, const SeenEvent& event) {
    size_t cost = event.body.size() + millrace::http1::kEventCost;
    switch (event.kind) {
      case EventKind::Body:
        MR_CHECK(!event.body.empty());
        open.text += event.body;
        break;
      case EventKind::Part:
        MR_CHECK(event.head_a == ++open.parts);
        open.text += "[" + event.target + event.headers + ":";
        cost = millrace::http1::kEventCost + event.target.size() + event.headers.size();
        if (event.has_filename) {
          const uint16_t flags = open.parts % 2 == 0 ? millrace::kCommandSkip : uint16_t{0};
          tell(open, {.kind = CommandKind::Part, .flags = flags, .amount = open.parts});
        }
        break;
      case EventKind::PartEnd:
        MR_CHECK(event.head_a == open.parts);
        open.text += "]";
        cost = millrace::http1::kEventCost;
        break;
      case EventKind::BodyEnd:
        open.streams = false;
        requests_[open.place] += open.text + " end" + event.headers;
        return;
      case EventKind::BodyFailed:
        // How much came before the break is a matter of the split.
        open.streams = false;
        requests_[open.place] += " failed " + std::to_string(event.status);
        return;
      default: MR_CHECK(false);
    }
    tell(open, {.kind = CommandKind::Read, .amount = static_cast<uint32_t>(cost)});
  }

  // Those that would be answered by now: the others wait for their bodies.
  void answer_ready() {
    for (size_t i = 0; i < open_.size();) {
      if (open_[i].streams && open_[i].use != Use::AnswerFirst) {
        i++;
        continue;
      }
      answer(i);
      take_events();
      i = 0;
    }
  }

  void answer_all() {
    while (!open_.empty()) {
      answer(setting_.manner == Manner::AtTheEndBackwards ? open_.size() - 1 : 0);
      take_events();
    }
  }

  void answer(size_t at) {
    Open open = open_[at];
    if (open.use == Use::Pieces) {
      if (!open.has_begun) begin(open);
      const std::string large =
          large_.substr(0, setting_.manner == Manner::AtOnceAndLarge ? 3000 : 9);
      for (const Bytes piece : {Bytes("a"), Bytes(), Bytes(large)}) write(open, piece);
      open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(at));
      sink_.answer(open.request.exchange,
                   {.kind = CommandKind::End, .header_lines = "X-Sum: 1\r\n"});
      return forget_events_of(open);
    }
    if (open.streams && !open.text.empty()) requests_[open.place] += open.text + " left";
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(at));
    sink_.answer(open.request.exchange, answer_to(open.request));
    forget_events_of(open);
  }

  // What came of an exchange before it was answered has not been looked at yet.
  void forget_events_of(const Open& open) {
    std::erase_if(sink_.events, [&open](const SeenEvent& event) {
      return event.exchange == open.request.exchange;
    });
  }

  void begin(Open& open) {
    open.has_begun = true;
    tell(open, {.kind = CommandKind::Begin});
  }
  void write(Open& open, Bytes piece) {
    open.written += piece.size();
    for (Open& one : open_) {
      if (one.request.exchange == open.request.exchange) one.written = open.written;
    }
    tell(open, {.kind = CommandKind::Write, .body = piece});
  }
  void tell(const Open& open, const CommandText& text) {
    sink_.answer(open.request.exchange, text);
  }

  CommandText answer_to(const SeenEvent& event) {
    CommandText text;
    text.body = "ok";
    if (setting_.manner == Manner::AtOnceAndLarge) text.body = large_;
    if (setting_.manner == Manner::AtTheEndClosing && event.target.size() > 6) {
      text.flags = millrace::kCommandClose;
    }
    return text;
  }

  const Setting& setting_;
  const bool full_;
  FakeSink sink_;
  std::vector<Open> open_;
  std::vector<std::string> requests_;
  const std::string large_ = std::string(3000, 'x');
};

template <typename Step>
Outcome run(Bytes input, const Setting& setting, bool full, Step step) {
  Exchange exchange(setting, full);
  while (!input.empty()) {
    const size_t length = step(input.size());
    exchange.feed(input.substr(0, length));
    input.remove_prefix(length);
  }
  return exchange.end();
}

// Runs of the filler shortened, NUL as a stroke.
std::string shown(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    if (i > 2 && text[i] == 'x' && out.ends_with("xxx")) continue;
    out += text[i] == '\0' ? '|' : text[i];
  }
  return out;
}

void print(const char* what, const Outcome& outcome) {
  std::fprintf(stderr, "--- %s\n%s\n", what, shown(outcome.written).c_str());
  for (const std::string& request : outcome.requests) {
    std::fprintf(stderr, "request %s\n", shown(request).c_str());
  }
  for (const ErrorCode code : outcome.refusals) {
    std::fprintf(stderr, "refused %s\n", millrace::error_code_name(code));
  }
}

void expect_same(const Outcome& whole, const Outcome& cut) {
  if (cut == whole) return;
  print("whole", whole);
  print("cut", cut);
  MR_CHECK(cut == whole);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > 8192) return 0;
  const Setting setting = setting_of(data[0], data[1]);
  const Bytes input(reinterpret_cast<const char*>(data) + 2, size - 2);
  uint64_t seed = 0x9e3779b97f4a7c15u ^ size;
  for (size_t i = 0; i < size; i++) seed = (seed ^ data[i]) * 0x100000001b3u;
  const auto random_step = [&seed](size_t left) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(1 + (seed >> 33) % left);
  };
  const Outcome whole = run(input, setting, false, [](size_t left) { return left; });
  MR_CHECK(whole.refusals.size() <= 2);  // of which one may be a handler's
  if (size <= 1024)
    expect_same(whole, run(input, setting, false, [](size_t) { return size_t{1}; }));
  expect_same(whole, run(input, setting, false, random_step));
  expect_same(whole, run(input, setting, true, random_step));
  return 0;
}
