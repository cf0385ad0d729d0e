// What a WebSocket session takes from its peer: messages, control frames, the closing handshake,
// and every rule of RFC 6455 5 to 7 broken once. What it sends is ws_session_out_test.cpp's.
#include "test/ws_rig.h"

namespace millrace::test {

namespace {

std::string repeated(char c, size_t count) { return std::string(count, c); }

// A stream of frames with what must come of it, however it is cut.
struct Transcript {
  const char* title;
  std::string bytes;
  std::string events;  // without the first
  std::string wire;
};

std::vector<Transcript> transcripts() {
  const std::string snowman = "\xe2\x98\x83";
  const std::string three = frame({.fin = false}, "one ") + frame({.opcode = 0, .fin = false}, "") +
                            frame({.opcode = 0}, "two");
  return {
      {"a text, a binary, an empty one", text_frame("abc") + binary_frame("\xff") + text_frame(""),
       "ascii abc; binary \xff; ascii ", ""},
      {"text beyond ASCII", text_frame(snowman), "text " + snowman, ""},
      {"fragments", three, "ascii one two", ""},
      {"a character in two fragments",
       frame({.fin = false}, snowman.substr(0, 1)) + frame({.opcode = 0}, snowman.substr(1)),
       "text " + snowman, ""},
      {"control frames between fragments",
       frame({.fin = false}, "a") + ping_frame("p") + frame({.opcode = 0, .fin = false}, "b") +
           frame({.opcode = 10}, "q") + frame({.opcode = 0}, "c"),
       "ping p; pong q; ascii abc", "pong p"},
      {"pings of 0 and 125 bytes", ping_frame("") + ping_frame(repeated('p', 125)),
       "ping ; ping " + repeated('p', 125), "pong ; pong " + repeated('p', 125)},
      {"a close frame between fragments",
       frame({.fin = false}, "a") + close_frame(1000) + text_frame("late"),
       "ending 1000 ; ended 1000 clean", "close 1000 "},
      {"a close frame with a reason", close_frame(4999, "bye " + snowman),
       "ending 4999 bye " + snowman + "; ended 4999 clean", "close 4999 bye " + snowman},
      {"a close frame without a code", frame({.opcode = 8}, ""), "ending 1005 ; ended 1005 clean",
       "close "},
      {"nothing behind a close frame counts", close_frame(1001) + "\xff\xff" + text_frame("late"),
       "ending 1001 ; ended 1001 clean", "close 1001 "},
  };
}

std::vector<Transcript> broken() {
  const std::string protocol = "ended 1002 broken WsProtocol";
  const std::string text = "ended 1007 broken WsBadText";
  const std::string begun = frame({.fin = false}, "a");
  std::vector<Transcript> all;
  const auto add = [&](const char* title, const std::string& bytes, const std::string& events) {
    const bool is_text = events.ends_with(text);
    all.push_back(
        {title, bytes + text_frame("late"), events, is_text ? "close 1007 " : "close 1002 "});
  };
  add("no mask", frame({.masked = false}, "a"), protocol);
  add("no mask on a ping", frame({.opcode = 9, .masked = false}, ""), protocol);
  add("RSV1", frame({.rsv1 = true}, "a"), protocol);
  add("RSV2", "\xa1\x81", protocol);
  add("RSV3", "\x91\x81", protocol);
  add("RSV1 on a ping", frame({.opcode = 9, .rsv1 = true}, ""), protocol);
  for (uint8_t opcode : std::initializer_list<uint8_t>{3, 4, 5, 6, 7, 11, 12, 13, 14, 15}) {
    add("a reserved opcode", frame({.opcode = opcode}, "a"), protocol);
  }
  for (uint8_t opcode : std::initializer_list<uint8_t>{8, 9, 10}) {
    add("a fragmented control frame", frame({.opcode = opcode, .fin = false}, ""), protocol);
    add("a long control frame", frame({.opcode = opcode}, repeated('a', 126)), protocol);
  }
  add("a continuation of nothing", frame({.opcode = 0}, "a"), protocol);
  add("a continuation behind a whole message", text_frame("b") + frame({.opcode = 0}, "a"),
      "ascii b; " + protocol);
  add("a message in a message", begun + text_frame("b"), protocol);
  add("a fragment of another in a message", begun + frame({.opcode = 2, .fin = false}, "b"),
      protocol);
  add("a length of 125 in 16 bits", std::string("\x81\xfe\x00\x7d", 4), protocol);
  add("a length of 65535 in 64 bits", std::string("\x81\xff\0\0\0\0\0\0\xff\xff", 10), protocol);
  add("a length above 2^63", std::string("\x81\xff\x80\0\0\0\0\0\0\x05", 10), protocol);
  add("a close payload of one byte", frame({.opcode = 8}, "a"), protocol);
  constexpr uint16_t kCodes[] = {0,    999,  1004, 1005, 1006, 1015,
                                 1016, 1100, 2000, 2999, 5000, 65535};
  for (uint16_t code : kCodes) {
    add("a close code that does not travel", close_frame(code), protocol);
  }
  add("a reason that is no text", close_frame(1000, "\xc3"), text);
  add("a text that is none", text_frame("a\xffz"), text);
  add("a text that ends within a character", text_frame("a\xe2\x98"), text);
  add("a surrogate", text_frame("\xed\xa0\x80"), text);
  add("fragments that end within a character",
      frame({.fin = false}, "a\xe2") + frame({.opcode = 0}, "\x98"), text);
  add("a fragment that is no text", frame({.fin = false}, "a\xc0"), text);
  add("a message in its first bad fragment", frame({.fin = false}, "\xf5"), text);
  return all;
}

void check(WsRig& rig, const Transcript& transcript) {
  EXPECT(rig.events() == transcript.events);
  EXPECT(rig.wire() == transcript.wire);
  EXPECT(rig.is_open() == (transcript.events.find("ended") == std::string::npos));
}

void check_all_cuts(const Transcript& transcript) {
  context = transcript.title;
  WsRig whole;
  whole.feed(transcript.bytes);
  check(whole, transcript);
  context = std::string(transcript.title) + " byte by byte";
  WsRig bytewise;
  bytewise.feed_bytewise(transcript.bytes);
  check(bytewise, transcript);
  for (size_t cut = 1; cut < transcript.bytes.size(); cut++) {
    context = std::string(transcript.title) + " cut at " + std::to_string(cut);
    WsRig rig;
    rig.feed(Bytes(transcript.bytes).substr(0, cut));
    rig.feed(Bytes(transcript.bytes).substr(cut));
    check(rig, transcript);
  }
}

TEST("frames come to the same messages and answers however they are cut") {
  for (const Transcript& transcript : transcripts()) check_all_cuts(transcript);
}

TEST("every broken rule ends the socket with its code, however the bytes are cut") {
  for (const Transcript& transcript : broken()) check_all_cuts(transcript);
}

TEST("text that cannot become UTF-8 fails before its frame is whole") {
  for (const bool is_fragment : {false, true}) {
    WsRig rig;
    const std::string bytes = frame({.fin = !is_fragment}, "abc\xff" + repeated('a', 100));
    rig.feed(Bytes(bytes).substr(0, 9));
    EXPECT(rig.events().empty());
    rig.feed(Bytes(bytes).substr(9, 1));
    EXPECT(rig.events() == "ended 1007 broken WsBadText");
    EXPECT(rig.sink.refusals == std::vector<ErrorCode>{ErrorCode::WsBadText});
  }
}

TEST("a bad head fails before its payload comes") {
  WsRig rig;
  rig.feed("\x83");
  EXPECT(rig.events() == "ended 1002 broken WsProtocol");
}

// --- sizes ---

TEST("messages of all frame forms and hand-over forms arrive") {
  for (size_t size : {0, 1, 125, 126, 127, 16383, 16384, 16385, 65535, 65536, 65537, 300000}) {
    const std::string payload = repeated('x', size);
    const std::string bytes = binary_frame(payload);
    for (size_t step : {bytes.size(), size_t{1000}, size_t{7}}) {
      context = std::to_string(size) + " by " + std::to_string(step);
      WsRig rig;
      for (size_t at = 0; at < bytes.size(); at += step) rig.feed(Bytes(bytes).substr(at, step));
      EXPECT(rig.events() == "binary " + shown(payload));
    }
  }
}

TEST("payload_bytes_max holds for whole messages, and for what fragments add up to") {
  for (size_t limit : {0, 1, 125, 126, 65535, 65536, 70000}) {
    for (int over : {-1, 0, 1}) {
      if (limit == 0 && over < 0) continue;
      context = std::to_string(limit) + " and " + std::to_string(over);
      const size_t size = limit + static_cast<size_t>(over);
      const std::string payload = repeated('x', size);
      const std::string expected =
          over > 0 ? "ended 1009 broken WsTooBig" : "ascii " + shown(payload);
      WsRig::Setting setting;
      setting.socket.payload_bytes_max = static_cast<uint32_t>(limit);
      WsRig whole(setting);
      whole.feed(text_frame(payload));
      EXPECT(whole.events() == expected);
      EXPECT(whole.wire() == (over > 0 ? "close 1009 " : ""));
      WsRig fragments(setting);
      fragments.feed(frame({.fin = false}, payload.substr(0, size / 2)));
      fragments.feed(frame({.opcode = 0}, payload.substr(size / 2)));
      EXPECT(fragments.events() == expected);
    }
  }
}

TEST("a message that is announced too large is refused before it comes") {
  WsRig rig;
  rig.feed(std::string("\x82\xff\x00\x00\x00\x01\x00\x00\x00\x05", 10));
  EXPECT(rig.events().empty());  // the mask belongs to the head
  rig.feed("mask");
  EXPECT(rig.events() == "ended 1009 broken WsTooBig");
}

TEST("a text has its own limit, which is that of a string, for all forms of frames") {
  for (const ws::Role role : {ws::Role::Server, ws::Role::Client}) {
    for (const uint8_t opcode : {uint8_t{1}, uint8_t{2}}) {
      for (const size_t size : {99, 100, 101, 1000}) {
        context = std::to_string(opcode) + " " + std::to_string(size);
        WsRig::Setting setting;
        setting.role = role;
        setting.socket.payload_bytes_max = 1000;
        setting.socket.text_bytes_max = 100;
        setting.deflate = {.enabled = true};
        const std::string payload(size, 'x');
        const bool is_good = opcode == 2 || size <= 100;
        const std::string expected = is_good ? (opcode == 2 ? "binary " : "ascii ") + shown(payload)
                                             : "ended 1009 broken WsTooBig";
        FrameSpec spec = WsRig(setting).from_peer(opcode);
        FrameSpec rest = spec;
        rest.opcode = 0;
        WsRig whole(setting);
        whole.feed(frame(spec, payload));
        EXPECT(whole.events() == expected);
        WsRig cut(setting);
        cut.feed_bytewise(frame(spec, payload));
        EXPECT(cut.events() == expected);
        WsRig compressed(setting);
        Blob out;
        size_t used = 0;
        const auto deflater = ws::Deflater::make(6, 15);
        EXPECT(deflater->compress(payload, out, used));
        spec.rsv1 = true;
        compressed.feed(frame(spec, out.bytes().substr(0, used)));
        EXPECT(compressed.events() == expected);
        spec.rsv1 = spec.fin = false;
        WsRig fragments(setting);
        fragments.feed(frame(spec, payload.substr(0, 50)));
        fragments.feed(frame(rest, payload.substr(50)));
        EXPECT(fragments.events() == expected);
        EXPECT(is_good || fragments.wire() == "close 1009 ");
      }
    }
  }
}

TEST("many tiny fragments make one message") {
  WsRig rig;
  rig.feed(frame({.fin = false}, ""));
  for (int i = 0; i < 5000; i++)
    rig.feed(frame({.opcode = 0, .fin = false}, i % 2 == 0 ? "a" : ""));
  rig.feed(frame({.opcode = 0}, "b"));
  EXPECT(rig.events() == "ascii " + shown(repeated('a', 2500) + "b"));
}

// --- room in the lane ---

TEST("without room in the lane nothing is lost, doubled or unmasked twice") {
  for (const auto& list : {transcripts(), broken()}) {
    for (const Transcript& transcript : list) {
      for (size_t cut = 0; cut < transcript.bytes.size(); cut++) {
        context = std::string(transcript.title) + " full from " + std::to_string(cut);
        WsRig rig;
        rig.feed(Bytes(transcript.bytes).substr(0, cut));
        rig.sink.lane_is_full = true;
        rig.feed(Bytes(transcript.bytes).substr(cut));
        rig.sink.settle_now();
        rig.sink.lane_is_full = false;
        rig.sink.settle_now();
        check(rig, transcript);
      }
    }
  }
}

TEST("a lane with room for one event at a time gets them all in order") {
  const std::string bytes = text_frame("a") + ping_frame("b") + frame({.fin = false}, "c") +
                            frame({.opcode = 0}, "d") + binary_frame(repeated('e', 20000)) +
                            close_frame(1000, "f");
  const std::string expected = "ascii a; ping b; ascii cd; binary " + shown(repeated('e', 20000)) +
                               "; ending 1000 f; ended 1000 clean";
  WsRig rig;
  rig.sink.room = 0;
  rig.feed(bytes);
  std::string all;
  for (int i = 0; i < 10; i++) {
    rig.sink.room = 1;
    rig.sink.settle_now();
    const std::string some = rig.events();
    if (!some.empty()) all += (all.empty() ? "" : "; ") + some;
  }
  EXPECT(all == expected);
}

TEST("a peer that leaves while its messages wait for room is still heard") {
  WsRig rig;
  rig.sink.lane_is_full = true;
  rig.feed(text_frame("a") + text_frame("b"));
  rig.sink.half_close();
  EXPECT(rig.is_open());
  rig.sink.lane_is_full = false;
  rig.sink.settle_now();
  EXPECT(rig.events() == "ascii a; ascii b; ended 1006 broken WsLost");
}

// --- Hold ---

TEST("nothing is read while JavaScript holds the socket") {
  WsRig rig;
  rig.hold(true);
  EXPECT(rig.sink.is_paused());
  rig.feed(text_frame("a") + ping_frame("b"));
  EXPECT(rig.events().empty() && rig.wire().empty());
  rig.hold(false);
  EXPECT(!rig.sink.is_paused());
  EXPECT(rig.events() == "ascii a; ping b");
  EXPECT(rig.wire() == "pong b");
}

TEST("holding within a message goes on within it") {
  WsRig rig;
  const std::string bytes = text_frame("abcdef");
  rig.feed(Bytes(bytes).substr(0, 9));
  rig.hold(true);
  rig.feed(Bytes(bytes).substr(9));
  EXPECT(rig.events().empty());
  rig.hold(false);
  EXPECT(rig.events() == "ascii abcdef");
}

TEST("room in the lane does not make a held socket read") {
  WsRig rig;
  rig.sink.lane_is_full = true;
  rig.feed(text_frame("a"));
  rig.hold(true);
  rig.sink.lane_is_full = false;
  rig.sink.settle_now();
  EXPECT(rig.sink.is_paused());
  EXPECT(rig.events().empty());
  rig.hold(false);
  EXPECT(rig.events() == "ascii a");
}

TEST("a held socket whose peer leaves ends when it is let go, behind its messages") {
  WsRig rig;
  rig.hold(true);
  rig.feed(text_frame("a"));
  rig.sink.half_close();
  EXPECT(rig.events().empty());
  rig.hold(false);
  EXPECT(rig.events() == "ascii a; ended 1006 broken WsLost");
}

TEST("closing lets a held socket read on for the peer's close frame") {
  WsRig rig;
  rig.hold(true);
  rig.feed(text_frame("a"));
  rig.close(1000);
  EXPECT(rig.wire() == "close 1000 ");
  rig.feed(close_frame(1000));
  EXPECT(rig.events() == "ending 1000 ; ended 1000 clean");
}

// --- the end ---

TEST("our close frame is answered, and messages before the answer reach nobody") {
  WsRig rig;
  rig.close(3001, "enough");
  EXPECT(rig.wire() == "close 3001 enough");
  rig.send("late");
  rig.feed(text_frame("a") + ping_frame("b") + close_frame(3001, "ok"));
  EXPECT(rig.events() == "ending 3001 ok; ended 3001 clean");
  EXPECT(rig.wire().empty());
  EXPECT(!rig.sink.is_open() && !rig.sink.was_aborted());
  EXPECT(rig.sink.cause() == CloseCause::CloseCalled);
}

TEST("closing without a code sends an empty close frame") {
  WsRig rig;
  rig.close(1005);
  EXPECT(rig.wire() == "close ");
}

TEST("closing twice says it once") {
  WsRig rig;
  rig.close(1000, "a");
  rig.close(1001, "b");
  EXPECT(rig.wire() == "close 1000 a");
}

TEST("close frames that cross end the socket on both sides, cleanly") {
  WsRig rig;
  rig.close(1000, "ours");
  rig.feed(close_frame(1001, "theirs"));
  EXPECT(rig.events() == "ending 1001 theirs; ended 1001 clean");
  EXPECT(rig.wire() == "close 1000 ours");
}

TEST("a peer that does not answer our close frame is cut off") {
  WsRig rig;
  rig.close(1000);
  rig.sink.advance(9'999);
  EXPECT(rig.is_open());
  rig.feed(text_frame("still here"));
  rig.sink.advance(1);
  EXPECT(rig.events() == "ended 1006 broken WsTimeout");
  EXPECT(rig.sink.was_aborted());
}

TEST("a slow peer has its time to take what goes before our close frame") {
  WsRig rig;
  rig.sink.peer_is_stuck = true;
  for (int i = 0; i < 4; i++) rig.send(repeated('a', 50'000), 2);
  rig.close(1000);
  for (int i = 0; i < 4; i++) {
    rig.sink.advance(9'000);
    rig.sink.settle_slowly(100);
  }
  EXPECT(rig.is_open());
  rig.sink.advance(10'000);
  EXPECT(rig.events() == "ended 1006 broken WsTimeout");
}

TEST("a rule broken behind our close frame ends the socket without another one") {
  WsRig rig;
  rig.close(1000);
  rig.feed(frame({.masked = false}, "a"));
  EXPECT(rig.events() == "ended 1002 broken WsProtocol");
  EXPECT(rig.wire() == "close 1000 ");
}

TEST("the close frame is told of without its reason when the lane is full") {
  WsRig rig;
  rig.close(1000);
  rig.sink.lane_is_full = true;
  rig.feed(close_frame(1000, "reason"));
  EXPECT(rig.events() == "ended 1000 clean");
}

TEST("a draining server closes with 1001") {
  WsRig rig;
  rig.sink.stop();
  EXPECT(rig.wire() == "close 1001 ");
  rig.feed(close_frame(1001));
  EXPECT(rig.events() == "ending 1001 ; ended 1001 clean");
}

// Brings a fresh socket into a state.
struct Stage {
  const char* title;
  void (*reach)(WsRig& rig);
};

constexpr Stage kStages[] = {
    {"open", [](WsRig&) {}},
    {"within a frame head", [](WsRig& rig) { rig.feed("\x81"); }},
    {"within a payload", [](WsRig& rig) { rig.feed(text_frame("abcdef").substr(0, 8)); }},
    {"between fragments", [](WsRig& rig) { rig.feed(frame({.fin = false}, "abc")); }},
    {"held", [](WsRig& rig) { rig.hold(true); }},
    {"without room",
     [](WsRig& rig) {
       rig.sink.lane_is_full = true;
       rig.feed(text_frame("abc"));
     }},
    {"closing", [](WsRig& rig) { rig.close(1000); }},
    {"with a backlog",
     [](WsRig& rig) {
       rig.sink.peer_is_stuck = true;
       for (int i = 0; i < 10; i++) rig.send(repeated('a', 40'000), 2);
       rig.report(0, 7);
     }},
    {"closing behind a backlog",
     [](WsRig& rig) {
       rig.sink.peer_is_stuck = true;
       for (int i = 0; i < 10; i++) rig.send(repeated('a', 40'000), 2);
       rig.close(1000);
     }},
    {"choked",
     [](WsRig& rig) {
       rig.sink.peer_is_stuck = true;
       for (int i = 0; i < 20; i++) rig.send(repeated('a', 40'000), 2);
     }},
    {"over", [](WsRig& rig) { rig.feed(close_frame(1000)); }},
};

TEST("a connection that is gone ends its socket once, in every state") {
  for (const Stage& stage : kStages) {
    context = stage.title;
    WsRig rig;
    stage.reach(rig);
    rig.sink.lose();
    rig.sink.lose();
    const std::string events = rig.events();
    EXPECT(rig.ended() == 1);
    EXPECT(events.ends_with("ended 1006 broken WsLost") || events.ends_with("clean"));
    EXPECT(rig.sink.waiting == 0);
    EXPECT(!rig.is_open());
  }
}

TEST("a peer that closes its side without a close frame ends the socket once, in every state") {
  for (const Stage& stage : kStages) {
    context = stage.title;
    WsRig rig;
    stage.reach(rig);
    rig.sink.half_close();
    rig.sink.lane_is_full = false;
    rig.hold(false);
    rig.sink.unstick();
    const std::string events = rig.events();
    EXPECT(rig.ended() == 1);
    EXPECT(events.ends_with("ended 1006 broken WsLost") || events.ends_with("clean"));
    EXPECT(rig.sink.waiting == 0);
  }
}

// --- time ---

TEST("a silent peer is asked at half the idle timeout and given up at its end") {
  WsRig rig;
  rig.sink.advance(59'999);
  EXPECT(rig.wire().empty());
  rig.sink.advance(1);
  EXPECT(rig.wire() == "ping ");
  rig.sink.advance(59'999);
  EXPECT(rig.events().empty());
  rig.sink.advance(1);
  EXPECT(rig.events() == "ended 1006 broken WsTimeout");
  EXPECT(rig.wire() == "close 1001 ");
  EXPECT(rig.sink.cause() == CloseCause::TimedOut);
}

TEST("whoever answers our pings stays") {
  WsRig rig;
  for (int i = 0; i < 5; i++) {
    rig.sink.advance(60'000);
    EXPECT(rig.wire() == "ping ");
    rig.feed(frame({.opcode = 10}, ""));
    EXPECT(rig.events() == "pong ");
  }
  EXPECT(rig.is_open());
}

TEST("without pings a silent peer goes at the idle timeout, and 0 switches it off") {
  WsRig::Setting setting;
  setting.socket.pings = false;
  WsRig rig(setting);
  rig.sink.advance(119'999);
  EXPECT(rig.is_open());
  rig.sink.advance(1);
  EXPECT(rig.events() == "ended 1006 broken WsTimeout");
  setting.socket.pings = true;
  setting.socket.idle_timeout = 0;
  WsRig patient(setting);
  patient.sink.advance(1'000'000'000);
  EXPECT(patient.is_open() && patient.wire().empty());
}

TEST("bytes of any kind count as a sign of life") {
  WsRig::Setting setting;
  setting.socket.message_timeout = 0;
  WsRig rig(setting);
  const std::string bytes = text_frame(repeated('a', 50));
  for (size_t i = 0; i < bytes.size(); i++) {
    rig.sink.advance(50'000);
    rig.feed(Bytes(bytes).substr(i, 1));
  }
  EXPECT(rig.events() == "ascii " + repeated('a', 50));
  EXPECT(rig.wire().empty());
}

// So many bytes each `every` ms, until it is over or `span` has passed; how long that was.
Milliseconds trickle(WsRig& rig, size_t bytes, Milliseconds every, Milliseconds span) {
  const Milliseconds begin = rig.sink.now();
  while (rig.is_open() && rig.sink.now() - begin < span) {
    rig.sink.advance(every);
    rig.feed(repeated('a', bytes));
  }
  return rig.sink.now() - begin;
}

WsRig::Setting timed(Milliseconds message) {
  WsRig::Setting setting;
  setting.socket.idle_timeout = 400;
  setting.socket.message_timeout = message;
  return setting;
}

TEST("a message that trickles is given up when its time is over, whole frames or fragments") {
  const std::string frame_begin = binary_frame(repeated('a', 100'000)).substr(0, 20);
  const std::string fragment = frame({.opcode = 2, .fin = false}, "a");
  for (const std::string& begin : {frame_begin, fragment}) {
    WsRig rig(timed(1000));
    rig.sink.advance(100);
    rig.feed(begin);
    Milliseconds span = 0;
    for (; rig.is_open() && span < 5000; span += 50) {
      rig.feed(begin == fragment ? ping_frame("") : "a");
      rig.sink.advance(50);
    }
    EXPECT(span == 1000);
    EXPECT(rig.wire().ends_with("close 1001 "));
    EXPECT(rig.events().ends_with("ended 1006 broken WsTimeout"));
    EXPECT(rig.sink.cause() == CloseCause::TimedOut);
  }
  WsRig endless(timed(0));
  endless.feed(frame_begin);
  EXPECT(trickle(endless, 1, 120, 100'000) >= 100'000 && endless.is_open());
}

TEST("a message that comes at the least rate has as long as it needs") {
  WsRig rig(timed(1000));
  rig.feed(binary_frame(repeated('a', 1'000'000)).substr(0, 14));
  EXPECT(trickle(rig, 30, 100, 60'000) >= 60'000 && rig.is_open());
  // What came faster before counts: it is the average that is judged.
  EXPECT(trickle(rig, 20, 100, 600'000) < 100'000 && !rig.is_open());
}

TEST("the time of a message does not run while it is not read, and ends with it") {
  WsRig rig(timed(1000));
  const std::string bytes = binary_frame(repeated('a', 1000));
  rig.feed(bytes.substr(0, 20));
  rig.sink.advance(300);
  rig.hold(true);
  rig.sink.advance(50'000);
  rig.hold(false);
  EXPECT(trickle(rig, 1, 300, 900) == 900 && rig.is_open());
  rig.feed(repeated('a', 1000 - 12 - 3));
  EXPECT(rig.events().starts_with("binary "));
  for (int i = 0; i < 100; i++) {
    rig.sink.advance(100);
    rig.feed(text_frame("a"));
  }
  EXPECT(rig.is_open());
}

TEST("a held socket has no idle timeout, and a new one when it is let go") {
  WsRig rig;
  rig.hold(true);
  rig.sink.advance(1'000'000);
  EXPECT(rig.is_open() && rig.wire().empty());
  rig.hold(false);
  rig.sink.advance(59'999);
  EXPECT(rig.wire().empty());
  rig.sink.advance(1);
  EXPECT(rig.wire() == "ping ");
}

TEST("pings are not answered where the settings say so") {
  WsRig::Setting setting;
  setting.socket.automatic_pong = false;
  WsRig rig(setting);
  rig.feed(ping_frame("a"));
  EXPECT(rig.events() == "ping a");
  EXPECT(rig.wire().empty());
}

}  // namespace

}  // namespace millrace::test
