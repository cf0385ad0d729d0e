// Fuzzes the HTTP/1 session: the same bytes give the same requests, answers and end, whole, byte by
// byte and at random splits. The first two bytes of an input choose limits and how handlers answer.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "test/fake_sink.h"

namespace {

using millrace::Bytes;
using millrace::ErrorCode;
using millrace::EventKind;
using millrace::Limits;
using millrace::Milliseconds;
using millrace::Route;
using millrace::RouteKind;
using millrace::Router;
using millrace::RouteRow;
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
    Route everything;
    everything.kind = RouteKind::Handler;
    routes.set_fallback(everything);
    routes.seal();
    return routes;
  }();
  return made;
}

// One connection with its handlers.
class Exchange final {
 public:
  explicit Exchange(const Setting& setting) : setting_(setting), sink_(setting_.limits, router()) {}

  void feed(Bytes bytes) {
    sink_.feed(bytes);
    take_events();
    if (setting_.manner < Manner::AtTheEndBackwards) answer_all();
    // Whoever waits for the peer waits with a deadline.
    MR_CHECK(!sink_.is_open() || sink_.open_exchanges() > 0 || sink_.armed() != millrace::kNever);
  }

  Outcome end() {
    answer_all();
    if (setting_.peer_closes) {
      sink_.half_close();
      take_events();
      answer_all();
    } else {
      sink_.advance(kForEver);
      take_events();
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
    for (const SeenEvent& event : std::exchange(sink_.events, {})) {
      if (event.kind != EventKind::Request) continue;
      requests_.push_back(event.method + " " + event.target + (event.http10 ? " 1.0" : " 1.1") +
                          event.headers + event.body);
      open_.push_back(event);
    }
  }

  void answer_all() {
    while (!open_.empty()) {
      const bool backwards = setting_.manner == Manner::AtTheEndBackwards;
      const SeenEvent event = backwards ? open_.back() : open_.front();
      open_.erase(backwards ? open_.end() - 1 : open_.begin());
      sink_.answer(event.exchange, answer_to(event));
      take_events();
    }
  }

  millrace::test::CommandText answer_to(const SeenEvent& event) {
    millrace::test::CommandText text;
    text.body = "ok";
    if (setting_.manner == Manner::AtOnceAndLarge) text.body = large_;
    if (setting_.manner == Manner::AtTheEndClosing && event.target.size() > 6) {
      text.flags = millrace::kCommandClose;
    }
    return text;
  }

  const Setting& setting_;
  FakeSink sink_;
  std::vector<SeenEvent> open_;
  std::vector<std::string> requests_;
  const std::string large_ = std::string(3000, 'x');
};

template <typename Step>
Outcome run(Bytes input, const Setting& setting, Step step) {
  Exchange exchange(setting);
  while (!input.empty()) {
    const size_t length = step(input.size());
    exchange.feed(input.substr(0, length));
    input.remove_prefix(length);
  }
  return exchange.end();
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
  const Outcome whole = run(input, setting, [](size_t left) { return left; });
  MR_CHECK(whole.refusals.size() <= 2);  // of which one may be a handler's
  if (size <= 1024) MR_CHECK(run(input, setting, [](size_t) { return size_t{1}; }) == whole);
  MR_CHECK(run(input, setting, random_step) == whole);
  MR_CHECK(run(input, setting, random_step) == whole);
  return 0;
}
