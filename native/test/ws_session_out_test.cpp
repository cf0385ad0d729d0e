// What a WebSocket session sends: frames of every form, their order, how much may wait for a slow
// peer and what then happens, compression, and a client's masks.
#include "test/ws_rig.h"

namespace millrace::test {

namespace {

using ws::Role;

std::string repeated(char c, size_t count) { return std::string(count, c); }

WsRig::Setting with_backlog(uint32_t bytes, Overflow overflow = Overflow::Close) {
  WsRig::Setting setting;
  setting.socket.backlog_bytes_max = bytes;
  setting.socket.overflow = overflow;
  return setting;
}

TEST("frames of all forms are sent whole, by servers and clients") {
  for (const Role role : {Role::Server, Role::Client}) {
    for (size_t size : {0, 1, 125, 126, 999, 1000, 1023, 1024, 1025, 65535, 65536, 100000}) {
      context = std::to_string(size);
      WsRig rig({.role = role});
      const std::string payload = repeated('x', size);
      rig.send(payload);
      rig.send(payload, 2);
      rig.send_shared(shared_message(2, payload));
      const std::string shown_one = shown(payload);
      EXPECT(rig.wire() == "text " + shown_one + "; binary " + shown_one + "; binary " + shown_one);
      EXPECT(rig.sink.taken == 2 * size);
    }
  }
}

TEST("a client masks each frame anew, and its reader refuses masked ones") {
  WsRig rig({.role = Role::Client});
  rig.send("abc");
  const uint32_t first = rig.sink.mask;
  rig.send_shared(shared_message(1, "abc"));
  EXPECT(rig.sink.mask != first);
  EXPECT(rig.wire() == "text abc; text abc");
  rig.feed(frame({.masked = false}, "d"));
  EXPECT(rig.events() == "ascii d");
  rig.feed(text_frame("e"));
  EXPECT(rig.events() == "ended 1002 broken WsProtocol");
  EXPECT(rig.wire() == "close 1002 ");
}

TEST("pings and pongs of the application travel as such") {
  WsRig rig;
  rig.send("a", 9);
  rig.send("b", 10);
  EXPECT(rig.wire() == "ping a; pong b");
}

TEST("what is sent before the peer takes anything leaves in order, the close frame last") {
  WsRig rig;
  rig.sink.peer_is_stuck = true;
  std::vector<std::string> expected;
  for (int i = 0; i < 30; i++) {
    const std::string payload = std::to_string(i) + repeated('a', i % 3 == 0 ? 30'000 : 100);
    rig.send(payload, 2);
    expected.push_back("binary " + shown(payload));
    if (i % 5 != 0) continue;
    rig.send_shared(shared_message(1, payload));
    expected.push_back("text " + shown(payload));
  }
  rig.close(1000, "end");
  expected.push_back("close 1000 end");
  EXPECT(rig.sink.waiting > 300'000);
  EXPECT(rig.sink.buffered() < 100'000);
  rig.sink.unstick();
  EXPECT(rig.wire() == joined(expected));
  EXPECT(rig.sink.waiting == 0);
}

TEST("a pong overtakes the messages that wait") {
  WsRig rig(with_backlog(10'000'000));
  rig.sink.peer_is_stuck = true;
  for (int i = 0; i < 4; i++) rig.send(repeated('a', 50'000), 2);
  rig.feed(ping_frame("now"));
  rig.sink.unstick();
  const std::string one = "binary " + shown(repeated('a', 50'000));
  EXPECT(rig.wire() == one + "; " + one + "; pong now; " + one + "; " + one);
}

TEST("the answer to a close frame overtakes what waits, which is not sent any more") {
  WsRig rig(with_backlog(10'000'000));
  rig.sink.peer_is_stuck = true;
  for (int i = 0; i < 4; i++) rig.send(repeated('a', 50'000), 2);
  rig.feed(close_frame(1000, "bye"));
  const std::string one = "binary " + shown(repeated('a', 50'000));
  EXPECT(rig.wire() == one + "; " + one + "; close 1000 bye");
  EXPECT(rig.events() == "ending 1000 bye; ended 1000 clean");
  EXPECT(rig.sink.waiting == 0);
}

TEST("a peer that closes while our close frame waits behind a backlog gets one all the same") {
  WsRig rig(with_backlog(10'000'000));
  rig.sink.peer_is_stuck = true;
  for (int i = 0; i < 4; i++) rig.send(repeated('a', 50'000), 2);
  rig.close(3000);
  rig.feed(close_frame(1001));
  EXPECT(rig.wire().ends_with("; close 1001 "));
  EXPECT(rig.events() == "ending 1001 ; ended 1001 clean");
}

// --- reports ---

TEST("a report comes at once when nothing waits, else when what was asked about has left") {
  WsRig rig;
  rig.report(0, 1);
  EXPECT(rig.events() == "sent 1");
  rig.sink.peer_is_stuck = true;
  rig.send(repeated('a', 1000), 2);  // 1004 bytes
  rig.report(0, 2);
  rig.report(1003, 3);
  rig.report(1004, 4);
  EXPECT(rig.events() == "sent 4");
  rig.send(repeated('b', 1000), 2);
  rig.report(0, 5);
  rig.sink.settle_slowly(1);
  EXPECT(rig.events() == "sent 3");
  rig.sink.settle_slowly(1002);
  EXPECT(rig.events().empty());
  rig.sink.settle_slowly(1);
  EXPECT(rig.events() == "sent 2");
  rig.sink.settle_slowly(1003);
  EXPECT(rig.events().empty());
  rig.sink.settle_slowly(1);
  EXPECT(rig.events() == "sent 5");
  EXPECT(rig.sink.waiting == 0);
}

TEST("a report does not count what has overtaken the message it is about") {
  WsRig rig(with_backlog(10'000'000));
  rig.sink.peer_is_stuck = true;
  rig.send(repeated('a', 70'000), 2);  // 70010 bytes, with the connection
  rig.send(repeated('b', 9'990), 2);   // 9994 bytes, in the backlog
  rig.report(0, 1);
  rig.feed(ping_frame(repeated('p', 125)));  // 127 bytes, ahead of them
  rig.send("c", 2);
  rig.sink.settle_slowly(70'010 + 127);
  EXPECT(rig.events() == "ping " + repeated('p', 125));
  rig.sink.settle_slowly(9'993);
  EXPECT(rig.events().empty());
  rig.sink.settle_slowly(1);
  EXPECT(rig.events() == "sent 1");
}

TEST("a shared message may carry its report") {
  WsRig rig;
  rig.sink.peer_is_stuck = true;
  rig.send_shared(shared_message(1, "abc"), 0, 9);
  EXPECT(rig.events().empty());
  rig.sink.unstick();
  EXPECT(rig.events() == "sent 9");
  rig.sink.settle_now();
  EXPECT(rig.events().empty());
}

TEST("reports about what a closed socket had waiting do not come") {
  WsRig rig;
  rig.sink.peer_is_stuck = true;
  rig.send(repeated('a', 1000), 2);
  rig.report(0, 1);
  rig.feed(close_frame(1000));
  rig.sink.unstick();
  EXPECT(rig.events() == "ending 1000 ; ended 1000 clean");
}

// --- how much may wait ---

// Shared messages of 1000 bytes until something happens; how many were taken.
int flood(WsRig& rig, int most) {
  const SharedMessageRef message = shared_message(2, repeated('m', 996));
  for (int i = 0; i < most; i++) {
    const size_t dropped = rig.sink.dropped;
    rig.send_shared(message);
    if (!rig.is_open() || rig.sink.dropped > dropped) return i;
  }
  return most;
}

TEST("a published message finds more than the limit waiting: the socket is closed with 1013") {
  WsRig rig(with_backlog(100'000));
  rig.sink.peer_is_stuck = true;
  EXPECT(flood(rig, 500) == 101);
  EXPECT(rig.events() == "ended 1013 broken WsBacklog");
  EXPECT(rig.wire().ends_with("close 1013 "));
}

TEST("with Drop the message is left out and counted, and the socket lives") {
  WsRig rig(with_backlog(100'000, Overflow::Drop));
  rig.sink.peer_is_stuck = true;
  EXPECT(flood(rig, 500) == 101);
  EXPECT(rig.is_open() && rig.sink.dropped == 1);
  rig.sink.unstick();
  EXPECT(rig.sink.waiting == 0);
  rig.wire();
  rig.send_shared(shared_message(1, "on"));
  EXPECT(rig.wire() == "text on");
}

TEST("who asked about a message that was left out is told so") {
  WsRig rig(with_backlog(1000, Overflow::Drop));
  rig.sink.peer_is_stuck = true;
  rig.send_shared(shared_message(2, repeated('m', 2000)));
  rig.send_shared(shared_message(2, "x"), 0, 4);
  EXPECT(rig.sink.dropped == 1);
  EXPECT(rig.sink.events.size() == 1 && rig.sink.events[0].status == 1);
  EXPECT(rig.events() == "sent 4");
  rig.sink.unstick();
  EXPECT(rig.events().empty());
}

TEST("with Buffer it takes sixteen times as much, and no more") {
  WsRig rig(with_backlog(10'000, Overflow::Buffer));
  rig.sink.peer_is_stuck = true;
  const int taken = flood(rig, 500);
  EXPECT(taken >= 160 && taken <= 171);
  EXPECT(!rig.is_open());
  WsRig patient(with_backlog(10'000, Overflow::Buffer));
  patient.sink.peer_is_stuck = true;
  EXPECT(flood(patient, 150) == 150);
  patient.sink.unstick();
  EXPECT(patient.is_open() && patient.sink.waiting == 0);
}

TEST("what JavaScript sends itself is its own to bound") {
  WsRig rig(with_backlog(1000));
  rig.sink.peer_is_stuck = true;
  for (int i = 0; i < 50; i++) rig.send(repeated('a', 1000), 2);
  EXPECT(rig.is_open());
  EXPECT(rig.sink.waiting == 50 * 1004);
}

TEST("the meter shows more than the limit only when the peer has refused it") {
  for (const uint32_t limit : {1024u, 65'536u, 200'000u}) {
    context = std::to_string(limit);
    WsRig rig(with_backlog(limit));
    rig.sink.is_mid_turn = true;
    std::string expected;
    for (int i = 0; i < 200; i++) {
      const std::string payload = std::to_string(i) + repeated('a', 4000);
      if (i % 3 == 0) {
        rig.send_shared(shared_message(1, payload));
      } else {
        rig.send(payload);
      }
      expected += (i == 0 ? "text " : "; text ") + shown(payload);
    }
    EXPECT(rig.sink.waiting_most <= limit);
    EXPECT(rig.is_open() && rig.sink.dropped == 0);
    rig.sink.is_mid_turn = false;
    rig.sink.settle_now();
    EXPECT(rig.wire() == expected);
    EXPECT(rig.sink.waiting == 0);
  }
}

TEST("the meter follows what waits, with the connection too") {
  WsRig rig(with_backlog(10'000'000));
  rig.sink.peer_is_stuck = true;
  size_t expected = 0;
  for (int i = 0; i < 8; i++) {
    rig.send(repeated('a', 30'000), 2);
    rig.send("b");
    rig.feed(ping_frame("c"));
    expected += 30'004 + 3 + 3;
    EXPECT(rig.sink.waiting == expected);
  }
  rig.sink.settle_slowly(10'000);
  EXPECT(rig.sink.waiting == expected - 10'000);
  rig.sink.unstick();
  EXPECT(rig.sink.waiting == 0);
}

TEST("a peer that does not take its answers is not read until it does") {
  WsRig rig(with_backlog(2000));
  rig.sink.peer_is_stuck = true;
  const std::string ping = ping_frame(repeated('p', 100));
  int pings = 0;
  while (!rig.sink.is_paused() && pings < 1000) {
    rig.feed(ping);
    pings++;
  }
  EXPECT(pings == 10);  // each is answered with 102 bytes
  rig.feed(ping);
  EXPECT(rig.sink.unread() == ping.size());
  EXPECT(rig.sink.waiting == 10 * 102);
  rig.sink.unstick();
  EXPECT(!rig.sink.is_paused() && rig.sink.unread() == 0);
  rig.wire();
  rig.events();
  rig.feed(text_frame("a"));
  EXPECT(rig.events() == "ascii a");
}

TEST("a choked socket that is held and let go stays unread") {
  WsRig rig(with_backlog(2000));
  rig.sink.peer_is_stuck = true;
  rig.send(repeated('a', 5000), 2);
  EXPECT(rig.sink.is_paused());
  rig.hold(true);
  rig.hold(false);
  rig.feed(text_frame("a"));
  rig.sink.settle_now();
  EXPECT(rig.sink.is_paused() && rig.events().empty());
  rig.hold(true);
  rig.sink.unstick();
  EXPECT(rig.sink.is_paused() && rig.events().empty());
  rig.hold(false);
  EXPECT(rig.events() == "ascii a");
}

TEST("the peer's end is told behind what it sent while it was choked") {
  WsRig rig(with_backlog(2000));
  rig.sink.peer_is_stuck = true;
  rig.send(repeated('a', 5000), 2);
  rig.feed(text_frame("last"));
  rig.sink.half_close();
  EXPECT(rig.events().empty());
  rig.sink.unstick();
  EXPECT(rig.events() == "ascii last; ended 1006 broken WsLost");
}

TEST("a peer that leaves just when it is read again is still heard") {
  WsRig choked(with_backlog(2000));
  choked.sink.peer_is_stuck = true;
  choked.send(repeated('a', 5000), 2);
  choked.feed(text_frame("last"));
  choked.sink.offers_late = true;
  choked.sink.unstick();
  choked.sink.half_close();
  choked.sink.offers_late = false;
  choked.sink.settle_now();
  EXPECT(choked.events() == "ascii last; ended 1006 broken WsLost");
  WsRig held;
  held.hold(true);
  held.feed(text_frame("last"));
  held.sink.offers_late = true;
  held.hold(false);
  held.sink.half_close();
  held.sink.offers_late = false;
  held.sink.settle_now();
  EXPECT(held.events() == "ascii last; ended 1006 broken WsLost");
}

// --- compression ---

WsRig::Setting deflating(bool own, bool peer, Role role = Role::Server) {
  WsRig::Setting setting;
  setting.role = role;
  setting.deflate = {.enabled = true, .own_takeover = own, .peer_takeover = peer};
  setting.socket.deflate.threshold = 10;
  return setting;
}

std::string deflated(ws::Deflater& deflater, Bytes text) {
  Blob out;
  size_t used = 0;
  MR_CHECK(deflater.compress(text, out, used));
  return std::string(out.bytes().substr(0, used));
}

const std::string kJson =
    R"({"name":"value","list":[1,2,3,4,5],"name2":"value value value value"})";

TEST("messages are compressed from the threshold on, where asked for, with and without takeover") {
  for (const bool takeover : {false, true}) {
    for (const Role role : {Role::Server, Role::Client}) {
      WsRig rig(deflating(takeover, false, role));
      rig.reader.keeps_window = takeover;
      rig.send(kJson, 1, kCommandCompress);
      const size_t first = rig.sink.written.size();
      EXPECT(rig.wire() == "text+ " + kJson);
      rig.send(kJson, 1, kCommandCompress);
      EXPECT(takeover ? rig.sink.written.size() < first / 2 : rig.sink.written.size() == first);
      EXPECT(rig.wire() == "text+ " + kJson);
      rig.send(kJson, 1);
      rig.send("short", 1, kCommandCompress);
      rig.send(kJson, 9, kCommandCompress);
      EXPECT(rig.wire() == "text " + kJson + "; text short; ping " + kJson);
      const std::string large = repeated('l', 5000);
      rig.send(large, 2, kCommandCompress);
      rig.send_shared(shared_message(2, large), kCommandCompress);
      EXPECT(rig.wire() == "binary+ " + shown(large) + "; binary+ " + shown(large));
    }
  }
}

TEST("what does not shrink goes as it is, unless the peer's window has to have it") {
  std::string noise;
  for (uint32_t i = 0, x = 1; i < 500; i++) {
    x = x * 1664525 + 1013904223;
    noise += static_cast<char>(x >> 24);
  }
  WsRig plain(deflating(false, false));
  plain.send(noise, 2, kCommandCompress);
  EXPECT(plain.wire() == "binary " + shown(noise));
  plain.send_shared(shared_message(2, noise), kCommandCompress);
  EXPECT(plain.wire() == "binary " + shown(noise));
  WsRig remembering(deflating(true, false));
  remembering.send(noise, 2, kCommandCompress);
  EXPECT(remembering.wire() == "binary+ " + shown(noise));
  remembering.send(noise, 2, kCommandCompress);
  EXPECT(remembering.sink.written.size() < 100);
  EXPECT(remembering.wire() == "binary+ " + shown(noise));
}

TEST("shared compressed frames and own ones in one window still inflate right") {
  WsRig rig(deflating(true, false));
  const std::string other_text = "quite another text, quite another text, and quite another length";
  const SharedMessageRef message = shared_message(1, other_text);
  WsRig other(deflating(true, false));
  for (int i = 0; i < 3; i++) {
    rig.send(kJson, 1, kCommandCompress);
    rig.send_shared(message, kCommandCompress);
    other.send_shared(message, kCommandCompress);
    rig.send(kJson, 1, kCommandCompress);
    rig.send_shared(message);
    EXPECT(rig.wire() == "text+ " + kJson + "; text+ " + other_text + "; text+ " + kJson +
                             "; text " + other_text);
    EXPECT(other.wire() == "text+ " + other_text);
  }
}

TEST("a peer with a smaller window gets shared messages as they are") {
  WsRig::Setting setting = deflating(false, false);
  setting.deflate.own_window_bits = 10;
  WsRig rig(setting);
  rig.send_shared(shared_message(1, kJson), kCommandCompress);
  rig.send(kJson, 1, kCommandCompress);
  EXPECT(rig.wire() == "text " + kJson + "; text+ " + kJson);
}

TEST("compressed messages are read, whole and in fragments, with and without takeover") {
  for (const bool takeover : {false, true}) {
    const auto deflater = ws::Deflater::make(6, 15);
    std::string bytes;
    for (int i = 0; i < 3; i++) {
      const std::string payload = deflated(*deflater, kJson);
      if (!takeover) deflater->reset();
      bytes += frame({.rsv1 = true}, payload);
      const std::string again = deflated(*deflater, kJson);
      if (!takeover) deflater->reset();
      bytes += frame({.fin = false, .rsv1 = true}, again.substr(0, 5)) + ping_frame("p") +
               frame({.opcode = 0, .fin = false}, "") + frame({.opcode = 0}, again.substr(5));
      bytes += text_frame("plain");
    }
    const std::string one = "ascii " + kJson + "; ping p; ascii " + kJson + "; ascii plain";
    for (size_t step : {bytes.size(), size_t{1}, size_t{7}}) {
      WsRig rig(deflating(false, takeover));
      for (size_t at = 0; at < bytes.size(); at += step) rig.feed(Bytes(bytes).substr(at, step));
      EXPECT(rig.events() == one + "; " + one + "; " + one);
    }
  }
}

TEST("a compressed message without room in the lane is inflated once") {
  const auto deflater = ws::Deflater::make(6, 15);
  WsRig rig(deflating(false, true));
  rig.sink.lane_is_full = true;
  for (int i = 0; i < 2; i++) rig.feed(frame({.rsv1 = true}, deflated(*deflater, kJson)));
  const std::string third = deflated(*deflater, kJson);
  rig.feed(frame({.fin = false, .rsv1 = true}, third));
  rig.feed(frame({.opcode = 0}, ""));
  rig.sink.lane_is_full = false;
  rig.sink.settle_now();
  EXPECT(rig.events() == "ascii " + kJson + "; ascii " + kJson + "; ascii " + kJson);
}

TEST("a bomb ends the socket with 1009 and takes no more than the limit") {
  const auto deflater = ws::Deflater::make(9, 15);
  const std::string bomb = deflated(*deflater, repeated('0', 20'000'000));
  for (const bool is_whole : {true, false}) {
    WsRig rig(deflating(false, false));
    if (is_whole) {
      rig.feed(frame({.rsv1 = true}, bomb));
    } else {
      rig.feed(frame({.fin = false, .rsv1 = true}, bomb.substr(0, bomb.size() / 2)));
    }
    EXPECT(rig.events() == "ended 1009 broken WsTooBig");
    EXPECT(rig.wire() == "close 1009 ");
  }
}

TEST("empty blocks without end are a message too large") {
  WsRig::Setting setting = deflating(false, false);
  setting.socket.payload_bytes_max = 1000;
  WsRig rig(setting);
  const std::string empty_block("\x00\x00\x00\xff\xff", 5);
  rig.feed(frame({.opcode = 2, .fin = false, .rsv1 = true}, empty_block));
  for (int i = 0; i < 1000 && rig.is_open(); i++)
    rig.feed(frame({.opcode = 0, .fin = false}, empty_block));
  EXPECT(rig.events() == "ended 1009 broken WsTooBig");
}

TEST("broken compression is 1007, RSV1 where it does not belong 1002") {
  struct Bad {
    const char* title;
    std::string bytes;
    const char* events;
  };
  const auto deflater = ws::Deflater::make(6, 15);
  const std::string begun = frame({.fin = false, .rsv1 = true}, deflated(*deflater, kJson));
  for (const Bad& bad :
       {Bad{"no deflate", frame({.rsv1 = true}, "\xff\xff\xff"), "ended 1007 broken WsBadDeflate"},
        Bad{"RSV1 on a continuation", begun + frame({.opcode = 0, .rsv1 = true}, ""),
            "ended 1002 broken WsProtocol"},
        Bad{"RSV1 on a ping", frame({.opcode = 9, .rsv1 = true}, ""),
            "ended 1002 broken WsProtocol"},
        Bad{"no text inside", frame({.rsv1 = true}, deflated(*deflater, "\xff 0123456789")),
            "ended 1007 broken WsBadText"}}) {
    context = bad.title;
    WsRig rig(deflating(false, false));
    rig.feed(bad.bytes);
    EXPECT(rig.events() == bad.events);
    WsRig bytewise(deflating(false, false));
    bytewise.feed_bytewise(bad.bytes);
    EXPECT(bytewise.events() == bad.events);
  }
}

TEST("of two faults in a compressed text the first is told, however it is cut") {
  const auto deflater = ws::Deflater::make(6, 15);
  const std::string bytes =
      frame({.rsv1 = true}, deflated(*deflater, "a\xff" + repeated('b', 500)) + "\xff\xff");
  WsRig whole(deflating(false, false));
  whole.feed(bytes);
  WsRig bytewise(deflating(false, false));
  bytewise.feed_bytewise(bytes);
  EXPECT(whole.events() == "ended 1007 broken WsBadText");
  EXPECT(bytewise.events() == "ended 1007 broken WsBadText");
}

// --- a client's end ---

TEST("a client answers the close frame and leaves the connection to the server") {
  WsRig rig({.role = Role::Client});
  rig.feed(frame({.opcode = 8, .masked = false}, close_payload(1000, "bye")));
  EXPECT(rig.events() == "ending 1000 bye; ended 1000 clean");
  EXPECT(rig.wire() == "close 1000 bye");
  EXPECT(rig.sink.is_open());
  rig.feed(frame({.masked = false}, "late"));
  rig.sink.half_close();
  EXPECT(!rig.sink.is_open() && !rig.sink.was_aborted());
  EXPECT(rig.events().empty());
}

TEST("a server that does not close the connection is left after the close timeout") {
  for (const bool ours : {false, true}) {
    WsRig rig({.role = Role::Client});
    if (ours) rig.close(1000);
    rig.feed(frame({.opcode = 8, .masked = false}, close_payload(1000)));
    rig.sink.advance(9'999);
    EXPECT(rig.sink.is_open());
    rig.sink.advance(1);
    EXPECT(rig.sink.was_aborted());
    EXPECT(rig.events() == "ending 1000 ; ended 1000 clean");
  }
}

TEST("a connection lost while a client leaves says nothing more") {
  WsRig rig({.role = Role::Client});
  rig.feed(frame({.opcode = 8, .masked = false}, ""));
  rig.sink.lose();
  EXPECT(rig.events() == "ending 1005 ; ended 1005 clean");
}

// --- what JavaScript answers before the end ---

TEST("answers to what came before a close frame, or a mistake, go before ours") {
  const std::string mistake = frame({.opcode = 3}, "");
  for (const bool is_mistake : {false, true}) {
    WsRig rig;
    rig.sink.answers_endings = false;
    rig.feed(text_frame("a") + (is_mistake ? mistake : close_frame(4001, "why")) + text_frame("b"));
    EXPECT(rig.events() == (is_mistake ? "ascii a" : "ascii a; ending 4001 why"));
    EXPECT(rig.wire().empty() && rig.is_open());
    rig.feed(text_frame("c"));
    rig.send("answer");
    EXPECT(rig.wire() == "text answer");
    rig.close(is_mistake ? 1000 : 4001, "why");
    EXPECT(rig.wire() == (is_mistake ? "close 1002 " : "close 4001 why"));
    EXPECT(rig.events() == (is_mistake ? "ended 1002 broken WsProtocol" : "ended 4001 clean"));
    EXPECT(!rig.is_open());
  }
}

TEST("a peer that ends waits for answers no longer than closeTimeout, and not when it is gone") {
  WsRig late;
  late.sink.answers_endings = false;
  late.feed(close_frame(1000));
  late.sink.advance(9'999);
  EXPECT(late.wire().empty());
  late.sink.advance(1);
  EXPECT(late.wire() == "close 1000 ");
  EXPECT(late.events() == "ending 1000 ; ended 1000 clean");
  WsRig left;
  left.sink.answers_endings = false;
  left.feed(close_frame(1001));
  left.sink.half_close();
  EXPECT(left.is_open());
  left.sink.lose();
  EXPECT(left.events() == "ending 1001 ; ended 1001 broken");
}

}  // namespace

}  // namespace millrace::test
