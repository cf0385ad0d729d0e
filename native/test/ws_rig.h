// One WebSocket session over FakeSink, and its peer: frames as plain values, events and what is on
// the wire as lines of text to compare. For tests and the session's fuzzer.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/proto/ws/frame.h"
#include "core/proto/ws/session.h"
#include "test/fake_sink.h"
#include "test/harness.h"

namespace millrace::test {

struct FrameSpec {
  uint8_t opcode = 1;
  bool fin = true;
  bool rsv1 = false;
  bool masked = true;
};

constexpr uint32_t kPeerMask = 0xa1b2c3d4;

inline std::string frame(const FrameSpec& spec, Bytes payload) {
  ws::FrameHead head;
  head.opcode = static_cast<ws::Opcode>(spec.opcode);
  head.fin = spec.fin;
  head.rsv1 = spec.rsv1;
  head.masked = spec.masked;
  head.mask = kPeerMask;
  head.length = payload.size();
  std::string bytes(ws::frame_head_size(payload.size(), spec.masked) + payload.size(), '\0');
  char* out = ws::write_frame_head(head, bytes.data());
  if (spec.masked) {
    ws::copy_masked(payload, out, kPeerMask, 0);
  } else if (!payload.empty()) {
    std::memcpy(out, payload.data(), payload.size());
  }
  return bytes;
}
// Of a client.
inline std::string text_frame(Bytes payload) { return frame({}, payload); }
inline std::string binary_frame(Bytes payload) { return frame({.opcode = 2}, payload); }
inline std::string ping_frame(Bytes payload) { return frame({.opcode = 9}, payload); }
inline std::string close_payload(uint16_t code, Bytes reason = {}) {
  std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
  return payload.append(reason);
}
inline std::string close_frame(uint16_t code, Bytes reason = {}) {
  return frame({.opcode = 8}, close_payload(code, reason));
}

// Long texts by their size and a hash.
inline std::string shown(Bytes bytes) {
  if (bytes.size() <= 130) return std::string(bytes);
  uint32_t hash = 2166136261;
  for (char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619;
  return "(" + std::to_string(bytes.size()) + " " + std::to_string(hash) + ")";
}

inline std::string close_line(Bytes payload) {
  if (payload.size() < 2) return "close " + std::string(payload);
  const int code = static_cast<uint8_t>(payload[0]) << 8 | static_cast<uint8_t>(payload[1]);
  return "close " + std::to_string(code) + " " + std::string(payload.substr(2));
}

inline std::string name_of(uint32_t error) {
  switch (static_cast<ErrorCode>(error)) {
#define MR_ERROR(name, code, status, sentence) \
  case ErrorCode::name:                        \
    return #name;
#include "core/model/errors.def"
#undef MR_ERROR
    default: return "";
  }
}

inline std::string event_line(const SeenEvent& event) {
  const std::string status = std::to_string(event.status);
  switch (event.kind) {
    case EventKind::Opened: return "opened";
    case EventKind::Message:
      return ((event.flags & kEventText) == 0    ? "binary "
              : (event.flags & kEventAscii) != 0 ? "ascii "
                                                 : "text ") +
             shown(event.body);
    case EventKind::Ping: return "ping " + event.body;
    case EventKind::Pong: return "pong " + event.body;
    case EventKind::Ending:  // of a mistake: Ended says the same
      return event.head_b != 0 ? "" : "ending " + status + " " + event.body;
    case EventKind::Ended:
      return "ended " + status + (event.head_a == 1 ? " clean" : " broken") +
             (event.head_b == 0 ? "" : " " + name_of(event.head_b));
    case EventKind::Sent: return "sent " + std::to_string(event.head_a);
    case EventKind::Refused:
      return "refused " + name_of(event.status) + " " + std::to_string(event.head_b);
    default: return "event " + std::to_string(static_cast<int>(event.kind));
  }
}

inline std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) {
    if (!line.empty()) all += (all.empty() ? "" : "; ") + line;
  }
  return all;
}

// Reads what a session writes; one per socket, since compressed messages may refer to earlier ones.
class WsReader final {
 public:
  explicit WsReader(bool expects_masks) : expects_masks_(expects_masks) {}

  // Takes whole frames off the front; a line each. Compressed ones have a + behind their kind.
  std::vector<std::string> take(std::string& bytes) {
    std::vector<std::string> lines;
    Bytes rest = bytes;
    while (!rest.empty()) {
      ws::FrameHead head;
      const int size = ws::parse_frame_head(rest, head);
      if (size == ws::kFrameNeedMore) break;
      if (size == ws::kFrameBroken) {
        lines.push_back("broken");
        rest = {};
        break;
      }
      if (rest.size() < static_cast<size_t>(size) + head.length) break;
      std::string payload(rest.substr(static_cast<size_t>(size), static_cast<size_t>(head.length)));
      rest.remove_prefix(static_cast<size_t>(size) + payload.size());
      if (head.masked) ws::apply_mask(MutableBytes(payload), head.mask, 0);
      lines.push_back(line_of(head, payload));
    }
    bytes = std::string(rest);
    return lines;
  }
  bool keeps_window = true;

 private:
  std::string line_of(const ws::FrameHead& head, const std::string& payload) {
    const std::string note = head.masked == expects_masks_ ? "" : "MASK ";
    if (head.opcode == ws::Opcode::Close) return note + close_line(payload);
    if (head.opcode == ws::Opcode::Ping) return note + "ping " + payload;
    if (head.opcode == ws::Opcode::Pong) return note + "pong " + payload;
    const std::string kind = note + (head.opcode == ws::Opcode::Text ? "text" : "binary");
    if (!head.rsv1) return kind + " " + shown(payload);
    if (inflater_ == nullptr) inflater_ = ws::Inflater::make(15);
    Blob out;
    size_t used = 0;
    const ErrorCode error = inflater_->inflate(payload, true, size_t{1} << 26, out, used);
    if (!keeps_window) inflater_->reset();
    if (error != ErrorCode::None) return kind + "+ WRONG";
    return kind + "+ " + shown(out.bytes().substr(0, used));
  }

  const bool expects_masks_;
  std::unique_ptr<ws::Inflater> inflater_;
};

// A router whose one handler takes WebSocket handshakes and, where it is not a socket's, all else.
inline const Router& socket_router(bool is_socket = true) {
  static const auto make = [](bool only_sockets) {
    auto router = std::make_unique<Router>();
    Route handler;
    handler.kind = RouteKind::Handler;
    handler.is_socket = only_sockets;
    router->set_fallback(std::move(handler));
    router->seal();
    return router;
  };
  static const std::unique_ptr<Router> sockets = make(true);
  static const std::unique_ptr<Router> any = make(false);
  return is_socket ? *sockets : *any;
}

class WsRig final {
 public:
  struct Setting {
    SocketSettings socket = {};
    ws::Role role = ws::Role::Server;
    ws::DeflateParameters deflate = {};
  };
  explicit WsRig(const Setting& setting)
      : settings_(setting.socket),
        sink(limits_, socket_router()),
        id(sink.open_exchange()),
        reader(setting.role == ws::Role::Client),
        is_client_(setting.role == ws::Role::Client) {
    sink.open_socket(id);
    sink.go_on_with(
        std::make_unique<ws::WsSession>(ws::SessionOptions{.id = id,
                                                           .settings = settings_,
                                                           .role = setting.role,
                                                           .is_announced = is_client_,
                                                           .deflate = setting.deflate}));
    if (!is_client_) EXPECT(events() == "opened");
  }
  WsRig() : WsRig(Setting{}) {}

  // --- what JavaScript says ---
  void send(Bytes payload, uint8_t opcode = 1, uint16_t flags = 0) {
    sink.answer(id, {.kind = CommandKind::Send, .status = opcode, .flags = flags, .body = payload});
  }
  // Of a reference more to the message; `number`: with a report.
  void send_shared(const SharedMessageRef& message, uint16_t flags = 0, uint32_t number = 0) {
    if (!is_open()) return;
    sink.answer(id, {.kind = CommandKind::Send,
                     .status = message.get()->opcode(),
                     .flags = static_cast<uint16_t>(flags | kCommandShared),
                     .amount = number,
                     .blob = reinterpret_cast<uint64_t>(message.copy().release())});
  }
  void close(uint16_t code, Bytes reason = {}) {
    sink.answer(id, {.kind = CommandKind::CloseSocket, .status = code, .body = reason});
  }
  void hold(bool held) { sink.answer(id, {.kind = CommandKind::Hold, .amount = held ? 1u : 0u}); }
  void report(uint32_t low, uint32_t number) {
    sink.answer(id, {.kind = CommandKind::Report, .amount = low, .blob = number});
  }

  // --- what the peer sends ---
  void feed(Bytes bytes) { sink.feed(bytes); }
  void feed_bytewise(Bytes bytes) {
    for (size_t i = 0; i < bytes.size(); i++) sink.feed(bytes.substr(i, 1));
  }
  [[nodiscard]] FrameSpec from_peer(uint8_t opcode) const {
    return {.opcode = opcode, .masked = !is_client_};
  }

  // --- since the last look ---
  std::string events() {
    std::vector<std::string> lines;
    for (const SeenEvent& event : std::exchange(sink.events, {})) {
      lines.push_back(event_line(event));
      ended_ += event.kind == EventKind::Ended ? 1 : 0;
    }
    return joined(lines);
  }
  std::string wire() { return joined(reader.take(sink.written)); }
  [[nodiscard]] bool is_open() const { return sink.open_exchanges() > 0; }
  // Ended events that events() has shown.
  [[nodiscard]] int ended() const { return ended_; }

 private:
  Limits limits_;
  const SocketSettings settings_;

 public:
  FakeSink sink;
  const ExchangeId id;
  WsReader reader;

 private:
  const bool is_client_;
  int ended_ = 0;
};

inline SharedMessageRef shared_message(uint8_t opcode, Bytes payload) {
  return SharedMessageRef(SharedMessage::make(opcode, payload));
}

}  // namespace millrace::test
