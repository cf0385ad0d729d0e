// The requests of test/cases/seed_scgi.json with a server that echoes: as they are, byte by byte,
// and cut at every place.
#include <cstdio>

#include "test/json.h"
#include "test/scgi_rig.h"

namespace millrace::test {

namespace {

Json read_seeds() {
  std::string text;
  std::FILE* file = std::fopen(MILLRACE_ROOT "/test/cases/seed_scgi.json", "rb");
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

class Echo final {
 public:
  void feed(Bytes bytes) {
    rig_.sink.feed(bytes);
    for (const SeenEvent& event : std::exchange(rig_.sink.events, {})) {
      if (event.kind != EventKind::Request) continue;
      calls_++;
      rig_.sink.answer(event.exchange,
                       {.header_lines = "Content-Type: text/plain\r\n", .body = event.body});
    }
  }
  void end(const Json& seed) {
    if (seed["half_close"].is_true()) rig_.sink.half_close();
    if (seed["stalls"].is_true()) rig_.sink.advance(rig_.limits.headers_timeout);
  }
  void check(const Json& seed) const {
    EXPECT(calls_ == seed["handler_calls"].number());
    EXPECT(rig_.sink.is_open() != seed["closed"].is_true());
    const std::string& written = rig_.sink.written;
    EXPECT(written.starts_with(seed["reply_prefix"].text));
    const Json& refused = seed["refused"];
    if (refused.is_there()) EXPECT(written.starts_with("Status: " + refused.text + " "));
    if (calls_ > 0) EXPECT(written.ends_with("\r\n\r\n" + seed["body"].text));
  }

 private:
  ScgiRig rig_;
  int64_t calls_ = 0;
};

TEST("every seed request comes to what it requires, as it is, byte by byte and at every cut") {
  const Json seeds = read_seeds();
  for (const Json& seed : seeds["cases"].items) {
    const std::string bytes = from_hex(seed["hex"].text);
    for (size_t cut = 0; cut <= bytes.size(); cut++) {
      context = seed["id"].text + " cut at " + std::to_string(cut);
      Echo echo;
      echo.feed(Bytes(bytes).substr(0, cut));
      echo.feed(Bytes(bytes).substr(cut));
      echo.end(seed);
      echo.check(seed);
    }
    context = seed["id"].text + " byte by byte";
    Echo echo;
    for (const char& byte : bytes) echo.feed(Bytes(&byte, 1));
    echo.end(seed);
    echo.check(seed);
  }
  EXPECT(seeds["cases"].items.size() == 15);
}

}  // namespace

}  // namespace millrace::test
