// Fuzzes SCGI: the parser gives one verdict at every split, and so does the session, whose request,
// answer and end are the same whole, byte by byte, at random splits and with a full lane. The first
// byte of an input chooses limits, how handlers answer, and whether the rest is a block of
// variables that gets its netstring here.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/proto/http1/head.h"
#include "core/proto/scgi/parser.h"
#include "core/proto/scgi/session.h"
#include "test/fake_sink.h"

namespace {

using millrace::BodyMode;
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
using millrace::http1::kBroken;
using millrace::http1::kNeedMore;
using millrace::scgi::ScgiHead;
using millrace::scgi::ScgiLimits;
using millrace::scgi::take_variable;
using millrace::test::FakeSink;
using millrace::test::SeenEvent;

constexpr Milliseconds kForEver = 1'000'000'000'000;

// --- the parser ---

struct Verdict {
  int result = 0;
  ErrorCode error = ErrorCode::None;
  bool operator==(const Verdict&) const = default;
};

// From memory of exactly that size, so that reading past the span is seen.
Verdict parse(Bytes input, const ScgiLimits& limits) {
  const std::unique_ptr<char[]> copy(new char[input.size()]);
  if (!input.empty()) std::memcpy(copy.get(), input.data(), input.size());
  ScgiHead head;
  Verdict verdict;
  verdict.result = parse_scgi_head(Bytes(copy.get(), input.size()), limits, head, verdict.error);
  MR_CHECK((verdict.result == kBroken) == (verdict.error != ErrorCode::None));
  if (verdict.result <= 0) return verdict;
  const auto consumed = static_cast<size_t>(verdict.result);
  MR_CHECK(consumed <= input.size() && input[consumed - 1] == ',');
  MR_CHECK(head.block.size() <= limits.block_bytes_max);
  MR_CHECK(head.block.data() + head.block.size() + 1 == copy.get() + consumed);
  std::vector<Bytes> names;
  for (Bytes rest = head.block; !rest.empty();) {
    const Bytes name = take_variable(rest).name;
    MR_CHECK(!name.empty());
    const bool is_field = name.substr(0, 5) == "HTTP_";
    for (const Bytes other : names) MR_CHECK(is_field || other != name);
    names.push_back(name);
  }
  MR_CHECK(names.size() <= limits.variable_count_max && names[0] == "CONTENT_LENGTH");
  return verdict;
}

void check_parser(Bytes input, const ScgiLimits& limits) {
  const Verdict whole = parse(input, limits);
  MR_CHECK(whole.result > 0 || whole.result == kBroken || whole.result == kNeedMore);
  for (size_t size = 0; size < input.size(); size++) {
    const Verdict part = parse(input.substr(0, size), limits);
    if (part.result == kNeedMore) continue;
    MR_CHECK(part == whole);
    if (size > 300) return;
  }
}

// --- the session ---

enum class Manner : uint8_t { AtOnce, ByPieces, AtTheEnd };

struct Setting {
  Limits limits;
  Manner manner = Manner::AtOnce;
  bool peer_closes = false;  // else it falls silent
  bool wraps = false;
};

Setting setting_of(uint8_t byte) {
  Setting setting;
  if ((byte & 1) != 0) {
    setting.limits.header_bytes_max = 256;
    setting.limits.header_count_max = 4;
    setting.limits.request_line_bytes_max = 64;
    setting.limits.trailer_bytes_max = 16;
    setting.limits.body_bytes_max = 24;
    setting.limits.discard_bytes_max = 8;
    setting.limits.buffered_bytes_max = 4096;
  }
  setting.manner = static_cast<Manner>((byte >> 1 & 3) % 3);
  setting.peer_closes = (byte & 8) != 0;
  setting.wraps = (byte & 16) != 0;
  return setting;
}

const Router& router() {
  static const Router& made = []() -> const Router& {
    static Router routes;
    RouteRow row = {"GET", "/s", {}};
    row.route.kind = RouteKind::Static;
    row.route.content = "static";
    MR_CHECK(routes.add(row).empty());
    row = {"POST", "/n", {}};
    row.route.kind = RouteKind::Handler;
    row.route.body = BodyMode::None;
    MR_CHECK(routes.add(row).empty());
    row.pattern = "/u*";
    row.route.body = BodyMode::Stream;
    MR_CHECK(routes.add(row).empty());
    row = {"", "/w", {}};
    row.route.kind = RouteKind::Handler;
    row.route.is_socket = true;
    MR_CHECK(routes.add(row).empty());
    Route everything;
    everything.kind = RouteKind::Handler;
    routes.set_fallback(everything);
    routes.seal();
    return routes;
  }();
  return made;
}

struct Outcome {
  std::string request;
  std::vector<ErrorCode> refusals;
  std::string written;
  bool operator==(const Outcome&) const = default;
};

// What JavaScript may rely on.
void check_request(const SeenEvent& event) {
  MR_CHECK((event.flags & millrace::kEventScgi) != 0 &&
           (event.flags & millrace::kEventUpgrade) == 0);
  MR_CHECK(millrace::is_token(event.method) && event.method != "CONNECT");
  MR_CHECK(millrace::http1::is_request_target(event.method, event.target));
  MR_CHECK(event.trailers.starts_with("CONTENT_LENGTH") && event.trailers.back() == '\0');
  Bytes text = event.headers;
  MR_CHECK(text.starts_with('\n'));
  for (text.remove_prefix(1); !text.empty();) {
    const size_t nul = text.find('\0');
    const size_t end = text.find('\n');
    MR_CHECK(nul != Bytes::npos && end != Bytes::npos && nul < end);
    MR_CHECK(millrace::is_token(text.substr(0, nul)));
    MR_CHECK(millrace::http1::is_field_value(text.substr(nul + 1, end - nul - 1)));
    MR_CHECK(text.substr(0, nul) != "transfer-encoding" && text.substr(0, nul) != "proxy");
    text.remove_prefix(end + 1);
  }
}

class Exchange final {
 public:
  Exchange(const Setting& setting, bool full)
      : setting_(setting),
        full_(full),
        sink_(setting_.limits, router(), millrace::scgi::make_session()) {}

  void feed(Bytes bytes) {
    sink_.lane_is_full = full_ && (bytes.size() + static_cast<uint8_t>(bytes[0])) % 3 == 0;
    sink_.feed(bytes);
    sink_.lane_is_full = false;
    sink_.settle_now();
    take_events();
    MR_CHECK(!sink_.is_open() || sink_.open_exchanges() > 0 || sink_.armed() != millrace::kNever);
  }

  Outcome end() {
    for (int i = 0; i < 20 && sink_.is_open(); i++) {
      if (!setting_.peer_closes) sink_.advance(kForEver);
      if (setting_.peer_closes && i == 0) sink_.half_close();
      take_events();
      if (is_called_ && !is_answered_) answer();
    }
    MR_CHECK(!sink_.is_open() && sink_.open_exchanges() == 0);
    const std::string& written = sink_.written;
    MR_CHECK(written.empty() || written.starts_with("Status: "));
    MR_CHECK(written.find("Connection: ") == std::string::npos);
    return {request_, sink_.refusals, written};
  }

 private:
  void take_events() {
    while (!sink_.events.empty()) {
      for (const SeenEvent& event : std::exchange(sink_.events, {})) see(event);
    }
  }

  void see(const SeenEvent& event) {
    switch (event.kind) {
      case EventKind::Request:
        MR_CHECK(!is_called_);
        check_request(event);
        is_called_ = true;
        id_ = event.exchange;
        request_ = event.method + " " + event.target + event.headers + event.trailers + event.body;
        streams_ = event.body_follows;
        if (streams_) tell({.kind = CommandKind::Read, .amount = 100'000});
        break;
      case EventKind::Body: request_ += event.body; return;
      case EventKind::BodyEnd: streams_ = false; break;
      // How much came before the break is a matter of the split.
      case EventKind::BodyFailed:
        streams_ = false;
        request_ = "failed";
        break;
      case EventKind::Aborted: is_answered_ = true; return;
      default: return;
    }
    if (!streams_ && setting_.manner != Manner::AtTheEnd) answer();
  }

  void answer() {
    is_answered_ = true;
    if (setting_.manner != Manner::ByPieces)
      return tell({.header_lines = "A: b\r\n", .body = "ok"});
    tell({.kind = CommandKind::Begin});
    tell({.kind = CommandKind::Write, .body = "one"});
    tell({.kind = CommandKind::Write, .body = "two"});
    tell({.kind = CommandKind::End, .header_lines = "X-Sum: 1\r\n"});
  }

  void tell(const millrace::test::CommandText& text) { sink_.answer(id_, text); }

  const Setting& setting_;
  const bool full_;
  FakeSink sink_;
  millrace::ExchangeId id_;
  bool is_called_ = false;
  bool is_answered_ = false;
  bool streams_ = false;
  std::string request_;
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

// The first byte says how long a body follows.
std::string wrapped(Bytes rest) {
  const size_t body = rest.empty() ? 0 : static_cast<uint8_t>(rest[0]) % 40;
  std::string block = "CONTENT_LENGTH" + std::string(1, '\0') + std::to_string(body);
  block.append("\0SCGI\0001\0", 8).append(rest.substr(rest.empty() ? 0 : 1));
  return std::to_string(block.size()) + ":" + block + "," + std::string(body, 'b');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > 4096) return 0;
  const Setting setting = setting_of(data[0]);
  const Bytes rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string input = setting.wraps ? wrapped(rest) : std::string(rest);
  for (const ScgiLimits& limits : {ScgiLimits{16384, 164}, ScgiLimits{100, 4}}) {
    check_parser(input, limits);
  }
  uint64_t seed = 0x9e3779b97f4a7c15u ^ size;
  for (size_t i = 0; i < size; i++) seed = (seed ^ data[i]) * 0x100000001b3u;
  const auto random_step = [&seed](size_t left) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(1 + (seed >> 33) % left);
  };
  const Outcome whole = run(input, setting, false, [](size_t left) { return left; });
  MR_CHECK(whole.refusals.size() <= 1);
  if (size <= 512) MR_CHECK(whole == run(input, setting, false, [](size_t) { return size_t{1}; }));
  MR_CHECK(whole == run(input, setting, false, random_step));
  MR_CHECK(whole == run(input, setting, true, random_step));
  return 0;
}
