// How an HTTP connection becomes a WebSocket, or stays one of HTTP.
#include "test/ws_rig.h"

namespace millrace::test {

namespace {

constexpr const char* kAccept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

std::string handshake(const std::string& without = "", const std::string& more = "") {
  std::string text = "GET /ws HTTP/1.1\r\nHost: a\r\n";
  for (const std::string line :
       {"Connection: Upgrade\r\n", "Upgrade: websocket\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "Sec-WebSocket-Version: 13\r\n"}) {
    if (without.empty() || !line.starts_with(without)) text += line;
  }
  return text + more + "\r\n";
}

class Upgrading final {
 public:
  explicit Upgrading(bool is_socket_route = true) : sink(limits_, socket_router(is_socket_route)) {}
  // The handshake that has come, accepted.
  void accept(Bytes lines = {}) { sink.answer(request(), upgrade(lines)); }
  static CommandText upgrade(Bytes lines = {}) {
    return {.kind = CommandKind::Upgrade, .status = 101, .header_lines = lines};
  }
  ExchangeId request() {
    EXPECT(sink.events.size() == 1 && sink.events[0].kind == EventKind::Request);
    return std::exchange(sink.events, {}).at(0).exchange;
  }
  std::string events() {
    std::vector<std::string> lines;
    for (const SeenEvent& event : std::exchange(sink.events, {}))
      lines.push_back(event_line(event));
    return joined(lines);
  }
  std::string written() { return std::exchange(sink.written, {}); }

 private:
  Limits limits_;

 public:
  FakeSink sink;
};

TEST("an accepted handshake is answered with 101, and the socket opens") {
  Upgrading one;
  one.sink.feed(handshake());
  EXPECT((one.sink.events.at(0).flags & kEventUpgrade) != 0);
  one.accept("X-A: 1\r\n");
  const std::string head = one.written();
  EXPECT(head.starts_with("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"));
  EXPECT(head.find(kAccept) != std::string::npos);
  EXPECT(head.ends_with("X-A: 1\r\n\r\n"));
  EXPECT(head.find("Extensions") == std::string::npos);
  EXPECT(one.events() == "opened");
  EXPECT(one.sink.sockets == 1);
  one.sink.feed(text_frame("abc"));
  EXPECT(one.events() == "ascii abc");
}

TEST("a handshake that arrives byte by byte is the same one") {
  Upgrading one;
  const std::string bytes = handshake();
  for (size_t i = 0; i < bytes.size(); i++) one.sink.feed(Bytes(bytes).substr(i, 1));
  one.accept();
  EXPECT(one.events() == "opened");
}

TEST("frames that arrive with the handshake, or before its answer, are not lost") {
  const std::string frames = text_frame("a") + ping_frame("b");
  for (size_t cut = 0; cut <= frames.size(); cut++) {
    context = std::to_string(cut);
    Upgrading one;
    one.sink.feed(handshake() + frames.substr(0, cut));
    one.sink.feed(frames.substr(cut));
    one.accept();
    EXPECT(one.events() == "opened; ascii a; ping b");
    EXPECT(
        one.written().ends_with("\r\n\r\n\x8a\x01"
                                "b"));
  }
}

TEST("a client that sends much before the answer is paused, and all of it arrives") {
  Upgrading one;
  one.sink.feed(handshake());
  std::string expected = "opened";
  for (int i = 0; i < 100; i++) {
    one.sink.feed(text_frame(std::string(1000, 'a')));
    expected += "; ascii " + shown(std::string(1000, 'a'));
    EXPECT(one.sink.is_paused() == (one.sink.unread() > 64 * 1024));
  }
  one.accept();
  EXPECT(one.events() == expected);
}

TEST("what is sent and closed right after the answer comes behind the 101") {
  Upgrading one;
  one.sink.feed(handshake());
  const ExchangeId id = one.request();
  one.sink.answer(id, Upgrading::upgrade());
  one.sink.answer(id, {.kind = CommandKind::Send, .status = 1, .body = "hi"});
  EXPECT(one.written().ends_with("\r\n\r\n\x81\x02hi"));
}

TEST("handshakes with a fault are refused on a socket's route, with the version where it helps") {
  struct Bad {
    std::string request;
    const char* status;
  };
  const std::string body = "Content-Length: 3\r\n";
  for (const Bad& bad : {
           Bad{handshake("Sec-WebSocket-Key"), "400"},
           Bad{handshake("Sec-WebSocket-Key", "Sec-WebSocket-Key: short\r\n"), "400"},
           Bad{handshake("", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), "400"},
           Bad{handshake("Sec-WebSocket-Version"), "400"},
           Bad{handshake("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8\r\n"), "426"},
           Bad{handshake("Connection"), "426"},
           Bad{handshake("Upgrade"), "426"},
           Bad{handshake("Upgrade", "Upgrade: h2c\r\n"), "426"},
           Bad{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "426"},
           Bad{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", "426"},
           Bad{handshake("", body) + "abc", "400"},
           Bad{handshake("", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", "400"},
           Bad{handshake("", "Sec-WebSocket-Protocol: a, a\r\n"), "400"},
           Bad{handshake("", "Sec-WebSocket-Extensions: ,;\r\n"), "400"},
       }) {
    context = bad.request;
    Upgrading one;
    one.sink.feed(bad.request);
    EXPECT(one.events().empty());
    const std::string text = one.written();
    EXPECT(text.starts_with(std::string("HTTP/1.1 ") + bad.status));
    const bool says = text.find("Sec-WebSocket-Version: 13\r\n") != std::string::npos &&
                      text.find("Upgrade: websocket\r\n") != std::string::npos;
    EXPECT(says == (std::string(bad.status) == "426"));
    EXPECT(!one.sink.is_open());
  }
}

TEST("elsewhere a wish to upgrade that cannot be met is ignored") {
  for (const std::string& request :
       {handshake("Sec-WebSocket-Key"), handshake("Upgrade", "Upgrade: h2c\r\n")}) {
    Upgrading one(false);
    one.sink.feed(request);
    EXPECT((one.sink.events.at(0).flags & kEventUpgrade) == 0);
    one.sink.answer(one.request(), {.body = "ok"});
    EXPECT(one.written().ends_with("ok"));
    EXPECT(one.sink.is_open());
  }
}

TEST("accepting what was no handshake cuts the connection") {
  Upgrading one(false);
  one.sink.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  one.accept();
  EXPECT(one.sink.was_aborted());
}

TEST("a handshake behind other requests waits for their answers") {
  Upgrading one(false);
  one.sink.feed("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n" +
                handshake() + text_frame("a"));
  EXPECT(one.sink.events.size() == 2);
  const ExchangeId first = one.sink.events.at(0).exchange;
  const ExchangeId second = one.sink.events.at(1).exchange;
  one.sink.events.clear();
  one.sink.answer(second, {.body = "2"});
  EXPECT(one.sink.events.empty());
  one.sink.answer(first, {.body = "1"});
  one.accept();
  EXPECT(one.events() == "opened; ascii a");
  EXPECT(one.sink.is_open());
}

TEST("answered as any request, the connection goes on with what follows") {
  for (const bool follows : {false, true}) {
    Upgrading one(false);
    const std::string next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    one.sink.feed(handshake() + (follows ? next : ""));
    one.sink.answer(one.request(), {.status = 401, .body = "no"});
    EXPECT(one.written().starts_with("HTTP/1.1 401 "));
    if (!follows) one.sink.feed(next);
    EXPECT(one.sink.events.at(0).target == "/next");
    one.sink.answer(one.request(), {.body = "ok"});
    EXPECT(one.written().ends_with("ok"));
    one.sink.feed(handshake());
    one.accept();
    EXPECT(one.events() == "opened");
  }
}

TEST("an answer in pieces to a handshake is one of HTTP too") {
  Upgrading one;
  one.sink.feed(handshake());
  const ExchangeId id = one.request();
  one.sink.answer(id, {.kind = CommandKind::Begin});
  one.sink.answer(id, {.kind = CommandKind::Write, .body = "part"});
  one.sink.answer(id, {.kind = CommandKind::End});
  EXPECT(one.written().find("part") != std::string::npos);
  one.events();
  one.sink.feed(handshake());
  one.accept();
  EXPECT(one.events() == "opened");
}

TEST("a peer that half-closes before the answer is told of, and its frames still come") {
  Upgrading one;
  one.sink.feed(handshake() + text_frame("a"));
  const ExchangeId id = one.request();
  one.sink.half_close();
  EXPECT(one.sink.events.size() == 1 && one.sink.events[0].kind == EventKind::PeerClosed);
  one.sink.events.clear();
  one.sink.answer(id, Upgrading::upgrade());
  EXPECT(one.events() == "opened; ascii a; ended 1006 broken WsLost");
}

TEST("a peer that leaves before the answer aborts the exchange") {
  Upgrading one;
  one.sink.feed(handshake());
  const ExchangeId id = one.request();
  one.sink.lose();
  EXPECT(one.sink.events.size() == 1 && one.sink.events[0].kind == EventKind::Aborted);
  one.sink.answer(id, Upgrading::upgrade());
  EXPECT(one.sink.late_commands == 1);
}

TEST("a server that drains refuses what is still accepted, and who asks later") {
  Upgrading one;
  one.sink.feed(handshake());
  const ExchangeId id = one.request();
  one.sink.stop();
  one.sink.answer(id, Upgrading::upgrade());
  EXPECT(one.sink.sockets == 0 && one.sink.open_exchanges() == 0);
  EXPECT(one.written().starts_with("HTTP/1.1 503 "));
  Upgrading late;
  late.sink.start_draining();
  late.sink.feed(handshake());
  EXPECT(late.written().starts_with("HTTP/1.1 503 "));
}

TEST("compression is agreed on where offered and wanted") {
  for (const bool wanted : {false, true}) {
    Upgrading one;
    one.sink.socket.deflate.enabled = wanted;
    one.sink.feed(handshake("", "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    one.accept();
    EXPECT((one.written().find("permessage-deflate") != std::string::npos) == wanted);
    one.sink.feed(frame({.rsv1 = true}, std::string("\xf2\x48\xcd\xc9\xc9\x07\x00", 7)));
    EXPECT(one.events() ==
           (wanted ? "opened; ascii Hello" : "opened; ended 1002 broken WsProtocol"));
  }
}

}  // namespace

}  // namespace millrace::test
