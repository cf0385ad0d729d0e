// Streamed bodies and responses of the HTTP/1 session, beyond what test/cases/streams.case can say:
// credit by the byte, forms part by part, files on a real disk, a lane without room, deadlines.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "core/disk/sha256.h"
#include "core/proto/http1/body_stream.h"
#include "core/proto/multipart/decoder.h"
#include "test/disk_rig.h"
#include "test/fake_sink.h"
#include "test/harness.h"
#include "test/temp_file.h"

namespace millrace::test {
namespace {

const Router& streaming_router() {
  static const Router& made = []() -> const Router& {
    static Router routes;
    Route everything;
    everything.kind = RouteKind::Handler;
    everything.body = BodyMode::Stream;
    routes.set_fallback(everything);
    routes.seal();
    return routes;
  }();
  return made;
}

std::string post_head(size_t length) {
  return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
}

std::string field(const std::string& name, const std::string& value) {
  return "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
}

std::string file(const std::string& name, const std::string& filename, const std::string& value) {
  return "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"; filename=\"" + filename +
         "\"\r\n\r\n" + value + "\r\n";
}

std::string pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; i++) bytes[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return bytes;
}

// One connection with one streamed request at a time, and what came of it.
class Upload final {
 public:
  explicit Upload(const Limits& limits = {})
      : limits_(limits), sink_(std::make_unique<FakeSink>(limits_, streaming_router())) {}

  FakeSink& sink() { return *sink_; }
  void feed(Bytes bytes) {
    sink_->feed(bytes);
    look();
  }
  void tell(const CommandText& text) {
    sink_->answer(id, text);
    look();
  }
  void read(uint32_t credit) { tell({.kind = CommandKind::Read, .amount = credit}); }
  void parts(uint32_t credit, MultipartLimits limits = {}) {
    std::string content(reinterpret_cast<const char*>(&limits), sizeof(limits));
    content += "B";
    tell({.kind = CommandKind::Parts, .body = content, .amount = credit});
  }
  void take_part(uint32_t number, bool skip) {
    const uint16_t flags = skip ? kCommandSkip : uint16_t{0};
    tell({.kind = CommandKind::Part, .flags = flags, .amount = number});
  }
  void save(Fd into, bool digest = false, uint64_t limit = UINT64_MAX) {
    const Bytes content(reinterpret_cast<const char*>(&limit), sizeof(limit));
    tell({.kind = CommandKind::Save,
          .flags = digest ? kCommandDigest : uint16_t{0},
          .body = content,
          .amount = static_cast<uint32_t>(into.release())});
  }
  void respond() { tell({.body = "ok"}); }
  void wait_for_disk() {
    sink_->wait_for_disk();
    look();
  }
  void wait_until_saved() {
    for (size_t i = 0; i < 1000 && saved.empty(); i++) wait_for_disk();
  }
  void make_room() {
    sink_->lane_is_full = false;
    sink_->settle_now();
    look();
  }
  void advance(Milliseconds span) {
    sink_->advance(span);
    look();
  }
  [[nodiscard]] bool is_reading() const { return !sink_->is_paused(); }

  ExchangeId id;
  std::string body;        // Body events
  std::string parts_text;  // what came of a form, in order
  std::vector<size_t> pieces;
  std::vector<SeenEvent> saved;
  ErrorCode failed = ErrorCode::None;
  size_t requests = 0;
  size_t ends = 0;
  size_t part_count = 0;
  uint64_t written = 0;
  int64_t cost = 0;  // of the credit

 private:
  void look() {
    for (SeenEvent& event : std::exchange(sink_->events, {})) see(event);
  }
  void see(SeenEvent& event) {
    if (event.kind == EventKind::Request) {
      id = event.exchange;
      requests++;
      return;
    }
    EXPECT(event.exchange == id);
    switch (event.kind) {
      case EventKind::Body:
        EXPECT(!event.body.empty());
        body += event.body;
        pieces.push_back(event.body.size());
        if (part_count > 0) parts_text += event.body;
        cost += static_cast<int64_t>(event.body.size() + http1::kEventCost);
        break;
      case EventKind::BodyEnd: ends++; break;
      case EventKind::BodyFailed: failed = static_cast<ErrorCode>(event.status); break;
      case EventKind::Written: written += event.head_a; break;
      case EventKind::Part:
        part_count++;
        EXPECT(event.head_a == part_count);
        parts_text += "[" + event.target + (event.has_filename ? "!" : "") + ":";
        cost +=
            static_cast<int64_t>(http1::kEventCost + event.target.size() + event.headers.size());
        break;
      case EventKind::PartEnd:
        EXPECT(event.head_a == part_count);
        parts_text += "]";
        cost += http1::kEventCost;
        break;
      case EventKind::Saved:
        parts_text += "<" + std::to_string(event.head_a) + ">";
        saved.push_back(std::move(event));
        break;
      default: break;
    }
  }

  const Limits limits_;
  std::unique_ptr<FakeSink> sink_;
};

// --- credit ---

TEST("a byte of credit lets one read of a body through, and no more") {
  for (const size_t size :
       {size_t{1}, size_t{2}, size_t{4095}, kInlineBodyMax, kInlineBodyMax + 1}) {
    Upload upload;
    upload.feed(post_head(size * 3));
    EXPECT(upload.requests == 1 && upload.body.empty());
    upload.feed(std::string(size, 'x'));
    EXPECT(upload.body.empty() && !upload.is_reading());
    upload.read(1);
    EXPECT(upload.body.size() == size);
    upload.feed(std::string(size, 'y'));
    EXPECT(upload.body.size() == size && !upload.is_reading());
    // What was taken beyond the credit has to be paid first.
    upload.read(static_cast<uint32_t>(size + http1::kEventCost - 1));
    EXPECT(upload.body.size() == size);
    upload.read(1);
    EXPECT(upload.body.size() == 2 * size);
    upload.read(static_cast<uint32_t>(size + http1::kEventCost));
    upload.feed(std::string(size, 'z'));
    EXPECT(upload.body == std::string(size, 'x') + std::string(size, 'y') + std::string(size, 'z'));
    EXPECT(upload.ends == 1);
    upload.respond();
    EXPECT(upload.sink().is_open());
  }
}

TEST("credit that comes in the smallest and largest amounts is counted") {
  Upload upload;
  upload.feed(post_head(10));
  upload.read(0);
  upload.feed("ab");
  EXPECT(upload.body.empty());
  for (int i = 0; i < 4; i++) upload.read(UINT32_MAX);
  EXPECT(upload.body == "ab");
  upload.feed("cdefghij");
  EXPECT(upload.body == "abcdefghij" && upload.ends == 1);
}

TEST("chunked bytes and their trailers are the same at every split") {
  const std::string text =
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5\r\nhello\r\n1;a=\"b\"\r\n \r\n5\r\nworld\r\n0\r\nX-Sum: 7\r\n\r\n";
  const size_t head = text.find("\r\n\r\n") + 4;
  for (size_t at = head; at <= text.size(); at++) {
    for (const uint32_t credit : {1u, 3u, 100u}) {
      Upload upload;
      upload.feed(Bytes(text).substr(0, at));
      upload.read(credit);
      upload.feed(Bytes(text).substr(at));
      for (int i = 0; i < 2000 && upload.ends == 0; i++) upload.read(credit);
      context = "cut at " + std::to_string(at) + " with " + std::to_string(credit);
      EXPECT(upload.body == "hello world");
      EXPECT(upload.ends == 1 && upload.failed == ErrorCode::None);
      upload.respond();
      EXPECT(upload.sink().is_open());
    }
  }
}

// --- a lane without room ---

TEST("a body waits while the lane has no room, and its time is not the peer's") {
  Upload upload;
  upload.feed(post_head(6));
  upload.read(100);
  upload.sink().lane_is_full = true;
  upload.feed("abc");
  EXPECT(upload.body.empty() && !upload.is_reading());
  upload.advance(60'000);
  EXPECT(upload.failed == ErrorCode::None);
  upload.make_room();
  EXPECT(upload.body == "abc" && upload.is_reading());
  upload.sink().lane_is_full = true;
  upload.feed("def");
  upload.advance(60'000);
  EXPECT(upload.failed == ErrorCode::None && upload.ends == 0);
  upload.make_room();
  EXPECT(upload.body == "abcdef" && upload.ends == 1);
}

TEST("the end of a body waits for room too") {
  Upload upload;
  upload.feed(post_head(3));
  upload.read(100);
  upload.sink().lane_is_full = true;
  upload.feed("abc");
  upload.respond();  // before the lane has room again
  upload.make_room();
  EXPECT(upload.body.empty() && upload.ends == 0);
  EXPECT(upload.sink().is_open() && upload.sink().open_exchanges() == 0);
  upload.feed("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT(upload.requests == 2);
}

TEST("a form waits while the lane has no room, and its time is not the peer's") {
  const std::string form = field("a", "1") + field("b", "2") + "--B--\r\n";
  Upload upload;
  upload.feed(post_head(form.size()));
  upload.parts(10'000);
  upload.feed(Bytes(form).substr(0, 10));
  upload.sink().lane_is_full = true;
  upload.feed(Bytes(form).substr(10, 60));
  upload.advance(60'000);
  EXPECT(upload.failed == ErrorCode::None);
  upload.make_room();
  upload.feed(Bytes(form).substr(70));
  EXPECT(upload.parts_text == "[a:1][b:2]");
  EXPECT(upload.ends == 1);
}

// --- forms ---

TEST("a form comes part by part, the same at every split") {
  const std::string form = "preamble\r\n" + field("a", "one") + field("empty", "") +
                           field("c", "with\r\n--Bx inside") + "--B--\r\nepilogue";
  for (size_t at = 0; at <= form.size(); at++) {
    Upload upload;
    upload.feed(post_head(form.size()));
    upload.parts(100'000);
    upload.feed(Bytes(form).substr(0, at));
    upload.feed(Bytes(form).substr(at));
    context = "cut at " + std::to_string(at);
    EXPECT(upload.parts_text == "[a:one][empty:][c:with\r\n--Bx inside]");
    EXPECT(upload.ends == 1 && upload.failed == ErrorCode::None);
    upload.respond();
    EXPECT(upload.sink().is_open());
  }
}

TEST("a form costs what its events say, and goes on when that is paid") {
  const std::string form = field("a", pattern(300)) + field("b", "") + field("c", "x") + "--B--";
  Upload upload;
  upload.feed(post_head(form.size()));
  upload.parts(1);
  upload.feed(form);
  EXPECT(upload.part_count == 1);
  int64_t paid = 1;
  for (int i = 0; i < 1000 && upload.ends == 0; i++) {
    // Never more than one event beyond what was paid for.
    EXPECT(upload.cost < paid + 500);
    upload.read(7);
    paid += 7;
  }
  EXPECT(upload.parts_text == "[a:" + pattern(300) + "][b:][c:x]");
  EXPECT(upload.ends == 1 && paid >= upload.cost);
}

TEST("the content of a file waits until somebody says what to do with it") {
  const std::string form =
      field("a", "1") + file("f", "n.txt", "content") + field("z", "9") + "--B--";
  for (size_t at = 0; at <= form.size(); at++) {
    Upload upload;
    upload.feed(post_head(form.size()));
    upload.parts(100'000);
    upload.feed(Bytes(form).substr(0, at));
    upload.feed(Bytes(form).substr(at));
    context = "cut at " + std::to_string(at);
    EXPECT(upload.parts_text == "[a:1][fn.txt!:");
    upload.take_part(1, false);  // a part that is over
    EXPECT(upload.parts_text == "[a:1][fn.txt!:");
    upload.take_part(2, at % 2 == 0);
    EXPECT(upload.parts_text ==
           (at % 2 == 0 ? "[a:1][fn.txt!:][z:9]" : "[a:1][fn.txt!:content][z:9]"));
    EXPECT(upload.ends == 1);
  }
}

TEST("what a part has already sent is handed over without waiting for more of it") {
  const std::string form = file("f", "n", pattern(500)) + "--B--";
  Upload upload;
  upload.feed(post_head(form.size()));
  upload.parts(100'000);
  upload.feed(Bytes(form).substr(0, 300));  // and the peer waits
  EXPECT(upload.parts_text == "[fn!:");
  upload.take_part(1, false);
  EXPECT(upload.body.size() > 200);
  Upload poor;
  poor.feed(post_head(form.size()));
  poor.parts(1);
  poor.feed(Bytes(form).substr(0, 300));
  poor.take_part(1, false);
  poor.read(10'000);
  EXPECT(poor.body.size() > 200);
}

TEST("the end of a saved part is told without waiting for more of the form") {
  TempFolder folder;
  const std::string form = file("f", "n", "content") + field("z", "9") + "--B--";
  const size_t until = form.find("name=\"z\"");
  Upload upload;
  upload.feed(post_head(form.size()));
  upload.parts(100'000);
  upload.feed(Bytes(form).substr(0, until));
  upload.save(folder.create("f"));
  upload.wait_until_saved();
  EXPECT(upload.parts_text == "[fn!:<7>]");
  EXPECT(folder.read("f") == "content");
  upload.feed(Bytes(form).substr(until));
  EXPECT(upload.parts_text == "[fn!:<7>][z:9]" && upload.ends == 1);
}

TEST("a form that is broken, cut short or too large fails with its code") {
  const struct {
    std::string form;
    MultipartLimits limits;
    ErrorCode code;
  } cases[] = {
      {field("a", "1"), {}, ErrorCode::BadMultipart},
      {"", {}, ErrorCode::BadMultipart},
      {"--B\r\nbad head\r\n\r\nx\r\n--B--", {}, ErrorCode::BadMultipart},
      {field("a", "1") + field("b", "2") + "--B--", {.parts_max = 1}, ErrorCode::MultipartLimit},
      {field("a", "12345") + "--B--", {.field_bytes_max = 4}, ErrorCode::MultipartLimit},
      {field(std::string(9000, 'n'), "1") + "--B--", {}, ErrorCode::PartHeadersTooLarge},
  };
  for (const auto& one : cases) {
    if (one.form.empty()) continue;  // has no body at all: whole
    for (const bool whole : {true, false}) {
      Upload upload;
      upload.feed(post_head(one.form.size()));
      upload.parts(100'000, one.limits);
      if (whole) upload.feed(one.form);
      for (size_t i = 0; i < one.form.size() && !whole; i++)
        upload.feed(Bytes(one.form).substr(i, 1));
      EXPECT(upload.failed == one.code && upload.ends == 0);
      upload.respond();
      EXPECT(!upload.sink().is_open());
    }
  }
}

TEST("a part's head of the largest size fits into its event") {
  // The name is said twice: in the text of its own, and in the field.
  const std::string start = "Content-Disposition: form-data; name=\"\"; filename=\"\"\r\n\r\n";
  const std::string name(kInlineBodyMax / 2 - start.size() - 1, 'n');
  const std::string form = file(name, "f", "x") + "--B--";
  Upload upload;
  upload.feed(post_head(form.size()));
  upload.parts(1'000'000);
  upload.feed(form);
  EXPECT(upload.part_count == 1);
  upload.take_part(1, false);
  EXPECT(upload.ends == 1);
}

TEST("commands for a body that are out of place change nothing and leak nothing") {
  const int before = open_descriptors();
  {
    TempFolder folder;
    const std::string form = field("a", "1") + file("f", "n", "content") + "--B--";
    Upload upload;
    upload.feed(post_head(form.size()));
    upload.take_part(0, true);
    upload.take_part(1, true);
    upload.parts(100'000);
    upload.parts(1);
    upload.take_part(0, true);
    upload.save(folder.create("early"));  // no part waits
    upload.feed(form);
    upload.save(folder.create("f"));
    upload.save(folder.create("twice"));
    upload.take_part(2, true);
    upload.wait_until_saved();
    EXPECT(upload.parts_text == "[a:1][fn!:<7>]" && upload.ends == 1);
    upload.read(10);
    upload.parts(10);
    upload.save(folder.create("late"));
    EXPECT(folder.read("f") == "content");
    for (const char* name : {"early", "twice", "late"}) EXPECT(folder.read(name).empty());
  }
  EXPECT(open_descriptors() == before);
}

// --- files ---

TEST("a body goes into a file, with its digest") {
  TempFolder folder;
  const std::string bytes = pattern(3'000'000);
  for (const size_t step : {size_t{700'001}, size_t{65'536}}) {
    Upload upload({.body_bytes_max = 10'000'000});
    upload.feed(post_head(bytes.size()));
    upload.save(folder.create("f"), true);
    for (size_t at = 0; at < bytes.size(); at += step) {
      upload.feed(Bytes(bytes).substr(at, step));
      while (!upload.is_reading() && upload.saved.empty()) upload.wait_for_disk();
    }
    upload.wait_until_saved();
    if (!EXPECT(upload.saved.size() == 1 && upload.ends == 1)) continue;
    Sha256 expected;
    expected.update(bytes);
    const Sha256::Digest digest = expected.finish();
    const Bytes as_bytes(reinterpret_cast<const char*>(digest.data()), digest.size());
    EXPECT(upload.saved[0].status == 0 && upload.saved[0].head_a == bytes.size());
    EXPECT(upload.saved[0].body == as_bytes);
    EXPECT(folder.read("f") == bytes);
    EXPECT(upload.body.empty());
    upload.respond();
    EXPECT(upload.sink().is_open());
  }
}

TEST("a body that is larger than its file may be stops at EFBIG") {
  TempFolder folder;
  for (const size_t size : {size_t{99}, size_t{100}, size_t{101}}) {
    Upload upload;
    upload.feed(post_head(size));
    upload.save(folder.create("f"), true, 100);
    upload.feed(std::string(size, 'x'));
    upload.wait_until_saved();
    if (!EXPECT(upload.saved.size() == 1)) continue;
    const bool fits = size <= 100;
    EXPECT(upload.saved[0].status == (fits ? 0 : EFBIG));
    EXPECT(upload.saved[0].body.empty() == !fits);
    EXPECT(upload.sink().open_exchanges() == 1);
    upload.respond();
    EXPECT(upload.sink().is_open() && upload.sink().open_exchanges() == 0);
  }
}

TEST("a file that cannot be written is told, and the rest of the part is dropped") {
  TempFolder folder;
  folder.write("f", "");
  const std::string form = file("f", "n", pattern(200'000)) + field("z", "9") + "--B--";
  Upload upload;
  upload.feed(post_head(form.size()));
  upload.parts(100'000);
  upload.feed(Bytes(form).substr(0, 1000));
  upload.save(Fd(::open(folder.at("f").c_str(), O_RDONLY | O_CLOEXEC)));
  upload.wait_until_saved();
  if (!EXPECT(upload.saved.size() == 1)) return;
  EXPECT(upload.saved[0].status == EBADF);
  upload.feed(Bytes(form).substr(1000));
  EXPECT(upload.parts_text == "[fn!:<0>][z:9]" && upload.ends == 1);
}

TEST("many files of one form are saved one after the other") {
  TempFolder folder;
  std::string form;
  for (int i = 0; i < 20; i++)
    form += file("f", std::to_string(i), pattern(static_cast<size_t>(i) * 1000));
  form += "--B--";
  Upload upload;
  upload.feed(post_head(form.size()));
  upload.parts(100'000);
  upload.feed(form);
  for (size_t i = 0; i < 20; i++) {
    EXPECT(upload.part_count == i + 1);
    upload.save(folder.create(std::to_string(i)));
    for (int tries = 0; tries < 100 && upload.saved.size() <= i; tries++) upload.wait_for_disk();
  }
  EXPECT(upload.ends == 1);
  for (size_t i = 0; i < 20; i++) EXPECT(folder.read(std::to_string(i)) == pattern(i * 1000));
}

TEST("a connection that goes away in the middle of a file leaves no descriptor") {
  const int before = open_descriptors();
  {
    TempFolder folder;
    for (int i = 0; i < 30; i++) {
      Upload upload;
      upload.feed(post_head(1'000'000));
      upload.save(folder.create("f"));
      upload.feed(pattern(static_cast<size_t>(i) * 10'000));
      if (i % 3 == 0) upload.respond();
      if (i % 3 == 1) upload.sink().lose();
    }
  }
  EXPECT(open_descriptors() == before);
}

TEST("a file on its way is forgotten when its request is answered, and the connection goes on") {
  TempFolder folder;
  Upload upload;
  upload.feed(post_head(10));
  upload.save(folder.create("f"));
  upload.feed("abc");
  upload.respond();
  upload.feed("defghij");
  upload.wait_for_disk();  // comes back to nobody
  EXPECT(upload.saved.empty() && upload.sink().is_open());
  upload.feed(post_head(2));
  EXPECT(upload.requests == 2);
  upload.read(5);
  upload.feed("xy");
  EXPECT(upload.body == "xy" && upload.ends == 1);
}

// --- deadlines ---

TEST("the slowest pace of a body is judged by the time that it was read") {
  Upload upload({.receive_timeout = 10'000, .receive_rate_min = 100});
  upload.feed(post_head(100'000));
  upload.read(1);
  upload.feed("a");
  upload.feed("b");  // held from here on
  upload.advance(500'000);
  EXPECT(upload.failed == ErrorCode::None);
  upload.read(100'000);
  EXPECT(upload.body == "ab");
  for (int i = 0; i < 9; i++) {
    upload.advance(1000);
    upload.feed("c");
  }
  EXPECT(upload.failed == ErrorCode::None);
  upload.advance(1100);
  EXPECT(upload.failed == ErrorCode::ReceiveTimeout);
}

TEST("the time before a body was asked for does not slow the pace that is due of it") {
  Upload upload({.receive_timeout = 10'000, .receive_rate_min = 100});
  upload.feed(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
  upload.advance(500'000);
  upload.read(100'000);
  for (int i = 0; i < 30; i++) {
    upload.advance(1000);
    upload.feed("c");
  }
  EXPECT(upload.failed == ErrorCode::ReceiveTimeout);
}

TEST("a form whose part nobody takes is not its peer's delay, whatever has been read of it") {
  const std::string form = file("f", "n", "content") + "--B--";
  Upload upload;
  upload.feed(post_head(form.size()));
  upload.parts(100'000);
  upload.feed(Bytes(form).substr(0, form.size() - 10));
  EXPECT(upload.part_count == 1);
  upload.advance(60'000);
  EXPECT(upload.failed == ErrorCode::None);
}

// --- responses ---

TEST("what is written of a response is acknowledged once it has left") {
  Upload upload;
  upload.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  upload.tell({.kind = CommandKind::Begin});
  uint64_t sum = 0;
  for (const unsigned size : {0u, 1u, 999u, 1000u, 5000u, 100'000u}) {
    const std::string bytes = pattern(size);
    upload.tell({.kind = CommandKind::Write, .body = bytes});
    sum += size;
    EXPECT(upload.written == sum);
  }
  upload.tell({.kind = CommandKind::End});
  EXPECT(upload.written == sum);
  EXPECT(upload.sink().open_exchanges() == 0);
}

TEST("a response behind another one is acknowledged when its turn has come") {
  Upload upload;
  upload.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const ExchangeId first = upload.id;
  upload.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  upload.tell({.kind = CommandKind::Begin});
  upload.tell({.kind = CommandKind::Write, .body = pattern(3000)});
  upload.tell({.kind = CommandKind::Write, .body = pattern(30)});
  EXPECT(upload.written == 0 && upload.sink().written.empty());
  upload.sink().answer(first, {.body = "one"});
  upload.sink().settle_now();
  upload.tell({.kind = CommandKind::Write, .body = "x"});
  EXPECT(upload.written == 3031);
}

}  // namespace
}  // namespace millrace::test
