// Fuzzes the WebSocket session, both roles. First: a stream of frames, good and bad, comes to the
// same events and the same bytes however it is cut, whatever the lane has room for, and whenever
// JavaScript holds it. Then: the same with JavaScript sending, closing and asking, and with peers
// that read slowly, go silent or leave.
#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "fuzz/input.h"
#include "test/ws_rig.h"

namespace {

using millrace::Bytes;
using millrace::kCommandCompress;
using millrace::Overflow;
using millrace::SharedMessageRef;
using millrace::fuzz::Input;
using millrace::test::FrameSpec;
using millrace::test::WsRig;
using millrace::ws::Deflater;
using millrace::ws::Role;

constexpr uint32_t kPayloadLimits[] = {1 << 20, 300, 16, 0};
constexpr uint32_t kBacklogLimits[] = {1 << 20, 100'000, 2000, 0};

WsRig::Setting setting_of(Input& input) {
  WsRig::Setting setting;
  const uint8_t flavour = input.byte();
  setting.role = (flavour & 1) != 0 ? Role::Client : Role::Server;
  setting.deflate.enabled = (flavour & 2) != 0;
  setting.deflate.own_takeover = (flavour & 4) != 0;
  setting.deflate.peer_takeover = (flavour & 8) != 0;
  if ((flavour & 16) != 0) setting.deflate.own_window_bits = 10;
  setting.socket.automatic_pong = (flavour & 32) == 0;
  setting.socket.pings = (flavour & 64) == 0;
  setting.socket.deflate.threshold = 0;
  setting.socket.payload_bytes_max = kPayloadLimits[input.below(4)];
  setting.socket.backlog_bytes_max = kBacklogLimits[input.below(4)];
  setting.socket.overflow = static_cast<Overflow>(input.below(3));
  return setting;
}

// --- what the peer sends ---

class Writer final {
 public:
  Writer(Input& input, const WsRig::Setting& setting) : input_(input), setting_(setting) {
    if (setting.deflate.enabled) deflater_ = Deflater::make(1, 15);
  }
  [[nodiscard]] std::string next() {
    const uint8_t what = input_.byte();
    if (what >= 248) return bytes(input_.below(16));
    FrameSpec spec;
    spec.masked = (setting_.role == Role::Server) != ((what & 0x3f) == 0x3f);
    spec.fin = (what & 0x40) == 0;
    spec.rsv1 = (what & 0x38) == 0x38;
    switch (what & 7) {
      case 0: return control(spec, 9);
      case 1: return control(spec, 10);
      case 2: return (what & 0x30) == 0 ? close(spec) : data(spec);
      default: return data(spec);
    }
  }

 private:
  std::string bytes(size_t count) {
    std::string all;
    for (size_t i = 0; i < count; i++) all += static_cast<char>(input_.byte());
    return all;
  }
  std::string control(FrameSpec spec, uint8_t opcode) {
    spec.opcode = opcode;
    spec.fin = spec.rsv1 = false;
    spec.fin = true;
    return frame(spec, bytes(input_.below(6)));
  }
  std::string close(FrameSpec spec) {
    spec = {.opcode = 8, .masked = spec.masked};
    static constexpr uint16_t kCodes[] = {1000, 1001, 1005, 3000, 4999, 999};
    if (input_.below(3) == 0) return frame(spec, bytes(input_.below(4)));
    return frame(spec, millrace::test::close_payload(kCodes[input_.below(6)], bytes(2)));
  }
  std::string data(FrameSpec spec) {
    const uint8_t kind = input_.byte();
    spec.opcode = is_within_ != ((kind & 15) == 15) ? 0 : (kind & 16) != 0 ? 2 : 1;
    is_within_ = !spec.fin;
    std::string payload = bytes(kind >> 5);
    const uint32_t filler = input_.below(12);
    if (filler == 10) payload.append(1000, 'x');
    if (filler == 11) payload.append(20'000, 'y');
    if (filler == 9) payload.append("\xe2\x98\x83");
    if (deflater_ != nullptr && (kind & 6) == 6) {
      // A whole message, or what begins one.
      spec.rsv1 = spec.opcode != 0;
      payload = compressed(payload);
    }
    return frame(spec, payload);
  }
  std::string compressed(Bytes payload) {
    millrace::Blob out;
    size_t used = 0;
    MR_CHECK(deflater_->compress(payload, out, used));
    if (!setting_.deflate.peer_takeover) deflater_->reset();
    return std::string(out.bytes().substr(0, used));
  }

  Input& input_;
  const WsRig::Setting& setting_;
  std::unique_ptr<Deflater> deflater_;
  bool is_within_ = false;
};

// --- one shot against pieces ---

struct Outcome {
  std::string events;
  std::string wire;
  bool operator==(const Outcome&) const = default;
};

Outcome end_of(WsRig& rig) {
  rig.sink.half_close();
  Outcome outcome{rig.events(), rig.wire()};
  MR_CHECK(rig.ended() == 1 && !rig.is_open());
  MR_CHECK(rig.sink.waiting == 0 && rig.sink.written.empty());
  return outcome;
}

template <typename Step>
Outcome run(const WsRig::Setting& setting, Bytes stream, Step step) {
  WsRig rig(setting);
  std::string events;
  while (!stream.empty()) {
    const size_t length = step(rig, stream.size());
    rig.feed(stream.substr(0, length));
    stream.remove_prefix(length);
  }
  rig.sink.lane_is_full = false;
  rig.sink.settle_now();
  rig.hold(false);
  return end_of(rig);
}

void expect_same(const Outcome& whole, const Outcome& cut) {
  if (cut == whole) return;
  std::fprintf(stderr, "--- whole\n%s\n%s\n--- cut\n%s\n%s\n", whole.events.c_str(),
               whole.wire.c_str(), cut.events.c_str(), cut.wire.c_str());
  MR_CHECK(cut == whole);
}

void compare_cuts(const WsRig::Setting& setting, Bytes stream, uint64_t seed) {
  const auto random = [&seed](uint64_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((seed >> 33) % below);
  };
  const Outcome whole = run(setting, stream, [](WsRig&, size_t left) { return left; });
  if (stream.size() <= 512)
    expect_same(whole, run(setting, stream, [](WsRig&, size_t) { return size_t{1}; }));
  const auto any = [&](WsRig&, size_t left) { return 1 + random(std::min<size_t>(left, 3000)); };
  expect_same(whole, run(setting, stream, any));
  // Room in the lane and Hold come and go.
  expect_same(whole, run(setting, stream, [&](WsRig& rig, size_t left) {
                if (random(4) == 0) rig.sink.lane_is_full = !rig.sink.lane_is_full;
                if (random(4) == 0) rig.hold(random(2) == 0);
                rig.sink.settle_now();
                return any(rig, left);
              }));
}

// --- with JavaScript and a peer that has its moods ---

class Story final {
 public:
  Story(Input& input, const WsRig::Setting& setting)
      : input_(input), setting_(setting), rig_(setting), writer_(input, setting) {
    rig_.reader.keeps_window = setting.deflate.own_takeover || setting.deflate.enabled;
  }

  void run() {
    while (!input_.empty()) step();
    rig_.sink.lane_is_full = false;
    rig_.sink.settle_now();
    rig_.hold(false);
    rig_.sink.unstick();
    look();
    if (rig_.is_open() && !has_closed_) {
      MR_CHECK(asked_.empty());
      if (setting_.socket.overflow != Overflow::Drop) MR_CHECK(sent_.empty());
      MR_CHECK(rig_.sink.waiting == 0);
    }
    rig_.sink.lose();
    look();
    MR_CHECK(rig_.ended() == 1 && !rig_.is_open());
    MR_CHECK(rig_.sink.waiting == 0);
  }

 private:
  void step() {
    switch (input_.below(16)) {
      case 0: return feed(1 + input_.below(40));
      case 1: return feed(SIZE_MAX);
      case 2:
      case 3: stream_ += writer_.next(); return feed(SIZE_MAX);
      case 4: stream_ += writer_.next(); return;
      case 5:
      case 6: return send();
      case 7: return send_shared();
      case 8: rig_.hold(input_.below(2) == 0); break;
      case 9:
        if (rig_.is_open()) asked_.insert(++last_report_);
        rig_.report(input_.below(3000), last_report_);
        break;
      case 10:
        if (input_.below(2) == 0) {
          rig_.sink.peer_is_stuck = true;
        } else {
          rig_.sink.unstick();
        }
        break;
      case 11: rig_.sink.settle_slowly(1 + size_t{input_.below(255)} * 300); break;
      case 12: rig_.sink.lane_is_full = !rig_.sink.lane_is_full; break;
      case 13:
        rig_.sink.advance(static_cast<millrace::Milliseconds>(input_.below(255)) * 500);
        break;
      case 14: return end_somehow();
      default: rig_.sink.settle_now(); break;
    }
    look();
  }
  void end_somehow() {
    switch (input_.below(12)) {
      case 0:
        rig_.close(1000, "bye");
        has_closed_ = true;
        break;
      case 1: rig_.sink.half_close(); break;
      case 2:
        rig_.sink.stop();
        has_closed_ = true;
        break;
      case 3: rig_.sink.lose(); break;
      default: break;
    }
    look();
  }
  void feed(size_t most) {
    const std::string piece = stream_.substr(0, most);
    stream_.erase(0, piece.size());
    rig_.feed(piece);
    look();
  }
  std::string new_payload() {
    static constexpr size_t kSizes[] = {0, 1, 100, 1100, 5000, 70'000};
    return std::to_string(++number_) + std::string(kSizes[input_.below(6)], 'z');
  }
  void send() {
    const std::string payload = new_payload();
    const uint16_t flags = input_.below(2) == 0 ? kCommandCompress : 0;
    const uint8_t opcode = input_.below(2) == 0 ? 1 : 2;
    note(opcode, payload);
    rig_.send(payload, opcode, flags);
    look();
  }
  void send_shared() {
    const std::string payload = new_payload();
    const uint16_t flags = input_.below(2) == 0 ? kCommandCompress : 0;
    const SharedMessageRef message = millrace::test::shared_message(2, payload);
    const bool with_report = input_.below(4) == 0;
    const uint32_t number = with_report ? ++last_report_ : 0;
    const size_t dropped = rig_.sink.dropped;
    note(2, payload);
    if (with_report && rig_.is_open()) asked_.insert(number);
    rig_.send_shared(message, flags, number);
    if (rig_.sink.dropped > dropped && !sent_.empty()) sent_.pop_back();
    look();
  }
  void note(uint8_t opcode, Bytes payload) {
    if (rig_.is_open() && !has_closed_)
      sent_.push_back((opcode == 1 ? "text" : "binary") + (" " + millrace::test::shown(payload)));
  }

  // Everything there is to see must be in order.
  void look() {
    for (const millrace::test::SeenEvent& event : rig_.sink.events) {
      MR_CHECK(!is_over_);
      is_over_ = event.kind == millrace::EventKind::Ended;
      if (event.kind == millrace::EventKind::Sent) MR_CHECK(asked_.erase(event.head_a) == 1);
    }
    static_cast<void>(rig_.events());
    for (std::string line : rig_.reader.take(rig_.sink.written)) {
      MR_CHECK(!line.starts_with("MASK") && !line.ends_with("WRONG") && line != "broken");
      MR_CHECK(!saw_close_);
      if (line.starts_with("ping ") || line.starts_with("pong ")) continue;
      if (line.starts_with("close ")) {
        saw_close_ = true;
        continue;
      }
      const size_t plus = line.find("+ ");
      if (plus != std::string::npos) line.erase(plus, 1);
      MR_CHECK(!sent_.empty() && sent_.front() == line);
      sent_.erase(sent_.begin());
    }
    MR_CHECK(rig_.ended() <= 1);
    MR_CHECK(rig_.is_open() == (rig_.ended() == 0));
  }

  Input& input_;
  const WsRig::Setting setting_;
  WsRig rig_;
  Writer writer_;
  std::string stream_;
  std::vector<std::string> sent_;  // not seen on the wire yet
  std::set<uint32_t> asked_;
  uint32_t last_report_ = 0;
  int number_ = 0;
  bool has_closed_ = false;
  bool saw_close_ = false;
  bool is_over_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4 || size > 4096) return 0;
  Input input(data, size);
  const WsRig::Setting setting = setting_of(input);
  if (input.below(2) == 0) {
    Writer writer(input, setting);
    std::string stream;
    while (!input.empty() && stream.size() < 200'000) stream += writer.next();
    uint64_t seed = 0x9e3779b97f4a7c15u ^ size;
    for (size_t i = 0; i < size; i++) seed = (seed ^ data[i]) * 0x100000001b3u;
    compare_cuts(setting, stream, seed);
  } else {
    Story(input, setting).run();
  }
  return 0;
}
