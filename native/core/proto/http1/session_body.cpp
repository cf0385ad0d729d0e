// Bodies of the HTTP/1 session: collected natively, handed to JavaScript whole (RFC 9112 6, 7).
#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "core/model/request_event.h"
#include "core/proto/http1/head.h"
#include "core/proto/http1/session.h"

namespace millrace::http1 {
namespace {

constexpr size_t kFirstBodyBytes = 16 * 1024;

}  // namespace

// --- bodies ---

bool Http1Session::begin_body(const RequestHead& head, const RouteMatch& match,
                              uint32_t path_length, Answer&& answer, const RequestRules& rules,
                              bool body_is_here, Sink& sink) {
  reading_ = std::make_unique<Reading>();
  Reading& reading = *reading_;
  reading.route = match.route;
  reading.rules = rules;
  reading.left = rules.length;
  reading.size_max = body_bytes_max(*match.route, sink.limits());
  reading.started = reading.progress = sink.now();
  if (!is_native(*match.route)) {
    RequestText text{head, match, path_length, sink.peer().view(), variables()};
    reading.record = Blob::uninitialized(request_event_size(text));
    auto* event = new (reading.record.data()) Event();
    fill_request_event(text, *event);
  }
  reading.answer = std::move(answer);
  phase_ = rules.chunked ? Phase::Chunked : Phase::Sized;
  // RFC 9110 10.1.1: no 100 when some of the body is here already.
  reading.waits_for_continue = rules.expects_continue && !body_is_here;
  if (!is_native(*match.route) && is_called_early(*match.route)) begin_stream(sink);
  send_continue(sink);
  return true;
}

// A body that its route has no use for; the handler is called without it. Where it is too long, or
// the client may not send it, the connection ends behind the answer.
bool Http1Session::drop_body(const RequestHead& head, const RouteMatch& match, uint32_t path_length,
                             Answer&& answer, const RequestRules& rules, Bytes rest,
                             size_t& consumed, Sink& sink) {
  auto most = static_cast<uint64_t>(sink.limits().discard_bytes_max);
  bool goes_on = !rules.expects_continue && rules.length <= most;
  if (goes_on && (rules.chunked || rules.length > rest.size()))
    return begin_body(head, match, path_length, std::move(answer), rules, !rest.empty(), sink);
  size_t length = goes_on ? static_cast<size_t>(rules.length) : 0;
  if (answer.access != nullptr) answer.access->bytes_in += length;
  if (!goes_on) answer.close = last_request_ = true;
  hand_over(head, match, path_length, std::move(answer), {}, sink);
  if (!goes_on) phase_ = Phase::Dead;
  consumed += length;
  return goes_on;
}

// A 100 goes out when it is this request's turn to write; before that the client would take it for
// another answer.
void Http1Session::send_continue(Sink& sink) {
  if (reading_ == nullptr || !reading_->waits_for_continue) return;
  BodyStream* stream = reading_->stream.get();
  if (stream == nullptr ? !answers_.is_empty()
                        : !stream->is_wanted() || answers_.front().id != stream->id()) {
    return;
  }
  reading_->waits_for_continue = false;
  reading_->started = reading_->progress = sink.now();
  if (reading_->held_since != kNever) reading_->held_since = sink.now();
  sink.count_response(100);
  sink.write("HTTP/1.1 100 Continue\r\n\r\n");
}

bool Http1Session::step_sized(MutableBytes unread, size_t& consumed, Sink& sink) {
  Reading& reading = *reading_;
  if (!may_read_body(sink) || (unread.empty() && reading.left > 0)) return false;
  size_t part = static_cast<size_t>(std::min<uint64_t>(reading.left, unread.size()));
  reading.left -= part;
  consumed += part;
  body_arrived(part, sink);
  if (!take_body(Bytes(unread.data(), part), sink)) return false;
  if (reading.left == 0) return body_complete(sink);
  static_cast<void>(may_read_body(sink));  // whose delay it is until more comes
  return false;
}

bool Http1Session::step_chunked(MutableBytes unread, size_t& consumed, Sink& sink) {
  if (!may_read_body(sink) || unread.empty()) return false;
  Reading& reading = *reading_;
  auto extensions_max = static_cast<uint64_t>(sink.limits().chunk_extension_bytes_max);
  ChunkDecoder::Step step = reading.decoder.decode(unread, reading.size_max, extensions_max);
  if (step.state == ChunkDecoder::State::Broken) {
    break_body(step.error, sink);
    return false;
  }
  consumed += step.consumed;
  body_arrived(step.consumed, sink);
  if (!take_body(Bytes(unread.data(), step.produced), sink)) return false;
  if (step.state != ChunkDecoder::State::Trailers) {
    static_cast<void>(may_read_body(sink));
    return false;
  }
  phase_ = Phase::Trailers;
  offered_ = 0;
  return true;
}

bool Http1Session::step_trailers(MutableBytes unread, size_t& consumed, Sink& sink) {
  if (unread.empty()) return false;
  const Limits& limits = sink.limits();
  HeadLimits bounds{static_cast<size_t>(limits.trailer_bytes_max) + 2,
                    static_cast<size_t>(limits.header_count_max), 0};
  HeaderField* fields = sink.field_scratch();
  uint32_t count = 0;
  ErrorCode error = ErrorCode::None;
  int parsed =
      parse_fields(Bytes(unread.data(), unread.size()), offered_, bounds, fields, count, error);
  if (parsed == kNeedMore) {
    if (unread.size() > offered_) body_arrived(unread.size() - offered_, sink);
    offered_ = static_cast<uint32_t>(unread.size());
    return false;
  }
  size_t seen = std::exchange(offered_, 0);
  bool broken = parsed == kBroken;
  for (uint32_t i = 0; !broken && i < count; i++) broken = is_forbidden_trailer(fields[i].name);
  if (broken) {
    break_body(error == ErrorCode::HeadersTooLarge ? error : ErrorCode::BadTrailer, sink);
    return false;
  }
  if (static_cast<size_t>(parsed) > seen) body_arrived(static_cast<size_t>(parsed) - seen, sink);
  if (!is_native(*reading_->route)) keep_trailers(fields, count);
  consumed += static_cast<size_t>(parsed);
  return body_complete(sink);
}

void Http1Session::keep(Bytes bytes) {
  Reading& reading = *reading_;
  uint64_t size = reading.size + bytes.size();
  if (!is_native(*reading.route) && !bytes.empty()) {
    if (reading.body.size() < size) {
      // Grows with what has come, never with what was announced.
      uint64_t room = std::max<uint64_t>({size, reading.body.size() * 2, kFirstBodyBytes});
      if (reading.rules.has_length) room = std::min(room, reading.rules.length);
      reading.body.grow(static_cast<size_t>(std::max(room, size)));
    }
    std::memcpy(reading.body.data() + reading.size, bytes.data(), bytes.size());
  }
  reading.size = size;
}

// Bytes of a body have come, or of its framing.
void Http1Session::body_arrived(size_t bytes, Sink& sink) {
  if (bytes == 0) return;
  Reading& reading = *reading_;
  reading.progress = sink.now();
  if (reading.waits_for_continue) reading.started = reading.progress;
  reading.waits_for_continue = false;
  reading.arrived += bytes;
  if (!logs_access_ || reading.stream == nullptr) return;
  Answer* answer = answers_.find(reading.stream->id());
  if (answer != nullptr && answer->access != nullptr) answer->access->bytes_in += bytes;
}

bool Http1Session::body_complete(Sink& sink) {
  Reading& reading = *reading_;
  if (reading.stream != nullptr) return end_stream(sink);
  if (reading.answer.access != nullptr)
    reading.answer.access->bytes_in += std::exchange(reading.arrived, 0);
  if (is_native(*reading.route)) {
    answer_natively(*reading.route, std::move(reading.answer), sink);
  } else {
    Room room = sink.is_overloaded() ? Room::Never : look_for_room(sink);
    if (room == Room::Later) {
      phase_ = Phase::Complete;
      return false;
    }
    if (room == Room::There) hand_over_read(sink);
    if (room == Room::Never) shed_read(sink);
  }
  if (phase_ == Phase::Dead) return false;
  reading_ = nullptr;
  phase_ = Phase::Head;
  waiting_since_ = sink.now();
  return true;
}

// --- to JavaScript ---

// A lane has room for a head within its limits and kInlineBodyMax bytes. Variables say much of the
// head twice: then the body goes by itself.
bool Http1Session::fits_inline(size_t record_size, uint64_t body_size, const Limits& limits) const {
  if (body_size > kInlineBodyMax) return false;
  if (dialect_ == nullptr) return true;
  auto heads = static_cast<size_t>(limits.header_bytes_max + limits.trailer_bytes_max);
  return record_size + body_size <= sizeof(Event) + heads + kInlineBodyMax;
}

void Http1Session::hand_over(const RequestHead& head, const RouteMatch& match, uint32_t path_length,
                             Answer&& answer, Bytes body, Sink& sink) {
  answer.id = sink.open_exchange();
  RequestText text{head, match, path_length, sink.peer().view(), variables()};
  size_t size = request_event_size(text);
  bool is_inline = fits_inline(size, body.size(), sink.limits());
  Event* event = sink.begin_event(answer.id, size + (is_inline ? body.size() : 0));
  MR_CHECK(event != nullptr);
  if (answer.access != nullptr) answer.access->bytes_in += body.size();
  char* out = fill_request_event(text, *event);
  event->body_length = static_cast<uint32_t>(body.size());
  if (is_inline) {
    if (!body.empty()) std::memcpy(out, body.data(), body.size());
  } else {
    event->flags |= kEventBodyIsBlob;
    event->blob = reinterpret_cast<uint64_t>(Blob::copy(body).release());
  }
  publish(*event, std::move(answer), sink);
}

void Http1Session::hand_over_read(Sink& sink) {
  Reading& reading = *reading_;
  size_t size = reading.record.size() + reading.trailers.size();
  bool is_inline = fits_inline(size, reading.size, sink.limits());
  ExchangeId id = reading.answer.id = sink.open_exchange();
  Event* event = sink.begin_event(id, size + (is_inline ? static_cast<size_t>(reading.size) : 0));
  MR_CHECK(event != nullptr);
  uint32_t record_size = event->size;
  std::memcpy(static_cast<void*>(event), reading.record.data(), reading.record.size());
  if (!reading.trailers.empty()) {
    std::memcpy(reinterpret_cast<char*>(event) + reading.record.size(), reading.trailers.data(),
                reading.trailers.size());
  }
  event->size = record_size;
  event->head_b += static_cast<uint32_t>(reading.trailers.size());
  event->body_length = static_cast<uint32_t>(reading.size);
  if (is_inline) {
    char* out = reinterpret_cast<char*>(event) + size;
    if (reading.size > 0) std::memcpy(out, reading.body.data(), static_cast<size_t>(reading.size));
  } else {
    event->flags |= kEventBodyIsBlob;
    event->blob = reinterpret_cast<uint64_t>(reading.body.release());
  }
  reading.answer.started = sink.now();
  publish(*event, std::move(reading.answer), sink);
}

// What every request event says besides its text and body; the answer takes its place in the order.
void Http1Session::publish(Event& event, Answer&& answer, Sink& sink) {
  event.exchange = answer.id;
  if (answer.is_head) event.flags |= kEventHead;
  if (answer.upgrade != nullptr) event.flags |= kEventUpgrade;
  event.peer_port = sink.peer().port;
  event.listener = sink.listener();
  event.queued_at = static_cast<uint32_t>(sink.now());
  event.head_a = sink.connection_index();
  if (answer.access != nullptr) {
    answer.access->exchange = answer.id;
    answer.access->route = event.route;
  }
  event.status = sink.connection_generation();
  sink.end_event(&event);
  answers_.push(std::move(answer));
}

}  // namespace millrace::http1
