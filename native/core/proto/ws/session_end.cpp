// How a WebSocket session ends: closing handshakes (RFC 6455 7), failures, silence, lost peers.
#include <algorithm>

#include "core/proto/ws/session.h"

namespace millrace::ws {
namespace {

constexpr uint16_t kGoingAway = 1001;
constexpr uint16_t kNoCode = 1005;
constexpr uint16_t kAbnormal = 1006;

uint16_t read_code(Bytes payload) {
  return static_cast<uint16_t>(static_cast<uint8_t>(payload[0]) << 8 |
                               static_cast<uint8_t>(payload[1]));
}

// The payload of a close frame.
struct ClosePayload {
  ClosePayload(uint16_t code, Bytes reason) {
    if (code == kNoCode) return;
    bytes[0] = static_cast<char>(code >> 8);
    bytes[1] = static_cast<char>(code & 0xff);
    size_t length = std::min(reason.size(), kControlPayloadMax - 2);
    copy_to(bytes + 2, reason.substr(0, length));
    size = length + 2;
  }
  [[nodiscard]] Bytes view() const { return {bytes, size}; }
  char bytes[kControlPayloadMax];
  size_t size = 0;
};

}  // namespace

// --- the peer ends it ---

bool WsSession::take_close(Bytes payload, Sink& sink) {
  uint16_t code = payload.empty() ? kNoCode : kAbnormal;
  if (payload.size() >= 2) code = read_code(payload);
  Bytes reason = payload.size() > 2 ? payload.substr(2) : Bytes();
  if (!payload.empty() && (payload.size() == 1 || !is_valid_close_code(code))) {
    fail(ErrorCode::WsProtocol, sink);
    return false;
  }
  if (!is_utf8(reason)) {
    fail(ErrorCode::WsBadText, sink);
    return false;
  }
  if (state_ == State::Leaving || peer_code_ != 0) return true;
  // Only while Closing, where messages are dropped without asking, there may be no room: then it is
  // said without the reason.
  if (sink.can_emit()) {
    Event* event = sink.begin_event(id_, sizeof(Event) + reason.size());
    event->kind = static_cast<uint16_t>(EventKind::Ending);
    event->exchange = id_;
    event->status = code;
    event->body_length = static_cast<uint32_t>(reason.size());
    copy_to(reinterpret_cast<char*>(event + 1), reason);
    sink.end_event(event);
  }
  peer_code_ = code;
  if (state_ == State::Open) {
    begin_ending(code, ErrorCode::None, CloseCause::ClosedByClient, sink);
    return false;
  }
  if (owes_close()) put_close(payload, sink);
  over(code, ErrorCode::None, CloseCause::CloseCalled, sink);
  return false;
}

// What it sent before is with JavaScript, whose answers go first; it says when it is done with it.
void WsSession::begin_ending(uint16_t code, ErrorCode error, CloseCause cause, Sink& sink) {
  state_ = State::Ending;
  ending_code_ = code;
  ending_error_ = error;
  ending_cause_ = cause;
  incoming_ = nullptr;
  closing_since_ = sink.now();
  arm(sink);
}

// RFC 6455 5.5.1: the peer's code comes back, behind what is being sent. What waits behind that is
// not wanted any more.
void WsSession::put_close(Bytes payload, Sink& sink) {
  backlog_ = nullptr;
  put(Opcode::Close, payload, false, true, sink);
}

// Both close frames have been, or none of them can help.
void WsSession::over(uint16_t code, ErrorCode error, CloseCause cause, Sink& sink) {
  incoming_ = nullptr;
  end(code, error == ErrorCode::None, error, sink);
  if (role_ == Role::Server || error != ErrorCode::None) return sink.finish(cause);
  state_ = State::Leaving;
  closing_since_ = sink.now();
  armed_at_ = kNever;
  if (peer_closed_) return sink.finish(cause);
  arm(sink);
}

void WsSession::close(uint16_t code, Bytes reason, Sink& sink) {
  if (state_ == State::Ending) {
    // A close() that has crossed the peer's close frame has a reason of its own, to another code.
    bool is_echo = ending_error_ == ErrorCode::None && code == ending_code_;
    put_close(ClosePayload(ending_code_, is_echo ? reason : Bytes()).view(), sink);
    return over(ending_code_, ending_error_, ending_cause_, sink);
  }
  if (state_ != State::Open) return;
  put(Opcode::Close, ClosePayload(code, reason).view(), false, false, sink);
  state_ = State::Closing;
  closing_since_ = sink.now();
  if (held_) {
    // What it sends is not handed over any more: its close frame may stand behind it.
    held_ = false;
    stuck_ = true;
    sink.resume();
  }
  arm(sink);
}

// No close frame of ours is with the connection: behind a backlog it would never leave.
bool WsSession::owes_close() const {
  return may_send() ||
         (state_ == State::Closing && backlog_ != nullptr && !backlog_->frames.empty());
}

// The peer did something wrong, or nothing for too long, or does not take what it is sent.
void WsSession::fail(ErrorCode error, Sink& sink, CloseCause cause) {
  uint16_t code = close_code_of(error);
  sink.count_refusal(error);
  if (state_ == State::Open && cause == CloseCause::ProtocolViolated) {
    sink.notify({id_, EventKind::Ending, code, 0, static_cast<uint32_t>(error)});
    return begin_ending(code, error, cause, sink);
  }
  if (owes_close()) {
    put_close(ClosePayload(code == kAbnormal ? kGoingAway : code, {}).view(), sink);
  }
  over(code, error, cause, sink);
}

void WsSession::end(uint16_t code, bool clean, ErrorCode error, Sink& sink) {
  if (state_ == State::Over || state_ == State::Leaving) {
    state_ = State::Over;
    return;
  }
  state_ = State::Over;
  Notice last{id_, EventKind::Ended, code, clean ? 1u : 0u, static_cast<uint32_t>(error)};
  sink.close_socket(last);
}

// --- the connection ends ---

void WsSession::lost(Sink& sink) {
  bool was_leaving = state_ == State::Leaving;
  end(kAbnormal, false, ErrorCode::WsLost, sink);
  sink.finish(was_leaving ? CloseCause::CloseCalled : CloseCause::ClosedByClient);
}

// The peer has closed without a closing handshake, and what it sent before has been seen to.
void WsSession::end_if_lost(Sink& sink) {
  bool may_come = state_ == State::Ending || held_ || stuck_ || choked_;
  if (peer_closed_ && announced_ && state_ != State::Over && !may_come) lost(sink);
}

void WsSession::peer_closed(Sink& sink) {
  peer_closed_ = true;
  end_if_lost(sink);
}

// Going on 1001 (RFC 6455 7.4.1).
void WsSession::drain(Sink& sink) {
  if (state_ == State::Open) close(kGoingAway, {}, sink);
}
void WsSession::leave(Sink& sink) { drain(sink); }

void WsSession::gone(Sink& sink) {
  if (state_ == State::Ending) return end(ending_code_, false, ending_error_, sink);
  end(kAbnormal, false, ErrorCode::WsLost, sink);
}

// --- time ---

Milliseconds WsSession::next_due(const Sink& sink) const {
  if (state_ == State::Closing || state_ == State::Leaving || state_ == State::Ending)
    return closing_since_ + settings_.close_timeout;
  // A peer that we do not read cannot be heard.
  if (state_ == State::Over || held_ || stuck_ || choked_) return kNever;
  Milliseconds message = message_due(sink);
  if (settings_.idle_timeout == 0) return message;
  bool asks = settings_.pings && !pinged_;
  Milliseconds silence = asks ? settings_.idle_timeout / 2 - ping_lead() : settings_.idle_timeout;
  return message == kNever ? heard_at_ + silence : std::min(message, heard_at_ + silence);
}

// Silence ends with every byte, so a message that trickles has a time of its own: without it, it
// would hold its memory for ever.
Milliseconds WsSession::message_due(const Sink& sink) const {
  if (incoming_ == nullptr || incoming_->complete || settings_.message_timeout == 0) return kNever;
  Milliseconds longest = settings_.message_timeout;
  int64_t rate = sink.limits().receive_rate_min;
  if (rate > 0) {
    auto read = static_cast<int64_t>(incoming_->read() - incoming_->untimed);
    longest = std::max<Milliseconds>(longest, read * 1000 / rate);
  }
  return incoming_->timed_from + longest;
}

// Peers that were last heard at the same moment are asked at different ones, up to a quarter of the
// timeout earlier: by multiples of the golden ratio, which lie evenly however many there are.
Milliseconds WsSession::ping_lead() const {
  uint32_t share = id_.slot * 2654435769u;
  return settings_.idle_timeout / 4 * Milliseconds{share} >> 32;
}

// A deadline that comes too soon costs one look when it passes; moving it would cost one per
// message.
void WsSession::arm(Sink& sink) {
  Milliseconds due = next_due(sink);
  if (due == kNever || (armed_at_ != kNever && armed_at_ <= due)) return;
  armed_at_ = due;
  sink.set_deadline(due);
}

void WsSession::deadline(Sink& sink) {
  armed_at_ = kNever;
  Milliseconds due = next_due(sink);
  if (due == kNever || sink.now() < due) return arm(sink);
  // JavaScript does not get done with what came before: the peer waits no longer.
  if (state_ == State::Ending) return close(ending_code_, {}, sink);
  if (state_ != State::Open) {
    if (state_ == State::Closing) end(kAbnormal, false, ErrorCode::WsTimeout, sink);
    return sink.abort(CloseCause::TimedOut);
  }
  Milliseconds message = message_due(sink);
  bool is_late = message != kNever && message <= sink.now();
  if (settings_.pings && !pinged_ && !is_late) {
    pinged_ = true;
    put(Opcode::Ping, {}, false, true, sink);
    return arm(sink);
  }
  fail(ErrorCode::WsTimeout, sink, CloseCause::TimedOut);
}

}  // namespace millrace::ws
