// What a WebSocket session sends: framing, compression, order, and how much may wait.
#include <algorithm>
#include <cstring>

#include "core/proto/ws/session.h"

namespace millrace::ws {
namespace {

// What the connection is given ahead. Further frames wait here, so that a pong or a close frame
// can overtake them.
constexpr size_t kAheadBytes = 64 * 1024;
// Frames up to this size are put together on the stack.
constexpr size_t kStackFrame = 1024;
// A peer that lets more wait is not read until it has taken half of it.
constexpr size_t kChokeBytes = 256 * 1024;
// Status of a Sent event.
constexpr uint16_t kWasDropped = 1;
// With Overflow::Buffer a socket may hold so many times its limit; then it is closed all the same.
constexpr size_t kBufferTimes = 16;

void drop_blob(const Command& command) {
  if ((command.flags & kCommandBodyIsBlob) == 0) return;
  Blob dropped = Blob::adopt(reinterpret_cast<char*>(command.blob),
                             command.body_length + kBlobFront + kBlobBack);
}

}  // namespace

void WsSession::command(const Command& command, Sink& sink) {
  const char* bytes = reinterpret_cast<const char*>(&command) + sizeof(Command);
  Bytes content(bytes + command.header_length, command.body_length);
  switch (static_cast<CommandKind>(command.kind)) {
    case CommandKind::Send: return send(command, content, sink);
    case CommandKind::CloseSocket: return close(command.status, content, sink);
    case CommandKind::Report: return ask(command.amount, static_cast<uint32_t>(command.blob), sink);
    case CommandKind::Hold:
      if (state_ != State::Open) return;
      held_ = command.amount != 0;
      if (held_) {
        sink.pause();
      } else {
        stuck_ = true;
        sink.resume();
      }
      return arm(sink);
    default: return drop_blob(command);
  }
}

// --- sending ---

void WsSession::send(const Command& command, Bytes payload, Sink& sink) {
  if ((command.flags & kCommandShared) != 0) return send_shared(command, sink);
  put_sent(command, payload, sink);
  // Last: before it is among what waits, JavaScript would count it nowhere.
  sink.count_taken(id_, command.body_length);
}

void WsSession::put_sent(const Command& command, Bytes payload, Sink& sink) {
  offer_excess(command.body_length, sink);
  if (!may_send()) return drop_blob(command);
  auto opcode = static_cast<Opcode>(command.status);
  bool compressed = may_compress(command, command.body_length);
  if ((command.flags & kCommandBodyIsBlob) == 0) {
    if (!compressed || !put_compressed(opcode, payload, sink))
      put(opcode, payload, false, false, sink);
    return;
  }
  size_t size = command.body_length + kBlobFront + kBlobBack;
  Blob blob = Blob::adopt(reinterpret_cast<char*>(command.blob), size);
  Bytes inside(blob.data() + kBlobFront, command.body_length);
  if (compressed && put_compressed(opcode, inside, sink)) return;
  put_blob(opcode, std::move(blob), command.body_length, false, sink);
}

// Much may have been sent in this turn alone: only what the kernel does not take counts. Before so
// many bytes more are queued, because the meter, by which JavaScript judges, must not show more
// than the limit unless the peer is to blame. The connection may end by it.
void WsSession::offer_excess(size_t size, Sink& sink) {
  size_t last = SIZE_MAX;
  while (may_send()) {
    size_t now = waiting(sink);
    if (now == 0 || now + size <= settings_.backlog_bytes_max || now >= last) return;
    last = now;
    sink.flush();  // the next kAheadBytes
  }
}

// Too much waits already: what the settings say happens. True when the message, of `size` bytes, is
// not to be sent.
bool WsSession::overflows(size_t size, Sink& sink) {
  offer_excess(size, sink);
  if (!may_send()) return true;
  size_t now = waiting(sink);
  if (now <= settings_.backlog_bytes_max) return false;
  if (settings_.overflow == Overflow::Drop) {
    sink.count_dropped();
    return true;
  }
  if (settings_.overflow == Overflow::Buffer && now / kBufferTimes <= settings_.backlog_bytes_max)
    return false;
  fail(ErrorCode::WsBacklog, sink, CloseCause::TimedOut);
  return true;
}

void WsSession::send_shared(const Command& command, Sink& sink) {
  SharedMessageRef message(reinterpret_cast<SharedMessage*>(command.blob));
  if (!may_send()) return;
  if (overflows(message.get()->payload().size(), sink)) {
    // Whoever asked is told; of a socket that was closed for it, Ended has told already.
    if (may_send() && command.amount != 0)
      sink.notify({id_, EventKind::Sent, kWasDropped, command.amount});
    return;
  }
  auto opcode = static_cast<Opcode>(message.get()->opcode());
  bool compressed =
      may_compress(command, message.get()->payload().size()) && !message.get()->is_incompressible();
  if (role_ == Role::Client) {
    // Each frame of a client has a mask of its own (RFC 6455 5.3).
    if (!compressed || !put_compressed(opcode, message.get()->payload(), sink))
      put(opcode, message.get()->payload(), false, false, sink);
  } else {
    Bytes part = compressed ? shared_frame(*message.get(), sink) : message.get()->frame();
    queue({Blob(), std::move(message), part}, sink);
  }
  if (command.amount != 0) ask(0, command.amount, sink);
}

FrameHead WsSession::head_of(Opcode opcode, size_t length, bool compressed, Sink& sink) const {
  FrameHead head;
  head.opcode = opcode;
  head.fin = true;
  head.rsv1 = compressed;
  head.masked = role_ == Role::Client;
  if (head.masked) head.mask = sink.random();
  head.length = length;
  return head;
}

// Nothing waits that it would overtake, and the connection may have more.
bool WsSession::is_clear(const Sink& sink) const {
  return (backlog_ == nullptr || backlog_->frames.empty()) && sink.buffered() < kAheadBytes;
}

// One frame of bytes that are not ours. `at_once`: ahead of what waits here.
void WsSession::put(Opcode opcode, Bytes payload, bool compressed, bool at_once, Sink& sink) {
  FrameHead head = head_of(opcode, payload.size(), compressed, sink);
  size_t head_size = frame_head_size(payload.size(), head.masked);
  size_t size = head_size + payload.size();
  bool now = at_once || is_clear(sink);
  if (!now || size > kStackFrame) {
    Blob frame = Blob::uninitialized(size);
    char* out = write_frame_head(head, frame.data());
    if (head.masked) {
      copy_masked(payload, out, head.mask, 0);
    } else if (!payload.empty()) {
      std::memcpy(out, payload.data(), payload.size());
    }
    Waiting next{std::move(frame), SharedMessageRef(), {}};
    if (!now) return queue(std::move(next), sink);
    overtake(size);
    return write(std::move(next), sink);
  }
  char frame[kStackFrame + kFrameHeadMax];
  char* out = write_frame_head(head, frame);
  if (head.masked) {
    copy_masked(payload, out, head.mask, 0);
  } else if (!payload.empty()) {
    std::memcpy(out, payload.data(), payload.size());
  }
  overtake(size);
  sink.write(Bytes(frame, size));
  if (counts_waiting_) note_waiting(sink);
}

// So many bytes go to the connection ahead of all that waits here.
void WsSession::overtake(size_t size) {
  uint64_t given = written_ - (backlog_ == nullptr ? 0 : backlog_->bytes);
  written_ += size;
  if (given == written_ - size) return;
  for (Asked& each : backlog_->asked) {
    if (each.position > given) each.position += size;
  }
}

// One frame whose payload lies behind kBlobFront spare bytes.
void WsSession::put_blob(Opcode opcode, Blob blob, size_t length, bool compressed, Sink& sink) {
  FrameHead head = head_of(opcode, length, compressed, sink);
  size_t head_size = frame_head_size(length, head.masked);
  char* payload = blob.data() + kBlobFront;
  if (head.masked) apply_mask(MutableBytes(payload, length), head.mask, 0);
  static_cast<void>(write_frame_head(head, payload - head_size));
  blob.shrink(kBlobFront + length);
  Waiting next{std::move(blob), SharedMessageRef(), {}};
  next.from = kBlobFront - head_size;
  queue(std::move(next), sink);
}

// --- compression ---

bool WsSession::may_compress(const Command& command, size_t size) const {
  return deflate_ != nullptr && (command.flags & kCommandCompress) != 0 && command.status <= 2 &&
         size >= settings_.deflate.threshold;
}

// False when it was not worth it: then nothing was sent.
bool WsSession::put_compressed(Opcode opcode, Bytes payload, Sink& sink) {
  size_t used = kBlobFront;
  Blob out = Blob::uninitialized(kBlobFront + payload.size() / 2 + 64);
  if (!compress(payload, out, used, sink)) return false;
  size_t length = used - kBlobFront;
  // With context takeover the peer has to have it: our stream remembers it.
  if (length >= payload.size() && !deflate_->agreed.own_takeover) return false;
  put_blob(opcode, std::move(out), length, true, sink);
  return true;
}

bool WsSession::compress(Bytes payload, Blob& out, size_t& used, Sink& sink) {
  int bits = deflate_->agreed.own_window_bits;
  if (!deflate_->agreed.own_takeover) {
    std::unique_ptr<Deflater> one =
        sink.deflate_pool().take_deflater(settings_.deflate.level, bits);
    if (one == nullptr) return false;
    bool done = one->compress(payload, out, used);
    if (done) sink.deflate_pool().give_back(std::move(one));
    return done;
  }
  if (deflate_->deflater == nullptr) {
    deflate_->deflater = Deflater::make(settings_.deflate.level, bits);
    if (deflate_->deflater == nullptr) return false;
  } else if (deflate_->is_stale) {
    deflate_->deflater->reset();
  }
  deflate_->is_stale = false;
  if (deflate_->deflater->compress(payload, out, used)) return true;
  deflate_->deflater = nullptr;
  return false;
}

// The frame to send of a message that goes to many: compressed once, by whoever comes first.
Bytes WsSession::shared_frame(SharedMessage& message, Sink& sink) {
  if (deflate_->agreed.own_window_bits != 15) return message.frame();
  if (message.compressed_frame().empty() && !message.is_incompressible())
    compress_shared(message, sink);
  Bytes compressed = message.compressed_frame();
  if (compressed.empty()) return message.frame();
  // It refers to nothing before it, but the peer's window has it, and our own stream's has not.
  deflate_->is_stale = true;
  return compressed;
}

void WsSession::compress_shared(SharedMessage& message, Sink& sink) {
  std::unique_ptr<Deflater> one = sink.deflate_pool().take_deflater(settings_.deflate.level, 15);
  if (one == nullptr) return message.set_incompressible();
  Bytes payload = message.payload();
  size_t used = kBlobFront;
  Blob out = Blob::uninitialized(kBlobFront + payload.size() / 2 + 64);
  bool done = one->compress(payload, out, used);
  if (done) sink.deflate_pool().give_back(std::move(one));
  size_t length = used - kBlobFront;
  if (!done || length >= payload.size()) return message.set_incompressible();
  FrameHead head = head_of(static_cast<Opcode>(message.opcode()), length, true, sink);
  size_t from = kBlobFront - frame_head_size(length, false);
  static_cast<void>(write_frame_head(head, out.data() + from));
  message.install_compressed(Bytes(out.data() + from, used - from));
}

// --- order ---

void WsSession::queue(Waiting next, Sink& sink) {
  written_ += next.size();
  if (is_clear(sink)) return write(std::move(next), sink);
  if (backlog_ == nullptr) backlog_ = std::make_unique<Backlog>();
  backlog_->bytes += next.size();
  backlog_->frames.push_back(std::move(next));
  note_waiting(sink);
}

void WsSession::write(Waiting next, Sink& sink) {
  if (next.message.get() != nullptr) {
    sink.write_shared(std::move(next.message), next.part);
  } else {
    sink.write_blob(std::move(next.frame), next.from);
  }
  if (counts_waiting_) note_waiting(sink);
}

void WsSession::flushed(Sink& sink) {
  took_some(sink);
  if (backlog_ == nullptr && !counts_waiting_ && !choked_) return;
  move_backlog(sink);
  judge_pace(sink);
}

void WsSession::progressed(Sink& sink) {
  took_some(sink);
  move_backlog(sink);
  judge_pace(sink);
}

// The peer takes what goes before our close frame: timeouts.write judges its pace.
void WsSession::took_some(Sink& sink) {
  if (state_ == State::Closing) closing_since_ = sink.now();
}

void WsSession::move_backlog(Sink& sink) {
  if (backlog_ == nullptr) return;
  std::deque<Waiting>& frames = backlog_->frames;
  while (!frames.empty() && sink.buffered() < kAheadBytes) {
    backlog_->bytes -= frames.front().size();
    Waiting next = std::move(frames.front());
    frames.pop_front();
    write(std::move(next), sink);
  }
}

// A peer that does not take what it is sent is not read either: it cannot make us answer without
// end.
void WsSession::judge_pace(Sink& sink) {
  answer_reports(sink);
  note_waiting(sink);
  if (backlog_ != nullptr && backlog_->frames.empty() && backlog_->asked.empty())
    backlog_ = nullptr;
  if (!may_send() && state_ != State::Closing) return;
  size_t now = waiting(sink);
  size_t most = choke_bytes();
  if (!choked_ && now > most) {
    choked_ = true;
    sink.pause();
  } else if (choked_ && now <= most / 2) {
    choked_ = false;
    stuck_ = true;
    sink.resume();
  }
}

size_t WsSession::choke_bytes() const {
  return std::min<size_t>(settings_.backlog_bytes_max / 2, kChokeBytes);
}

size_t WsSession::waiting(const Sink& sink) const {
  return sink.buffered() + (backlog_ == nullptr ? 0 : backlog_->bytes);
}

void WsSession::note_waiting(Sink& sink) {
  if (state_ == State::Over || state_ == State::Leaving) return;  // the slot may be another's
  size_t now = waiting(sink);
  if (now == 0 && !counts_waiting_) return;
  counts_waiting_ = now != 0;
  sink.set_waiting(id_, now);
}

// --- reports ---

void WsSession::ask(uint32_t low, uint32_t number, Sink& sink) {
  if (!may_send() && state_ != State::Closing) return;
  if (waiting(sink) <= low) return sink.notify({id_, EventKind::Sent, 0, number});
  if (backlog_ == nullptr) backlog_ = std::make_unique<Backlog>();
  backlog_->asked.push_back({written_ > low ? written_ - low : 0, number});
}

void WsSession::answer_reports(Sink& sink) {
  if (backlog_ == nullptr || backlog_->asked.empty()) return;
  if (state_ == State::Over || state_ == State::Leaving) return;
  size_t now = waiting(sink);
  uint64_t done = written_ > now ? written_ - now : 0;
  std::vector<Asked>& asked = backlog_->asked;
  size_t kept = 0;
  for (const Asked& each : asked) {
    if (now == 0 || each.position <= done) {
      sink.notify({id_, EventKind::Sent, 0, each.number});
    } else {
      asked[kept++] = each;
    }
  }
  asked.resize(kept);
}

}  // namespace millrace::ws
