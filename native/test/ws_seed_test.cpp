// The exchanges of test/cases/seed_ws.json with a server that echoes: as they are, and byte by
// byte.
#include <algorithm>
#include <cstdio>

#include "test/json.h"
#include "test/ws_rig.h"

namespace millrace::test {

namespace {

Json read_seeds() {
  std::string text;
  std::FILE* file = std::fopen(MILLRACE_ROOT "/test/cases/seed_ws.json", "rb");
  if (!EXPECT(file != nullptr)) return Json();
  char buffer[4096];
  size_t length = 0;
  while ((length = std::fread(buffer, 1, sizeof(buffer), file)) > 0) text.append(buffer, length);
  std::fclose(file);
  return JsonReader(text).read();
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::strtol(hex.substr(i, 2).c_str(), nullptr, 16));
  return bytes;
}

std::string repeated(const std::string& text, int64_t times) {
  std::string all;
  for (int64_t i = 0; i < times; i++) all += text;
  return all;
}

// "hex", then "then" so many "times", then "last".
std::string sent_bytes(const Json& segment) {
  return from_hex(segment["hex"].text) +
         repeated(from_hex(segment["then"].text), segment["times"].number()) +
         from_hex(segment["last"].text);
}

class Echo final {
 public:
  Echo() : rig_(setting()) {}
  void send(const Json& seed, bool bytewise) {
    for (const Json& segment : seed["send"].items) {
      const std::string bytes = sent_bytes(segment);
      for (size_t at = 0; at < bytes.size(); at += bytewise ? 1 : bytes.size()) {
        rig_.feed(Bytes(bytes).substr(at, bytewise ? 1 : bytes.size()));
        answer();
      }
      if (segment["half_close"].is_true()) rig_.sink.half_close();
      answer();
    }
  }
  [[nodiscard]] std::string frames() { return rig_.wire(); }
  [[nodiscard]] bool is_open() const { return rig_.is_open(); }
  [[nodiscard]] const std::string& events() const { return events_; }

 private:
  static WsRig::Setting setting() {
    WsRig::Setting setting;
    setting.socket.payload_bytes_max = 65536;
    return setting;
  }
  void answer() {
    for (const SeenEvent& event : std::exchange(rig_.sink.events, {})) {
      events_ += event_line(event) + "; ";
      if (event.kind == EventKind::Message)
        rig_.send(event.body, (event.flags & kEventText) != 0 ? 1 : 2);
    }
  }

  WsRig rig_;
  std::string events_;
};

std::string frame_line(const Json& wanted) {
  const std::string payload =
      repeated(from_hex(wanted["hex"].text), std::max<int64_t>(wanted["times"].number(), 1));
  const int64_t opcode = wanted["op"].number();
  const std::string kind = opcode == 1 ? "text " : opcode == 2 ? "binary " : "pong ";
  return kind + shown(payload);
}

void check(const Json& seed, Echo& echo) {
  std::vector<std::string> lines;
  for (const Json& wanted : seed["frames"].items) lines.push_back(frame_line(wanted));
  const std::string frames = echo.frames();
  EXPECT(frames.starts_with(joined(lines)));
  EXPECT(echo.is_open() != seed["closed"].is_true());
  bool has_code = seed["close_codes"].items.empty();
  for (const Json& code : seed["close_codes"].items) {
    has_code = has_code ||
               frames.find("close " + std::to_string(code.number()) + " ") != std::string::npos;
  }
  EXPECT(has_code);
  for (const Json& event : seed["events"].items)
    EXPECT(echo.events().find(event.text) != std::string::npos);
}

TEST("every seed exchange of frames comes to what it requires, as it is and byte by byte") {
  const Json seeds = read_seeds();
  size_t seen = 0;
  for (const Json& seed : seeds["cases"].items) {
    if (!seed["send"].is_there()) continue;
    seen++;
    for (const bool bytewise : {false, true}) {
      context = seed["id"].text + (bytewise ? " byte by byte" : "");
      Echo echo;
      echo.send(seed, bytewise);
      check(seed, echo);
    }
  }
  EXPECT(seen == 33);
}

TEST("every seed handshake is refused as it has to be") {
  const Json seeds = read_seeds();
  size_t refused = 0;
  for (const Json& seed : seeds["cases"].items) {
    if (!seed["request"].is_there()) continue;
    context = seed["id"].text;
    const Limits limits;
    FakeSink sink(limits, socket_router());
    sink.feed(seed["request"].text);
    EXPECT(sink.events.empty());
    bool fits = false;
    for (const Json& status : seed["statuses"].items)
      fits = fits || sink.written.starts_with("HTTP/1.1 " + std::to_string(status.number()) + " ");
    EXPECT(fits);
    refused++;
  }
  EXPECT(refused == 6);
}

TEST("the seed's order of events: open, messages, ping, close, with answers in between") {
  WsRig rig;
  rig.send("one");
  rig.send("two");
  EXPECT(rig.wire() == "text one; text two");
  rig.feed(text_frame("three") + binary_frame("four") + ping_frame(""));
  EXPECT(rig.events() == "ascii three; binary four; ping ");
  for (int i = 0; i < 3; i++) rig.send(std::string(65536, 'b'), 2);
  const std::string large = "; binary " + shown(std::string(65536, 'b'));
  EXPECT(rig.wire() == "pong " + large + large + large);
  rig.feed(close_frame(1000));
  EXPECT(rig.events() == "ending 1000 ; ended 1000 clean");
}

}  // namespace

}  // namespace millrace::test
