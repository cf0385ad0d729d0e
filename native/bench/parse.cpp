// parse: nanoseconds per call and bytes per second of what stands between bytes and records:
// request heads (vector and scalar), chunks, multipart forms, WebSocket frames and texts, router,
// the event's text, response heads. One line of JSON; each figure is the median of several
// repetitions.
//
//   parse [--repetitions 9] [--seconds 0.1]        (seconds: of each row)
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "bench/parse_inputs.h"
#include "bench/program.h"
#include "bench/stopwatch.h"
#include "core/base/check.h"
#include "core/base/utf8_check.h"
#include "core/model/limits.h"
#include "core/model/request_event.h"
#include "core/proto/http1/chunked.h"
#include "core/proto/http1/encoder.h"
#include "core/proto/http1/head.h"
#include "core/proto/multipart/decoder.h"
#include "core/proto/ws/frame.h"
#include "core/route/router.h"

namespace millrace::bench {
namespace {

class Report final {
 public:
  void add(const std::string& name, size_t bytes, const Timing& timing) {
    double rate = timing.median_ns > 0 ? static_cast<double>(bytes) * 1e3 / timing.median_ns : 0;
    std::printf("%s{\"name\":\"%s\",\"bytes\":%zu,\"ns\":%.2f,\"least_ns\":%.2f,\"mb_per_s\":%.0f}",
                comma_, name.c_str(), bytes, timing.median_ns, timing.least_ns, rate);
    comma_ = ",";
  }

 private:
  const char* comma_ = "";
};

// Fields and limits of a server with default options.
struct HeadRig {
  Limits defaults;
  http1::HeadLimits limits{
      .header_bytes_max = static_cast<size_t>(defaults.header_bytes_max),
      .header_count_max = static_cast<size_t>(defaults.header_count_max),
      .request_line_bytes_max = static_cast<size_t>(defaults.request_line_bytes_max)};
  std::vector<HeaderField> fields{limits.header_count_max};
  RequestHead head;
  ErrorCode error = ErrorCode::None;
};

template <typename Parse>
Timing time_head(const Stopwatch& watch, const std::string& text, const Parse& parse) {
  HeadRig rig;
  auto parse_once = [&](uint64_t) {
    keep(text);
    int result = parse(Bytes(text), 0, rig.limits, rig.head, rig.fields.data(), rig.error);
    keep(result);
    keep(rig);
    return result;
  };
  MR_CHECK(parse_once(0) == static_cast<int>(text.size()));
  return watch.measure(parse_once);
}

void measure_heads(const Stopwatch& watch, Report& report) {
  for (const HeadInput& input : head_inputs()) {
    std::string name = std::string("head/") + input.name;
    size_t size = input.text.size();
    report.add(name, size, time_head(watch, input.text, http1::parse_request_head));
    report.add(name + "/scalar", size,
               time_head(watch, input.text, http1::parse_request_head_scalar));
  }
}

// Decoding moves the body within its input, which is therefore copied anew each time; the time of
// the copy alone is taken off.
void measure_chunks(const Stopwatch& watch, Report& report) {
  struct Shape {
    const char* name;
    size_t chunk;
    size_t total;
  };
  for (Shape shape : {Shape{"chunks/16 B", 16, 4096}, Shape{"chunks/1 KiB", 1024, 65536},
                      Shape{"chunks/16 KiB", 16384, 65536}}) {
    std::string text = chunked_body(shape.chunk, shape.total);
    std::vector<char> buffer(text.size());
    auto copy = [&](uint64_t) {
      std::memcpy(buffer.data(), text.data(), text.size());
      keep(buffer[0]);
    };
    auto decode = [&](uint64_t i) {
      copy(i);
      http1::ChunkDecoder decoder;
      auto step = decoder.decode(MutableBytes(buffer), uint64_t{1} << 40, 4096);
      MR_CHECK(step.state == http1::ChunkDecoder::State::Trailers && step.produced == shape.total);
      keep(buffer[0]);
    };
    report.add(shape.name, text.size(), watch.measure_net(decode, copy));
  }
}

// One file of 64 KiB, whose content repeats a line, or a form of many small fields.
std::string multipart_body(Bytes line, size_t content_bytes, int parts) {
  std::string body;
  for (int i = 0; i < parts; i++) {
    body +=
        "------FormBoundaryq1w2e3r4t5y6u7i8\r\n"
        "Content-Disposition: form-data; name=\"field\"; filename=\"mill.txt\"\r\n"
        "Content-Type: text/plain\r\n\r\n";
    for (size_t end = body.size() + content_bytes; body.size() < end;) body += line;
    body += "\r\n";
  }
  return body + "------FormBoundaryq1w2e3r4t5y6u7i8--\r\n";
}

void measure_multipart(const Stopwatch& watch, Report& report) {
  struct Shape {
    const char* name;
    std::string body;
  };
  const std::string line = "A line of a text file, as long as lines of text files are.\r\n";
  for (const Shape& shape : {Shape{"multipart/no CR", multipart_body("0123456789abcdef", 65536, 1)},
                             Shape{"multipart/lines", multipart_body(line, 65536, 1)},
                             Shape{"multipart/CRLF--", multipart_body("\r\n--", 65536, 1)},
                             Shape{"multipart/32 parts", multipart_body("value", 5, 32)}}) {
    Timing timing = watch.measure([&](uint64_t) {
      MultipartDecoder decoder("----FormBoundaryq1w2e3r4t5y6u7i8", {});
      Bytes unread = shape.body;
      while (!decoder.is_complete()) {
        const MultipartDecoder::Step step = decoder.decode(unread);
        MR_CHECK(step.consumed > 0);
        unread.remove_prefix(step.consumed);
        keep(step);
      }
    });
    report.add(shape.name, shape.body.size(), timing);
  }
}

// Payloads change with each call; their length does not.
void measure_frames(const Stopwatch& watch, Report& report) {
  for (const FrameInput& input : frame_inputs()) {
    std::string frames = input.frames;
    Timing timing = watch.measure([&](uint64_t) {
      MutableBytes unread(frames);
      while (!unread.empty()) {
        ws::FrameHead head;
        const int size = ws::parse_frame_head(Bytes(unread.data(), unread.size()), head);
        MR_CHECK(size > 0 && head.length == input.payload);
        unread = unread.subspan(static_cast<size_t>(size));
        ws::apply_mask(unread.first(input.payload), head.mask, 0);
        unread = unread.subspan(input.payload);
      }
      keep(frames[0]);
    });
    report.add(std::string("ws/") + input.name, frames.size(), timing);
  }
  for (const TextInput& input : text_inputs()) {
    Timing timing = watch.measure([&](uint64_t) {
      keep(input.text[0]);
      MR_CHECK(is_utf8(input.text));
    });
    report.add(std::string("utf8/") + input.name, input.text.size(), timing);
  }
}

void measure_router(const Stopwatch& watch, Report& report) {
  Router router;
  for (const std::string& pattern : route_patterns()) {
    RouteRow row{"GET", pattern, {}};
    row.route.kind = RouteKind::Handler;
    MR_CHECK(router.add(std::move(row)).empty());
  }
  router.seal();
  RouteMatch match;
  for (const RouterInput& input : router_inputs()) {
    size_t bytes = 0;
    for (const std::string& target : input.targets) bytes += target.size();
    size_t mask = input.targets.size() - 1;
    uint32_t path_length = 0;
    Timing timing = watch.measure([&](uint64_t i) {
      router.match(Method::Get, "GET", input.targets[i & mask], match, path_length);
      keep(match);
    });
    bool is_miss = std::string(input.name) == "no route";
    MR_CHECK((match.route->kind == RouteKind::NotFound) == is_miss);
    report.add(std::string("router/") + input.name, bytes / input.targets.size(), timing);
  }
}

// From a parsed head to the record in the ring.
void measure_event_text(const Stopwatch& watch, Report& report) {
  for (const HeadInput& input : head_inputs()) {
    HeadRig rig;
    int length = http1::parse_request_head(input.text, 0, rig.limits, rig.head, rig.fields.data(),
                                           rig.error);
    MR_CHECK(length > 0);
    Route route;
    RouteMatch match;
    match.route = &route;
    auto target = static_cast<uint32_t>(rig.head.target.size());
    RequestText text{rig.head, match, target, "203.0.113.7"};
    std::vector<uint64_t> record(request_event_size(text) / 8 + 1);
    auto* event = reinterpret_cast<Event*>(record.data());
    Timing timing = watch.measure([&](uint64_t) {
      keep(rig);
      MR_CHECK(request_event_size(text) <= record.size() * 8);
      *event = Event();
      static_cast<void>(fill_request_event(text, *event));
      keep(record[0]);
    });
    report.add(std::string("event/") + input.name, input.text.size(), timing);
  }
}

void measure_encoder(const Stopwatch& watch, Report& report) {
  http1::DateLine date;
  http1::ResponseHead head;
  head.header_lines = "Content-Type: application/json\r\nCache-Control: no-store\r\n";
  head.content_length = true;
  std::vector<char> out(1024);
  size_t written = 0;
  Timing timing = watch.measure([&](uint64_t i) {
    head.date_line = date.at(1'795'000'000);
    head.length = i & 0xffff;
    MR_CHECK(http1::response_head_size_max(head) <= out.size());
    written = http1::write_response_head(head, out.data());
    keep(out[0]);
  });
  report.add("response head", written, timing);
  timing = watch.measure([&](uint64_t i) {
    Bytes line = date.at(static_cast<UnixSeconds>(1'700'000'000 + i));
    keep(line);
  });
  report.add("date of a new second", date.at(0).size(), timing);
}

}  // namespace
}  // namespace millrace::bench

int main(int count, char** words) {
  using namespace millrace::bench;  // NOLINT: the whole program is of that namespace
  int repetitions = 9;
  double seconds = 0.1;
  Arguments arguments("parse", count, words);
  while (arguments.next()) {
    if (arguments.is("--repetitions")) {
      repetitions = static_cast<int>(arguments.whole(1, 1001));
    } else if (arguments.is("--seconds")) {
      seconds = arguments.seconds();
    } else {
      arguments.refuse();
    }
  }
  std::printf("{\"program\":\"parse\",\"repetitions\":%d,\"rows\":[", repetitions);
  Stopwatch watch(repetitions, seconds);
  Report report;
  measure_heads(watch, report);
  measure_chunks(watch, report);
  measure_multipart(watch, report);
  measure_frames(watch, report);
  measure_router(watch, report);
  measure_event_text(watch, report);
  measure_encoder(watch, report);
  std::printf("]}\n");
  return 0;
}
