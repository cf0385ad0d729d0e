// The session in front of another: what it hands on at every cut, whom it refuses, how long it
// waits; with HTTP behind it, and each protocol that is there.
#include "core/proto/proxy/session.h"

#include <string>
#include <vector>

#include "core/proto/protocols.h"
#include "test/fake_sink.h"
#include "test/harness.h"
#include "test/proxy_rig.h"

namespace millrace::test {
namespace {

const std::string kLine = "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n";
const std::string kGet = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const std::string kPost = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";

const Router& router() {
  static const Router& made = []() -> const Router& {
    static Router routes;
    Route everything;
    everything.kind = RouteKind::Handler;
    routes.set_fallback(everything);
    routes.seal();
    return routes;
  }();
  return made;
}

// One connection that is answered at once.
class Peer final {
 public:
  explicit Peer(ProxyMode mode, const Limits& limits = {}, Bytes protocol = "http")
      : limits_(limits), sink(limits_, router(), find_protocol(protocol, mode)()) {}

  void feed(Bytes bytes) {
    sink.feed(bytes);
    look();
  }
  void feed_at(const std::string& bytes, size_t cut) {
    feed(Bytes(bytes).substr(0, cut));
    feed(Bytes(bytes).substr(cut));
  }
  void look() {
    while (!sink.events.empty()) {
      for (const SeenEvent& event : std::exchange(sink.events, {})) {
        if (event.kind != EventKind::Request) continue;
        targets += event.target + " " + event.body + ";";
        sink.answer(event.exchange, {.body = "ok"});
      }
    }
  }
  // Closed without a byte, for that reason.
  void expect_closed(CloseCause cause, const std::vector<ErrorCode>& refusals) {
    EXPECT(!sink.is_open());
    EXPECT(sink.cause() == cause);
    EXPECT(sink.refusals == refusals);
    EXPECT(sink.written.empty() && targets.empty() && sink.proxy_headers.empty());
  }
  void expect_refused() {
    expect_closed(CloseCause::ProtocolViolated, {ErrorCode::BadProxyHeader});
    EXPECT(sink.was_aborted());
  }

 private:
  Limits limits_;

 public:
  FakeSink sink;
  std::string targets;
};

std::vector<std::string> whole_headers() {
  const std::string crc = tlv(0x03, std::string(4, '\0'));
  return {kLine,
          "PROXY TCP6 2001:db8::1 ::2 1000 443\r\n",
          "PROXY UNKNOWN\r\n",
          tcp4(),
          tcp4(tlv(0x01, "h2") + tlv(0x02, "a.example")),
          with_crc(tcp6(crc), 55),
          unix_paths(),
          version2(0x20, 0, ""),
          version2(0x21, 0, tlv(0x04, ""))};
}

TEST("a header and requests are taken whole, at every cut and byte by byte") {
  for (ProxyMode mode : {ProxyMode::Accept, ProxyMode::Require}) {
    for (const std::string& header : whole_headers()) {
      const std::string bytes = header + kGet + kPost + kGet;
      for (size_t cut = 0; cut <= bytes.size() + 1; cut++) {
        context = header + " cut at " + std::to_string(cut);
        Peer peer(mode);
        if (cut <= bytes.size()) {
          peer.feed_at(bytes, cut);
        } else {
          for (char c : bytes) peer.feed(Bytes(&c, 1));
        }
        EXPECT(peer.targets == "/a ;/b abc;/a ;");
        EXPECT(peer.sink.proxy_headers.size() == 1);
        EXPECT(peer.sink.is_open() && peer.sink.refusals.empty() && peer.sink.unread() == 0);
      }
    }
  }
}

TEST("what the header says is handed on before the request") {
  Peer peer(ProxyMode::Require);
  peer.feed(tcp4(tlv(0x01, "h2")));
  EXPECT(peer.sink.proxy_headers.size() == 1);
  const ProxyHeader& header = peer.sink.proxy_headers[0];
  EXPECT(header.version == 2 && !header.is_local && header.tlvs == tlv(0x01, "h2"));
  EXPECT(header.source.view() == "192.0.2.1" && header.source.port == 1000);
  EXPECT(header.destination.view() == "198.51.100.2" && header.destination.port == 443);
  EXPECT(peer.sink.peer().view() == "192.0.2.1");
}

TEST("one that says nothing leaves the peer what it is") {
  for (const std::string& bytes : {std::string("PROXY UNKNOWN\r\n"), version2(0x20, 0x11, "")}) {
    Peer peer(ProxyMode::Require);
    peer.feed(bytes + kGet);
    EXPECT(peer.sink.proxy_headers.size() == 1 && peer.sink.proxy_headers[0].is_local);
    EXPECT(peer.sink.peer().view().empty());
    EXPECT(peer.targets == "/a ;");
  }
}

TEST("without a header, accepted ones are other's bytes and required ones a violation") {
  for (const std::string& bytes : {kGet, "\r\n" + kGet, "P" + kPost.substr(1), kPost + kGet}) {
    for (size_t cut = 0; cut <= bytes.size(); cut++) {
      context = bytes + " cut at " + std::to_string(cut);
      Peer accepting(ProxyMode::Accept);
      accepting.feed_at(bytes, cut);
      EXPECT(accepting.targets ==
             (bytes[0] == 'P' ? bytes.size() > kPost.size() ? "/b abc;/a ;" : "/b abc;" : "/a ;"));
      EXPECT(accepting.sink.proxy_headers.empty() && accepting.sink.is_open());
      Peer requiring(ProxyMode::Require);
      requiring.feed_at(bytes, cut);
      requiring.expect_refused();
    }
  }
}

// Why: methods may have any name, and these begin like a header.
TEST("a method that begins like a header is a method where headers are accepted") {
  const char* const methods[] = {"PROXY", "P", "PR", "PROXYS", "PROPFIND"};
  for (const std::string method : methods) {
    const std::string bytes = method + " /p HTTP/1.1\r\nHost: a\r\n\r\n";
    for (size_t cut = 0; cut <= bytes.size(); cut++) {
      Peer peer(ProxyMode::Accept);
      peer.feed_at(bytes, cut);
      context = bytes;
      EXPECT(peer.targets == "/p ;" && peer.sink.is_open());
    }
  }
  Peer peer(ProxyMode::Accept);
  Peer plain(ProxyMode::Off);
  for (Peer* each : {&peer, &plain}) each->feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  EXPECT(peer.sink.written.starts_with("HTTP/1.1 ") && peer.sink.written == plain.sink.written);
}

TEST("a broken header is refused in both modes, without an answer") {
  const std::string all[] = {"PROXY TCP4 192.0.2.1 198.51.100.2 1 70000\r\n" + kGet,
                             "PROXY UNKNOWN\n" + kGet,
                             "PROXY TCP4 " + std::string(107, ' '),
                             version2(0x21, 0x12, std::string(12, 'x')),
                             version2(0x22, 0x11, std::string(12, 'x')),
                             tcp4("x") + kGet,
                             tcp4(tlv(0x03, "nope")) + kGet};
  for (const std::string& bytes : all) {
    for (size_t cut = 0; cut <= bytes.size(); cut++) {
      context = bytes;
      Peer requiring(ProxyMode::Require);
      requiring.feed_at(bytes, cut);
      requiring.expect_refused();
      if (bytes.starts_with("PROXY UNKNOWN\n")) continue;  // no signature: another protocol's
      Peer accepting(ProxyMode::Accept);
      accepting.feed_at(bytes, cut);
      accepting.expect_refused();
    }
  }
}

TEST("a header may be as long as limits.maxProxyHeader and no longer") {
  Limits limits;
  limits.proxy_bytes_max = 300;
  for (size_t size : {size_t{299}, size_t{300}, size_t{301}}) {
    Peer peer(ProxyMode::Require, limits);
    const std::string header = tcp4(tlv(0x04, std::string(size - 31, 'x')));
    EXPECT(header.size() == size);
    // Its length tells.
    peer.feed(header.substr(0, 16));
    if (size > 300) {
      peer.expect_refused();
      continue;
    }
    peer.feed(header.substr(16) + kGet);
    EXPECT(peer.targets == "/a ;");
  }
}

TEST("the whole header has timeouts.headers, then the request has it anew") {
  for (ProxyMode mode : {ProxyMode::Accept, ProxyMode::Require}) {
    for (const std::string& begun : {std::string(), kLine.substr(0, 20), tcp4().substr(0, 20)}) {
      Limits limits;
      limits.headers_timeout = 1000;
      Peer peer(mode, limits);
      for (char c : begun) {
        peer.feed(Bytes(&c, 1));
        peer.sink.advance(20);
      }
      peer.sink.advance(999 - 20 * static_cast<Milliseconds>(begun.size()));
      EXPECT(peer.sink.is_open());
      peer.sink.advance(1);
      peer.expect_closed(CloseCause::TimedOut, {ErrorCode::HeadersTimeout});
    }
    Limits limits;
    limits.headers_timeout = 1000;
    Peer peer(mode, limits);
    peer.sink.advance(999);
    peer.feed(kLine);
    peer.sink.advance(999);
    EXPECT(peer.sink.is_open());
    peer.sink.advance(1);
    EXPECT(!peer.sink.is_open());
    EXPECT(peer.sink.refusals == std::vector{ErrorCode::HeadersTimeout});
  }
}

TEST("a timeout of 0 waits for ever") {
  Limits limits;
  limits.headers_timeout = 0;
  Peer peer(ProxyMode::Require, limits);
  peer.feed(kLine.substr(0, 3));
  EXPECT(peer.sink.armed() == kNever);
  peer.feed(kLine.substr(3) + kGet);
  EXPECT(peer.targets == "/a ;");
}

TEST("the peer's end and the server's end the wait without a word") {
  for (ProxyMode mode : {ProxyMode::Accept, ProxyMode::Require}) {
    for (const std::string& begun : {std::string(), std::string("P"), tcp4().substr(0, 27)}) {
      Peer left(mode);
      left.feed(begun);
      left.sink.half_close();
      left.expect_closed(CloseCause::ClosedByClient, {});
      Peer stopped(mode);
      stopped.feed(begun);
      stopped.sink.stop();
      stopped.expect_closed(CloseCause::Drained, {});
      Peer lost(mode);
      lost.feed(begun);
      lost.sink.lose();
      EXPECT(lost.sink.refusals.empty() && lost.sink.open_exchanges() == 0);
    }
  }
}

// Why: the session that follows has its first offer before it hears of the end.
TEST("a request is answered when the peer half-closes in the same breath as its header") {
  for (const std::string& bytes : {kLine + kGet, tcp4() + kPost, kGet}) {
    Peer peer(ProxyMode::Accept);
    peer.sink.feed_and_half_close(bytes);
    peer.look();
    context = bytes;
    EXPECT(peer.targets == (bytes.ends_with("abc") ? "/b abc;" : "/a ;"));
    EXPECT(peer.sink.written.find("HTTP/1.1 200") == 0);
    EXPECT(!peer.sink.is_open() && peer.sink.refusals.empty());
  }
}

TEST("a header that comes while the server drains leads to a last answer") {
  Peer peer(ProxyMode::Require);
  peer.sink.start_draining();
  peer.feed(kLine + kGet);
  EXPECT(peer.targets == "/a ;");
  EXPECT(peer.sink.written.find("Connection: close") != std::string::npos);
  EXPECT(!peer.sink.is_open());
}

TEST("a request behind a header waits for room like any other") {
  Peer peer(ProxyMode::Require);
  peer.sink.lane_is_full = true;
  peer.feed(tcp4() + kGet);
  EXPECT(peer.targets.empty() && peer.sink.is_open());
  peer.sink.lane_is_full = false;
  peer.sink.settle_now();
  peer.look();
  EXPECT(peer.targets == "/a ;");
}

TEST("a broken request behind a header is answered") {
  Peer peer(ProxyMode::Require);
  peer.feed(kLine + "GET /\r\n\r\n");
  EXPECT(peer.sink.written.starts_with("HTTP/1.1 400"));
  EXPECT(peer.sink.refusals == std::vector{ErrorCode::BadRequestLine});
  EXPECT(!peer.sink.is_open() && !peer.sink.was_aborted());
  // A second header is no header.
  Peer twice(ProxyMode::Require);
  twice.feed(kLine + kLine + kGet);
  EXPECT(twice.sink.written.starts_with("HTTP/1.1 400"));
  EXPECT(twice.sink.proxy_headers.size() == 1);
}

TEST("every protocol has a session for each mode") {
  for (ProxyMode mode : {ProxyMode::Off, ProxyMode::Accept, ProxyMode::Require})
    EXPECT(find_protocol("http", mode) != nullptr && find_protocol("gopher", mode) == nullptr);
  // Off: the header is the protocol's own trouble.
  Peer peer(ProxyMode::Off);
  peer.feed(kLine);
  EXPECT(peer.sink.written.starts_with("HTTP/1.1 400"));
}

TEST("SCGI behind a header is read at every cut") {
  if (find_protocol("scgi") == nullptr) return;
  const std::string fields =
      std::string("CONTENT_LENGTH\0003\0SCGI\0001\0REQUEST_METHOD\0POST\0", 44) +
      std::string("REQUEST_URI\0/s\0", 15);
  const std::string request = std::to_string(fields.size()) + ":" + fields + ",xyz";
  for (ProxyMode mode : {ProxyMode::Accept, ProxyMode::Require}) {
    for (const std::string& header : {kLine, tcp6()}) {
      const std::string bytes = header + request;
      for (size_t cut = 0; cut <= bytes.size(); cut++) {
        context = "cut at " + std::to_string(cut);
        Peer peer(mode, {}, "scgi");
        peer.feed_at(bytes, cut);
        EXPECT(peer.targets == "/s xyz;");
        EXPECT(peer.sink.proxy_headers.size() == 1 && peer.sink.refusals.empty());
      }
    }
  }
  Peer plain(ProxyMode::Accept, {}, "scgi");
  plain.feed(request);
  EXPECT(plain.targets == "/s xyz;" && plain.sink.proxy_headers.empty());
}

}  // namespace
}  // namespace millrace::test
