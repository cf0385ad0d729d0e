// Streams of the HTTP/1 session: a request body that is handed on while it comes, and a response
// that is written piece by piece. The framing of bodies is in session_body.cpp.
#include <algorithm>
#include <cstring>
#include <utility>

#include "core/model/request_event.h"
#include "core/proto/http1/session.h"

namespace millrace::http1 {
namespace {

// What a response that is written piece by piece holds while its peer does not read: JavaScript's
// high-water mark and a piece.
constexpr size_t kStreamedBytes = 192 * 1024;

// A part's head has to fit into an event, with its name and filename said twice.
constexpr uint64_t kPartHeadBytesMax = kInlineBodyMax / 2;

// The content of a Parts command: the limits, then the boundary. JavaScript has checked both.
std::unique_ptr<PartsReader> parts_of(ExchangeId id, Bytes content) {
  MultipartLimits limits;
  MR_CHECK(content.size() > sizeof(limits));
  std::memcpy(static_cast<void*>(&limits), content.data(), sizeof(limits));
  limits.header_bytes_max = std::min(limits.header_bytes_max, kPartHeadBytesMax);
  content.remove_prefix(sizeof(limits));
  MR_CHECK(is_multipart_boundary(content));
  return std::make_unique<PartsReader>(id, content, limits);
}

}  // namespace

// --- the request body ---

bool Http1Session::is_streaming(ExchangeId id) const {
  return reading_ != nullptr && reading_->stream != nullptr && reading_->stream->id() == id;
}

// The handler is called now; there is room, can_open_exchange() said so.
void Http1Session::begin_stream(Sink& sink) {
  Reading& reading = *reading_;
  ExchangeId id = reading.answer.id = sink.open_exchange();
  Event* event = sink.begin_event(id, reading.record.size());
  MR_CHECK(event != nullptr);
  uint32_t record_size = event->size;
  std::memcpy(static_cast<void*>(event), reading.record.data(), reading.record.size());
  event->size = record_size;
  if (reading.route->body == BodyMode::Stream) event->flags |= kEventBodyFollows;
  reading.record = Blob();
  reading.stream = std::make_unique<BodyStream>(id);
  // Of unknown length it waits for the answer's end, so that it is not the timing that decides what
  // the answer says of the connection.
  if (reading.route->body == BodyMode::None && !reading.rules.chunked)
    reading.stream->drop(static_cast<uint64_t>(sink.limits().discard_bytes_max));
  publish(*event, std::move(reading.answer), sink);
}

bool Http1Session::may_read_body(Sink& sink) {
  BodyStream* stream = reading_->stream.get();
  if (stream == nullptr) return true;
  if (!advance_stream(sink)) return false;
  if (!stream->wants_more(sink)) {
    held(sink);
    return false;
  }
  if (reading_->held_since != kNever) {
    // The time that we did not read is not the peer's.
    reading_->started += sink.now() - reading_->held_since;
    reading_->progress = sink.now();
    reading_->held_since = kNever;
  }
  return true;
}

// False when the body has turned out to be broken.
bool Http1Session::advance_stream(Sink& sink) {
  reading_->stream->advance(sink);
  ErrorCode error = reading_->stream->error();
  if (error == ErrorCode::None) return true;
  break_body(error, sink);
  return false;
}

void Http1Session::held(Sink& sink) {
  held_back_ = true;
  sink.pause();
  if (reading_->held_since != kNever) return;
  reading_->held_since = sink.now();
  // From here on the handler is waited for.
  Answer* answer = reading_->stream == nullptr ? nullptr : answers_.find(reading_->stream->id());
  if (answer != nullptr) answer->started = sink.now();
}

// False when nothing more of this body is read.
bool Http1Session::take_body(Bytes bytes, Sink& sink) {
  if (reading_->stream == nullptr) {
    keep(bytes);
    return true;
  }
  reading_->size += bytes.size();
  if (reading_->stream->feed(bytes, sink)) return true;
  break_body(ErrorCode::BodyTooLarge, sink, CloseCause::CloseCalled);
  return false;
}

void Http1Session::keep_trailers(const HeaderField* fields, uint32_t count) {
  if (count == 0) return;
  reading_->trailers = Blob::uninitialized(fields_text_size(fields, count));
  write_fields_text(fields, count, reading_->trailers.data());
}

bool Http1Session::end_stream(Sink& sink) {
  BodyStream& stream = *reading_->stream;
  stream.finish();
  if (!advance_stream(sink)) return false;
  if (!stream.is_dropped()) {
    if (!stream.is_settled() || !sink.can_emit()) {
      held(sink);
      phase_ = Phase::Complete;
      return false;
    }
    stream.end(reading_->trailers.bytes(), sink);
    Answer* answer = answers_.find(stream.id());
    if (answer != nullptr) answer->started = sink.now();  // now it is the handler's turn
  }
  reading_ = nullptr;
  phase_ = Phase::Head;
  waiting_since_ = sink.now();
  return true;
}

// The body does not come to a good end. A handler that reads it is told and answers; nothing that
// follows on this connection can be trusted.
void Http1Session::break_body(ErrorCode code, Sink& sink, CloseCause cause) {
  if (reading_ == nullptr || reading_->stream == nullptr) return refuse(code, sink, cause);
  bool is_dropped = reading_->stream->is_dropped();
  ExchangeId id = reading_->stream->id();
  phase_ = Phase::Dead;
  reading_ = nullptr;
  offered_ = 0;
  last_request_ = true;
  if (!is_dropped) {
    sink.count_refusal(code);
    sink.notify({id, EventKind::BodyFailed, static_cast<uint16_t>(code)});
  }
  if (answers_.is_empty()) return end(cause, sink);
  Answer& last = answers_[answers_.size() - 1];
  last.close = true;
  last.cause = cause;
  sink.resume();  // what comes is dropped, and the peer's end is seen
}

// The response has ended: nobody reads the rest any more.
void Http1Session::leave_body(Sink& sink) {
  bool is_over = cannot_leave(sink);
  reading_->stream->drop(static_cast<uint64_t>(sink.limits().discard_bytes_max));
  if (is_over) return break_body(ErrorCode::BodyTooLarge, sink, CloseCause::CloseCalled);
  sink.resume();
}

// The client may or may not send what it announced, or sends more than we care to read.
bool Http1Session::cannot_leave(const Sink& sink) const {
  const Reading& reading = *reading_;
  auto most = static_cast<uint64_t>(sink.limits().discard_bytes_max);
  return reading.waits_for_continue || (phase_ == Phase::Sized && reading.left > most);
}

void Http1Session::body_command(const Command& command, Bytes content, Sink& sink) {
  Fd file(static_cast<CommandKind>(command.kind) == CommandKind::Save
              ? static_cast<int>(command.amount)
              : -1);
  if (!is_streaming(command.exchange)) return;  // it has come to its end meanwhile
  BodyStream& stream = *reading_->stream;
  switch (static_cast<CommandKind>(command.kind)) {
    case CommandKind::Read: stream.read(command.amount); break;
    case CommandKind::Part:
      stream.take_part(command.amount, (command.flags & kCommandSkip) != 0);
      break;
    case CommandKind::Save: {
      bool digest = (command.flags & kCommandDigest) != 0;
      uint64_t limit = UINT64_MAX;
      if (content.size() == sizeof(limit)) std::memcpy(&limit, content.data(), sizeof(limit));
      if (!stream.can_save()) break;
      stream.save(std::make_unique<Saving>(std::move(file), digest, limit, sink));
      break;
    }
    case CommandKind::Parts:
      stream.read_parts(parts_of(stream.id(), content), command.amount);
      break;
    default: return;
  }
  send_continue(sink);
  sink.resume();  // also when no byte was held back: what has come may be with the stream
}

// --- the response ---

// A response begins, and no 100 can come after its head. False when its client waits for one in
// vain and may not send the body: nothing behind it can be trusted.
bool Http1Session::settle_continue(Answer& answer, Sink& sink) {
  if (!is_streaming(answer.id) || !reading_->waits_for_continue) return true;
  reading_->waits_for_continue = false;
  reading_->started = reading_->progress = sink.now();
  if (reading_->held_since != kNever) reading_->held_since = sink.now();
  if (!reading_->stream->is_wanted()) return false;
  answers_.encode_informational(answer, 100, {}, sink);
  return true;
}

void Http1Session::answer_command(const Command& command, Answer& answer, Response&& response,
                                  Sink& sink) {
  switch (static_cast<CommandKind>(command.kind)) {
    case CommandKind::Begin: {
      bool sends_all = settle_continue(answer, sink);
      bool close = !sends_all || answer.close || (command.flags & kCommandClose) != 0 ||
                   is_last(answer, sink) || (sink.draining() && answers_.is_back(answer));
      expect_more_of(kStreamedBytes, sink);
      answers_.begin(answer, std::move(response), close, sink);
      if (answer.close && answers_.is_back(answer)) last_request_ = true;
      return;
    }
    case CommandKind::Write: {
      MR_CHECK(answer.begun);
      auto size = static_cast<uint32_t>(response.body.size());
      answers_.add(answer, response.body, std::move(response.blob), sink);
      if (answer.framing == Framing::None)
        return sink.notify({answer.id, EventKind::Written, 0, size});
      // More than the count holds: as good as sent.
      if (size > UINT32_MAX - answer.unacknowledged)
        sink.notify({answer.id, EventKind::Written, 0, std::exchange(answer.unacknowledged, 0)});
      answer.unacknowledged += size;
      return;
    }
    default: break;
  }
  MR_CHECK(answer.begun);
  close_exchange(answer, true, sink);
  answers_.finish(answer, response.header_lines, sink);
  over(answer, sink);
}

}  // namespace millrace::http1
