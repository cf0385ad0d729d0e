#include "core/proto/ws/session.h"

#include <algorithm>
#include <cstring>

namespace millrace::ws {
namespace {

constexpr size_t kFirstMessageBytes = 4096;

}  // namespace

WsSession::WsSession(const SessionOptions& options)
    : id_(options.id),
      settings_(options.settings),
      role_(options.role),
      announced_(options.is_announced) {
  if (!options.deflate.enabled) return;
  deflate_ = std::make_unique<Deflate>();
  deflate_->agreed = options.deflate;
}

WsSession::~WsSession() = default;

// --- bytes in ---

size_t WsSession::receive(MutableBytes unread, Sink& sink) {
  if (!announced_) {
    announced_ = true;
    sink.set_waiting(id_, 0);
    sink.notify({id_, EventKind::Opened, 0, 0, deflate_ != nullptr ? 1u : 0u});
  }
  heard_at_ = sink.now();
  pinged_ = false;
  if (stuck_ && incoming_ != nullptr) {
    // While it was not read it could not come.
    incoming_->timed_from = sink.now();
    incoming_->untimed = incoming_->read();
  }
  stuck_ = false;
  size_t consumed = 0;
  while (is_reading() && step(unread.subspan(consumed), consumed, sink)) {}
  // The answers to pings too; while a send is pending nobody else looks.
  if (waiting(sink) > choke_bytes()) judge_pace(sink);
  end_if_lost(sink);
  arm(sink);
  return is_reading() ? consumed : unread.size();
}

// One frame, or a piece of one; false when there is no progress without more bytes or room.
bool WsSession::step(MutableBytes unread, size_t& consumed, Sink& sink) {
  if (held_ || choked_) {
    sink.pause();  // room in the lane, which is not what it waits for, made it go on
    return false;
  }
  if (incoming_ != nullptr && incoming_->complete) return end_message(sink);
  if (incoming_ != nullptr && incoming_->in_frame) return take_piece(unread, consumed, sink);
  if (unread.empty()) return false;
  FrameHead head;
  int size = parse_frame_head(Bytes(unread.data(), unread.size()), head);
  if (size == kFrameNeedMore) return false;
  ErrorCode error = size == kFrameBroken ? ErrorCode::WsProtocol : judge(head);
  if (error != ErrorCode::None) {
    fail(error, sink);
    return false;
  }
  MutableBytes rest = unread.subspan(static_cast<size_t>(size));
  bool is_here = rest.size() >= head.length;
  if (!is_control(head.opcode) && !(is_here && head.fin && incoming_ == nullptr)) {
    consumed += static_cast<size_t>(size);
    return begin_frame(head, sink) && take_piece(rest, consumed, sink);
  }
  // Before the payload is touched: without room all of it is read again.
  if (!is_here || !may_hand_over(sink)) return false;
  MutableBytes payload = rest.first(static_cast<size_t>(head.length));
  consumed += static_cast<size_t>(size) + payload.size();
  if (head.masked) apply_mask(payload, head.mask, 0);
  Bytes bytes(payload.data(), payload.size());
  if (is_control(head.opcode)) return take_control(head.opcode, bytes, sink);
  return head.rsv1 ? inflate_whole(head, bytes, sink) : take_whole(head.opcode, bytes, sink);
}

// What a well-formed head may still do wrong here.
ErrorCode WsSession::judge(const FrameHead& head) const {
  if (head.masked != (role_ == Role::Server)) return ErrorCode::WsProtocol;
  bool is_first = head.opcode == Opcode::Text || head.opcode == Opcode::Binary;
  if (head.rsv1 && (!is_first || deflate_ == nullptr)) return ErrorCode::WsProtocol;
  if (is_control(head.opcode)) return ErrorCode::None;
  if (is_first == (incoming_ != nullptr)) return ErrorCode::WsProtocol;
  bool is_compressed = is_first ? head.rsv1 : incoming_->compressed;
  size_t before = is_first || is_compressed ? 0 : incoming_->used;
  size_t payload_most = payload_max(is_first ? head.opcode : incoming_->opcode);
  if (is_compressed) {
    // What comes out is judged as it comes; but empty blocks could go on without end (RFC 1951).
    uint64_t most = uint64_t{payload_most} + payload_most / 8 + 1024;
    uint64_t arrived = is_first ? 0 : incoming_->arrived;
    return head.length > most - arrived ? ErrorCode::WsTooBig : ErrorCode::None;
  }
  if (head.length > payload_most - before) return ErrorCode::WsTooBig;
  return ErrorCode::None;
}

size_t WsSession::payload_max(Opcode opcode) const {
  if (opcode != Opcode::Text) return settings_.payload_bytes_max;
  return std::min(settings_.payload_bytes_max, settings_.text_bytes_max);
}

bool WsSession::may_hand_over(Sink& sink) {
  if (state_ != State::Open || sink.can_emit()) return true;
  stuck_ = true;
  return false;
}

bool WsSession::take_control(Opcode opcode, Bytes bytes, Sink& sink) {
  if (opcode == Opcode::Close) return take_close(bytes, sink);
  if (state_ != State::Open) return true;
  EventKind kind = opcode == Opcode::Ping ? EventKind::Ping : EventKind::Pong;
  Event* event = sink.begin_event(id_, sizeof(Event) + bytes.size());
  event->kind = static_cast<uint16_t>(kind);
  event->exchange = id_;
  event->body_length = static_cast<uint32_t>(bytes.size());
  copy_to(reinterpret_cast<char*>(event + 1), bytes);
  sink.end_event(event);
  // RFC 6455 5.5.2: with the same payload. It overtakes the messages that still wait here.
  if (kind == EventKind::Ping && settings_.automatic_pong)
    put(Opcode::Pong, bytes, false, true, sink);
  return state_ == State::Open;
}

// --- messages in ---

bool WsSession::take_whole(Opcode opcode, Bytes bytes, Sink& sink) {
  Utf8Check check;
  if (opcode == Opcode::Text && (!check.feed(bytes) || !check.is_complete())) {
    fail(ErrorCode::WsBadText, sink);
    return false;
  }
  hand_over(opcode, check.is_ascii(), bytes, Blob(), sink);
  return true;
}

bool WsSession::begin_frame(const FrameHead& head, Sink& sink) {
  if (incoming_ == nullptr) {
    incoming_ = std::make_unique<Incoming>();
    incoming_->opcode = head.opcode;
    incoming_->compressed = head.rsv1;
    incoming_->timed_from = sink.now();
    if (head.rsv1) {
      incoming_->inflater = take_inflater(sink);
      if (incoming_->inflater == nullptr) {
        fail(ErrorCode::WsBadDeflate, sink);
        return false;
      }
    }
  }
  Incoming& incoming = *incoming_;
  incoming.in_frame = true;
  incoming.is_last = head.fin;
  incoming.left = head.length;
  incoming.arrived += head.length;
  incoming.phase = 0;
  incoming.mask = head.masked ? head.mask : 0;
  return true;
}

bool WsSession::take_piece(MutableBytes rest, size_t& consumed, Sink& sink) {
  Incoming& incoming = *incoming_;
  auto size = static_cast<size_t>(std::min<uint64_t>(incoming.left, rest.size()));
  MutableBytes piece = rest.first(size);
  if (incoming.mask != 0) apply_mask(piece, incoming.mask, static_cast<size_t>(incoming.phase & 3));
  consumed += size;
  incoming.phase += size;
  incoming.left -= size;
  bool is_over = incoming.left == 0;
  if (!add(Bytes(piece.data(), size), is_over && incoming.is_last, sink)) return false;
  if (!is_over) return false;
  incoming.in_frame = false;
  if (!incoming.is_last) return true;
  incoming.complete = true;
  return end_message(sink);
}

// Bytes of the message, at most payload_max() of them whatever the peer announces.
bool WsSession::add(Bytes piece, bool is_last, Sink& sink) {
  Incoming& incoming = *incoming_;
  size_t before = incoming.used;
  ErrorCode error = ErrorCode::None;
  if (incoming.compressed) {
    error = incoming.inflater->inflate(piece, is_last, payload_max(incoming.opcode), incoming.bytes,
                                       incoming.used);
  } else if (!piece.empty()) {
    size_t needed = incoming.used + piece.size();
    if (needed > incoming.bytes.size()) {
      size_t step = std::max({kFirstMessageBytes, needed, incoming.bytes.size() * 2});
      size_t due = incoming.is_last ? needed + static_cast<size_t>(incoming.left) : step;
      incoming.bytes.grow(std::max(needed, std::min(step, due)));
    }
    std::memcpy(incoming.bytes.data() + incoming.used, piece.data(), piece.size());
    incoming.used = needed;
  }
  if (incoming.opcode == Opcode::Text) {
    // Also of what came out before an error: whichever comes first is told, however it was cut.
    Bytes fresh = incoming.bytes.bytes().substr(before, incoming.used - before);
    bool is_whole = is_last && error == ErrorCode::None;
    if (!incoming.utf8.feed(fresh) || (is_whole && !incoming.utf8.is_complete()))
      error = ErrorCode::WsBadText;
  }
  if (error == ErrorCode::None) return true;
  fail(error, sink);
  return false;
}

bool WsSession::end_message(Sink& sink) {
  if (!may_hand_over(sink)) return false;
  std::unique_ptr<Incoming> incoming = std::move(incoming_);
  if (incoming->inflater != nullptr) give_back(std::move(incoming->inflater), sink);
  bool ascii = incoming->utf8.is_ascii();
  Bytes bytes = incoming->bytes.bytes().substr(0, incoming->used);
  hand_over(incoming->opcode, ascii, bytes, std::move(incoming->bytes), sink);
  return true;
}

bool WsSession::inflate_whole(const FrameHead& head, Bytes bytes, Sink& sink) {
  if (!begin_frame(head, sink)) return false;
  incoming_->in_frame = false;
  if (!add(bytes, true, sink)) return false;
  incoming_->complete = true;
  return end_message(sink);
}

// `blob` owns the bytes, or is empty.
void WsSession::hand_over(Opcode opcode, bool ascii, Bytes bytes, Blob blob, Sink& sink) {
  if (state_ != State::Open) return;  // nobody is told of what comes behind our close frame
  bool is_inline = bytes.size() <= kInlineBodyMax;
  Event* event = sink.begin_event(id_, sizeof(Event) + (is_inline ? bytes.size() : 0));
  event->kind = static_cast<uint16_t>(EventKind::Message);
  event->exchange = id_;
  event->body_length = static_cast<uint32_t>(bytes.size());
  if (opcode == Opcode::Text)
    event->flags = static_cast<uint16_t>(kEventText | (ascii ? kEventAscii : 0));
  if (is_inline) {
    copy_to(reinterpret_cast<char*>(event + 1), bytes);
  } else {
    if (blob.empty()) blob = Blob::copy(bytes);
    event->flags |= kEventBodyIsBlob;
    event->blob = reinterpret_cast<uint64_t>(blob.release());
  }
  sink.end_event(event);
}

std::unique_ptr<Inflater> WsSession::take_inflater(Sink& sink) {
  if (deflate_->inflater != nullptr) return std::move(deflate_->inflater);
  return sink.deflate_pool().take_inflater(deflate_->agreed.peer_window_bits);
}

void WsSession::give_back(std::unique_ptr<Inflater> inflater, Sink& sink) {
  if (deflate_->agreed.peer_takeover) {
    deflate_->inflater = std::move(inflater);
  } else {
    sink.deflate_pool().give_back(std::move(inflater));
  }
}

}  // namespace millrace::ws
