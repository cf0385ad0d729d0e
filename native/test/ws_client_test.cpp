// The client's opening handshake: what it sends, what it takes for an answer, and how an attempt
// ends.
#include "core/proto/ws/client.h"

#include "core/proto/ws/handshake.h"
#include "test/ws_rig.h"

namespace millrace::test {

namespace {

constexpr const char* kKey = "dGhlIHNhbXBsZSBub25jZQ==";
constexpr const char* kRequest = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr Milliseconds kStart = 1'000'000;  // of a FakeSink

std::string response(const std::string& without = "", const std::string& more = "",
                     const std::string& status = "101 Switching Protocols") {
  const auto accept = ws::accept_of(kKey);
  std::string text = "HTTP/1.1 " + status + "\r\n";
  for (const std::string& line :
       {std::string("Upgrade: websocket\r\n"), std::string("Connection: Upgrade\r\n"),
        "Sec-WebSocket-Accept: " + std::string(accept.data(), accept.size()) + "\r\n"}) {
    if (without.empty() || !line.starts_with(without)) text += line;
  }
  return text + more + "\r\n";
}

class Dialling final {
 public:
  explicit Dialling(const SocketSettings& socket = {})
      : settings_(socket), sink(limits_, socket_router()) {
    id = sink.open_exchange();
    sink.go_on_with(ws::make_client({.id = id,
                                     .ticket = 77,
                                     .settings = settings_,
                                     .key = kKey,
                                     .request = kRequest,
                                     .deadline = kStart + 5000}));
    EXPECT(std::exchange(sink.written, {}) == kRequest);
  }
  std::string events() {
    std::string all;
    for (const SeenEvent& event : std::exchange(sink.events, {})) {
      if (event.kind == EventKind::Opened || event.kind == EventKind::Refused)
        EXPECT(event.head_a == 77);
      all += (all.empty() ? "" : "; ") + event_line(event);
    }
    return all;
  }

 private:
  Limits limits_;
  const SocketSettings settings_;

 public:
  FakeSink sink;
  ExchangeId id;
};

std::string from_server(Bytes payload) { return frame({.masked = false}, payload); }

TEST("a good answer opens the socket, with its header fields, however it is cut") {
  const std::string bytes = response("", "X-Name: Value\r\n") + from_server("a");
  for (size_t cut = 0; cut <= bytes.size(); cut++) {
    context = std::to_string(cut);
    Dialling one;
    one.sink.feed(Bytes(bytes).substr(0, cut));
    one.sink.feed(Bytes(bytes).substr(cut));
    if (!EXPECT(one.sink.events.size() == 2)) continue;
    std::string value;
    EXPECT(one.sink.events[0].header("x-name", value) && value == "Value");
    EXPECT(one.events() == "opened; ascii a");
    EXPECT(one.sink.sockets == 1);
    EXPECT(one.sink.open_exchanges() == 1);
  }
}

TEST("an answer byte by byte opens the socket") {
  Dialling one;
  const std::string bytes = response();
  for (size_t i = 0; i < bytes.size(); i++) one.sink.feed(Bytes(bytes).substr(i, 1));
  EXPECT(one.events() == "opened");
}

TEST("answers that are none refuse the attempt once, with the status") {
  struct Bad {
    std::string answer;
    const char* status;
  };
  for (const Bad& bad : {
           Bad{response("", "", "200 OK"), "200"},
           Bad{response("", "", "401 Unauthorized"), "401"},
           Bad{response("", "", "302 Found"), "302"},
           Bad{response("Upgrade"), "101"},
           Bad{response("Upgrade", "Upgrade: h2c\r\n"), "101"},
           Bad{response("Connection"), "101"},
           Bad{response("Sec-WebSocket-Accept"), "101"},
           Bad{response("Sec-WebSocket-Accept",
                        "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"),
               "101"},
           Bad{response("", "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"), "101"},
           Bad{response("", "Sec-WebSocket-Protocol: a, b\r\n"), "101"},
           Bad{response("", "Sec-WebSocket-Extensions: permessage-deflate\r\n"), "101"},
           Bad{response("", "Sec-WebSocket-Extensions: other\r\n"), "101"},
           Bad{"HTTP/2 101\r\n\r\n", "0"},
           Bad{"\x81\x01z", "0"},
       }) {
    context = bad.answer;
    Dialling one;
    one.sink.feed(bad.answer + from_server("late"));
    EXPECT(one.events() == std::string("refused WsRejected ") + bad.status);
    EXPECT(one.sink.was_aborted());
    EXPECT(one.sink.open_exchanges() == 0);
  }
}

TEST("a refusal has the header fields of the answer, however it is cut") {
  const std::string bytes =
      "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nno";
  for (size_t cut = 0; cut <= bytes.size(); cut++) {
    context = std::to_string(cut);
    Dialling one;
    one.sink.feed(Bytes(bytes).substr(0, cut));
    one.sink.feed(Bytes(bytes).substr(cut));
    if (!EXPECT(one.sink.events.size() == 1)) continue;
    std::string value;
    EXPECT(one.sink.events[0].header("www-authenticate", value) && value == "Basic");
    EXPECT(one.sink.events[0].header("x-empty", value) && value.empty());
    EXPECT(one.events() == "refused WsRejected 401");
  }
  Dialling no_http;
  no_http.sink.feed("HTTP/2 101\r\nA: b\r\n\r\n");
  EXPECT(no_http.sink.events.size() == 1 && no_http.sink.events[0].headers.empty());
}

TEST("a head without end is refused at its limit") {
  Dialling one;
  one.sink.feed("HTTP/1.1 101 Yes\r\n");
  for (int i = 0; i < 300 && one.sink.is_open(); i++)
    one.sink.feed("X-Filler: " + std::string(100, 'a') + "\r\n");
  EXPECT(one.events() == "refused WsRejected 0");
}

TEST("the deadline, a lost connection, a half-closed one and a drain end an attempt") {
  Dialling late;
  late.sink.feed("HTTP/1.1 101");
  late.sink.advance(4999);
  EXPECT(late.events().empty());
  late.sink.advance(1);
  EXPECT(late.events() == "refused WsTimeout 0");
  Dialling lost;
  lost.sink.lose();
  EXPECT(lost.events() == "refused WsConnect 0");
  Dialling closed;
  closed.sink.feed("HTTP/1.1 101");
  closed.sink.half_close();
  EXPECT(closed.events() == "refused WsRejected 0");
  Dialling drained;
  drained.sink.stop();
  EXPECT(drained.events() == "refused Closed 0");
}

TEST("the attempt's deadline is over when the socket is open") {
  Dialling one;
  one.sink.feed(response());
  one.sink.advance(50'000);
  EXPECT(one.events() == "opened");
}

TEST("without room in the lane the answer waits, also for a server that has closed since") {
  for (const bool is_whole : {true, false}) {
    Dialling one;
    one.sink.lane_is_full = true;
    const std::string bytes = response() + from_server("a");
    one.sink.feed(is_whole ? bytes : "HTTP/1.1 101");
    one.sink.half_close();
    EXPECT(one.sink.events.empty());
    one.sink.lane_is_full = false;
    one.sink.settle_now();
    EXPECT(one.events() ==
           (is_whole ? "opened; ascii a; ended 1006 broken WsLost" : "refused WsRejected 0"));
  }
}

TEST("a server that answers, sends and leaves at once is heard to its end") {
  Dialling one;
  one.sink.feed_and_half_close(response() + from_server("a") +
                               frame({.opcode = 8, .masked = false}, close_payload(1000)));
  EXPECT(one.events() == "opened; ascii a; ending 1000 ; ended 1000 clean");
  EXPECT(!one.sink.is_open());
}

TEST("what the server may compress is what the client has offered") {
  SocketSettings settings;
  settings.deflate.enabled = true;
  Dialling one(settings);
  one.sink.feed(
      response("",
               "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
               "client_no_context_takeover\r\n") +
      frame({.rsv1 = true, .masked = false}, std::string("\xf2\x48\xcd\xc9\xc9\x07\x00", 7)));
  EXPECT(one.events() == "opened; ascii Hello");
}

}  // namespace

}  // namespace millrace::test
