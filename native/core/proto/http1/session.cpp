#include "core/proto/http1/session.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "core/model/request_event.h"
#include "core/proto/http1/head.h"

namespace millrace::http1 {
namespace {

// What an answer is taken for on a connection that has not been answered yet.
constexpr size_t kUnknownAnswerBytes = 256 * 1024;
constexpr Milliseconds kRateGrace = 1000;  // no pace is judged sooner

HeadLimits head_limits(const Limits& limits) {
  return {static_cast<size_t>(limits.header_bytes_max),
          static_cast<size_t>(limits.header_count_max),
          static_cast<size_t>(limits.request_line_bytes_max)};
}

}  // namespace

std::unique_ptr<Session> make_session() { return std::make_unique<Http1Session>(); }

// --- bytes in ---

size_t Http1Session::receive(MutableBytes unread, Sink& sink) {
  if (!started_) {
    started_ = true;
    logs_access_ = sink.logs_access();
    waiting_since_ = sink.now();
    ErrorCode refused = sink.refused_at_entry();
    if (refused != ErrorCode::None) refuse(refused, sink);
  }
  held_back_ = waits_for_room_ = false;
  if (phase_ == Phase::Dead && !unread.empty()) has_all_ = false;
  in_receive_ = true;
  size_t consumed = 0;
  while (phase_ != Phase::Dead && step(unread.subspan(consumed), consumed, sink)) {}
  in_receive_ = false;
  end_if_over(sink);
  arm(sink);
  return phase_ == Phase::Dead ? unread.size() : consumed;
}

// One piece of progress; false when there is none without more bytes or room.
bool Http1Session::step(MutableBytes unread, size_t& consumed, Sink& sink) {
  switch (phase_) {
    case Phase::Head: return step_head(unread, consumed, sink);
    case Phase::Sized: return step_sized(unread, consumed, sink);
    case Phase::Chunked: return step_chunked(unread, consumed, sink);
    case Phase::Trailers: return step_trailers(unread, consumed, sink);
    case Phase::Complete: return body_complete(sink);
    case Phase::Upgrading: return step_upgrading(unread, sink);
    case Phase::Dead: break;
  }
  return false;
}

bool Http1Session::has_room(Sink& sink) const {
  const Limits& limits = sink.limits();
  // What is being answered will want room too: as much as the answers before it did.
  size_t unknown =
      std::min(kUnknownAnswerBytes, static_cast<size_t>(limits.buffered_bytes_max) / 3);
  size_t each = knows_answers_ ? answer_bytes_ : unknown;
  size_t promised = answers_.unanswered() * each;
  return answers_.size() + answers_.leaving() < static_cast<size_t>(limits.pipeline_max) &&
         sink.files_queued() < 2 &&
         sink.buffered() + answers_.held_bytes() + promised <
             static_cast<size_t>(limits.buffered_bytes_max);
}

bool Http1Session::step_head(MutableBytes unread, size_t& consumed, Sink& sink) {
  if (last_request_) {
    has_all_ = unread.empty();
    phase_ = Phase::Dead;  // what follows a Connection: close is not ours to read
    return false;
  }
  if (unread.empty()) return false;
  if (!has_room(sink)) {
    held_back_ = true;
    sink.pause();
    return false;
  }
  // One that waited for room is parsed again.
  if (offered_ == 0 && starved_since_ == kNever) waiting_since_ = sink.now();
  is_head_ = false;
  RequestHead head;
  ErrorCode error = ErrorCode::None;
  Bytes input(unread.data(), unread.size());
  int parsed = dialect_ == nullptr
                   ? parse_request_head(input, offered_, head_limits(sink.limits()), head,
                                        sink.field_scratch(), error)
                   : dialect_->parse(input, sink.limits(), head, sink.field_scratch(), error);
  if (parsed == kNeedMore) {
    // The empty line that some clients send behind a request does not begin another (RFC 9112 2.2).
    offered_ = input == "\r\n" ? 0 : static_cast<uint32_t>(input.size());
    return false;
  }
  offered_ = 0;
  if (parsed == kBroken) {
    if (logs_access_) begin_access({}, input.size(), sink);
    refuse(error, sink);
    return false;
  }
  Bytes rest = input.substr(static_cast<size_t>(parsed));
  return begin_request(head, input.size() - rest.size(), rest, consumed, sink);
}

bool Http1Session::begin_request(const RequestHead& head, size_t head_size, Bytes rest,
                                 size_t& consumed, Sink& sink) {
  Method method = method_of(head.method);
  is_head_ = method == Method::Head;
  if (logs_access_) begin_access(head, head_size, sink);
  RequestRules rules;
  ErrorCode error = dialect_ == nullptr ? apply_rules(head, rules) : dialect_->judge(rules);
  if (error != ErrorCode::None) {
    refuse(error, sink);
    return false;
  }
  RouteMatch match;
  uint32_t path_length = 0;
  sink.match_route(method, head.method, head.target, match, path_length);
  Answer answer;
  bool is_here = !rules.chunked && rules.length <= rest.size();
  if (!is_native(*match.route) && !admit(head, rules, is_here, match, answer, sink)) return false;
  const Route& route = *match.route;
  const bool is_early = answer.close;  // answered without its body
  consumed += head_size;
  requests_++;
  sink.count_request(route);

  auto connection_max = static_cast<uint32_t>(sink.limits().requests_per_connection_max);
  answer.started = sink.now();
  answer.is_head = is_head_;
  answer.is_connect = method == Method::Connect;
  answer.http10 = head.minor_version == 0;
  answer.keep_alive = rules.says_keep_alive;
  if (!is_native(route)) answer.route_lines = route.headers;
  if (route.kind == RouteKind::File) answer.file = file_answer_of(route, match, head, path_length);
  // What follows a CONNECT is meant for the other end of a tunnel (RFC 9110 9.3.6), never a
  // request.
  answer.close = rules.close || method == Method::Connect ||
                 (connection_max != 0 && requests_ >= connection_max);

  if (!is_early) error = judge_body(route, rules, method, body_bytes_max(route, sink.limits()));
  if (error != ErrorCode::None) {
    refuse(error, sink);
    return false;
  }
  answer.access = std::move(judged_);
  bool has_body = rules.chunked || rules.length > 0;
  if (is_early || (is_native(route) && has_body && rules.expects_continue)) {
    // Before the body, which the client may or may not send now: nothing after it can be trusted.
    answer.close = true;
    last_request_ = true;
    answer_natively(route, std::move(answer), sink);
    return true;
  }
  last_request_ = answer.close;
  if (!has_body && is_native(route)) {
    answer_natively(route, std::move(answer), sink);
    return true;
  }
  if (has_body && !is_native(route) && route.body == BodyMode::None)
    return drop_body(head, match, path_length, std::move(answer), rules, rest, consumed, sink);
  if (is_here && !is_native(route) && (route.body != BodyMode::Stream || !has_body)) {
    size_t length = static_cast<size_t>(rules.length);
    if (answer.upgrade != nullptr) phase_ = Phase::Upgrading;
    hand_over(head, match, path_length, std::move(answer), rest.substr(0, length), sink);
    consumed += length;
    return true;
  }
  return begin_body(head, match, path_length, std::move(answer), rules, !rest.empty(), sink);
}

// --- answers ---

void Http1Session::answer_natively(const Route& route, Answer&& answer, Sink& sink) {
  Response response;
  response.status = route.status;
  response.header_lines = route.headers;
  response.body = route.content;
  response.body_is_static = true;
  switch (route.kind) {
    case RouteKind::Ready:
      if (!sink.draining()) break;
      response.status = 503;
      response.body = "draining\n";
      break;
    case RouteKind::NotFound:
      response.status = 404;
      response.header_lines = "Content-Type: text/plain;charset=utf-8\r\n";
      response.body = "Not Found\n";
      break;
    case RouteKind::MethodNotAllowed:
      response.status = 405;
      response.body = "Method Not Allowed\n";
      break;
    case RouteKind::Options:
      response.status = 204;
      response.body = {};
      break;
    case RouteKind::Metrics:
      response.header_lines =
          "Content-Type: text/plain; version=0.0.4;charset=utf-8\r\nCache-Control: no-store\r\n";
      response.blob = sink.metrics_text();
      response.body = response.blob.bytes();
      break;
    default: break;
  }
  Answer& pushed = answers_.push(std::move(answer));
  if (pushed.file != nullptr) return advance(sink);
  bool close = pushed.close || (sink.draining() && answers_.size() == 1);
  answers_.encode(pushed, std::move(response), close, sink);
  if (close) last_request_ = true;
  advance(sink);
}

void Http1Session::command(const Command& command, Sink& sink) {
  Answer* answer = answers_.find(command.exchange);
  MR_CHECK(answer != nullptr);  // the loop's exchange table led here
  auto kind = static_cast<CommandKind>(command.kind);
  if (kind == CommandKind::Tell) {
    answer->tells = true;
    return;
  }
  Response response;
  const char* bytes = reinterpret_cast<const char*>(&command) + sizeof(Command);
  response.status = command.status;
  response.flags = command.flags;
  response.header_lines = Bytes(bytes, command.header_length);
  response.body = Bytes(bytes + command.header_length, command.body_length);
  bool is_write = kind == CommandKind::Write;
  if ((command.flags & kCommandBodyIsBlob) != 0) {
    size_t spare = is_write ? kBlobFront + kBlobBack : 0;
    auto* blob = reinterpret_cast<char*>(command.blob);
    response.blob = Blob::adopt(blob, command.body_length + spare);
    response.body = Bytes(blob + (is_write ? kBlobFront : 0), command.body_length);
  }
  if (kind == CommandKind::Upgrade)
    return change_over(command, *answer, response.header_lines, sink);
  if (answer->upgrade != nullptr && kind != CommandKind::Informational) stay(*answer, sink);
  switch (kind) {
    case CommandKind::SendFile:
      answer->file = file_answer_of(response.body);
      answer->file->status = command.status;
      answer->file->flags = command.flags;
      answer->file->lines = response.header_lines;
      advance(sink);
      break;
    case CommandKind::Informational:
      return answers_.encode_informational(*answer, command.status, response.header_lines, sink);
    case CommandKind::Begin:
    case CommandKind::Write:
    case CommandKind::End: answer_command(command, *answer, std::move(response), sink); break;
    case CommandKind::Respond: {
      expect_more_of(response.header_lines.size() + (answer->is_head ? 0 : response.body.size()),
                     sink);
      bool close = answer->close || (command.flags & kCommandClose) != 0 ||
                   is_last(*answer, sink) || (is_streaming(answer->id) && cannot_leave(sink));
      close_exchange(*answer, true, sink);
      answers_.encode(*answer, std::move(response), close, sink);
      over(*answer, sink);
      break;
    }
    default: body_command(command, response.body, sink); break;
  }
  arm(sink);
}

// Its last byte is written or waits for its turn; the exchange is closed.
void Http1Session::over(Answer& answer, Sink& sink) {
  if (is_streaming(answer.id)) leave_body(sink);
  advance(sink);
}

// Half of what may be buffered at most, so that two requests can always be answered at a time.
void Http1Session::expect_more_of(size_t answer_size, Sink& sink) {
  knows_answers_ = true;
  auto most = static_cast<size_t>(sink.limits().buffered_bytes_max) / 2;
  answer_bytes_ = std::max(std::min(answer_size, most), answer_bytes_ - answer_bytes_ / 16);
}

// The connection ends behind this answer when the server is stopping, or the peer has sent all and
// nothing follows.
bool Http1Session::is_last(const Answer& answer, Sink& sink) const {
  if (phase_ != Phase::Head || offered_ > 0 || held_back_) return false;
  return (peer_closed_ || sink.draining()) && answers_.is_back(answer);
}

// Writes what is in order; ends the connection behind an answer that closes it.
void Http1Session::advance(Sink& sink) {
  bool closed = false;
  CloseCause cause = CloseCause::CloseCalled;
  bool moved = false;
  do {
    while (answers_.advance(sink, closed, cause)) {
      moved = true;
      if (closed) return end(cause, sink);
    }
  } while (look_for_file(sink));
  if (!moved) {
    // An answer ahead of its turn: what was promised to it may have been more than it needs.
    if (held_back_ && has_room(sink)) sink.resume();
    return;
  }
  if (answers_.is_empty()) {
    if (phase_ == Phase::Head && offered_ == 0 && starved_since_ == kNever)
      waiting_since_ = sink.now();
  }
  send_continue(sink);
  if (held_back_ && has_room(sink)) sink.resume();
  end_if_over(sink);
}

void Http1Session::end(CloseCause cause, Sink& sink) {
  give_up(false, sink);
  reading_ = nullptr;
  // A gateway sends one request and no more: no shutdown() and no waiting for its end.
  if (dialect_ != nullptr && has_all_) return sink.finish_at_once(cause);
  sink.finish(cause);
}

// Nothing owed in either direction and nothing more to come.
void Http1Session::end_if_over(Sink& sink) {
  if (phase_ == Phase::Dead || phase_ == Phase::Upgrading || held_back_ || in_receive_) return;
  if (peer_closed_ && (phase_ != Phase::Head || offered_ > 0)) {
    return break_body(ErrorCode::Incomplete, sink, CloseCause::ClosedByClient);
  }
  if (!answers_.is_empty() || phase_ != Phase::Head || offered_ > 0) return;
  if (peer_closed_) return end(CloseCause::ClosedByClient, sink);
  // A connection that came while draining still gets its first request answered.
  if (sink.draining() && requests_ > 0) end(CloseCause::Drained, sink);
}

// --- the rest of its life ---

void Http1Session::peer_closed(Sink& sink) {
  peer_closed_ = true;
  for (size_t i = 0; i < answers_.size(); i++) {
    if (answers_[i].id.is_valid() && !answers_[i].done)
      sink.notify({answers_[i].id, EventKind::PeerClosed});
  }
  end_if_over(sink);
  arm(sink);
}

void Http1Session::flushed(Sink& sink) {
  answers_.log_left(sink);
  if (!answers_.is_empty() && answers_.front().file != nullptr) advance(sink);
  if (!answers_.is_empty() && answers_.front().unacknowledged > 0) {
    Answer& answer = answers_.front();
    uint32_t bytes = std::exchange(answer.unacknowledged, 0);
    sink.notify({answer.id, EventKind::Written, 0, bytes});
  }
  if (held_back_ && phase_ != Phase::Dead && has_room(sink)) sink.resume();
}

void Http1Session::drain(Sink& sink) {
  bool idle = phase_ == Phase::Head && offered_ == 0 && answers_.is_empty() && !held_back_;
  if (idle) end(CloseCause::Drained, sink);
}

void Http1Session::gone(Sink& sink) {
  answers_.log_lost(sink);
  give_up(false, sink);
}

// What is written leaves: left() or gone() logs it, also of the answer that has begun.
void Http1Session::abandon(Sink& sink) { give_up(true, sink); }

void Http1Session::give_up(bool but_begun, Sink& sink) {
  for (size_t i = 0; i < answers_.size(); i++) {
    Answer& answer = answers_[i];
    if (std::exchange(answer.tells, false)) sink.notify({answer.id, EventKind::Left, 0});
    if (!answer.id.is_valid() || answer.done) continue;
    answer.done = true;
    close_exchange(answer, false, sink);
  }
  phase_ = Phase::Dead;
  if (!logs_access_) return;
  answers_.log_given_up(but_begun, sink);
  if (reading_ != nullptr && reading_->answer.access != nullptr)
    refused_access(sink)->log(false, sink);
}

// --- the access log ---

void Http1Session::close_exchange(Answer& answer, bool delivered, Sink& sink) {
  if (answer.access != nullptr)
    answer.access->queue_ms = answer.access->waited_ms + sink.queue_delay(answer.id);
  sink.close_exchange(answer.id, delivered);
}

void Http1Session::begin_access(const RequestHead& head, size_t size, Sink& sink) {
  const Bytes client = dialect_ == nullptr ? Bytes() : dialect_->client_address();
  judged_ = std::make_unique<AccessEntry>(head, client, waiting_since_, sink);
  judged_->bytes_in = size;
  if (dialect_ != nullptr) judged_->flags |= kEventScgi;
}

// Of the request that is being read or judged; else none of it was understood.
std::unique_ptr<AccessEntry> Http1Session::refused_access(Sink& sink) {
  if (reading_ != nullptr && reading_->answer.access != nullptr) {
    reading_->answer.access->bytes_in += reading_->arrived;
    return std::move(reading_->answer.access);
  }
  if (judged_ == nullptr) begin_access({}, offered_, sink);
  return std::move(judged_);
}

// --- deadlines: each covers what the peer owes, but the handler's, which is off by default ---

Http1Session::Due Http1Session::next_due(const Limits& limits) {
  Due due;
  auto sooner = [&due](Owed what, Milliseconds from, int64_t timeout) {
    if (timeout == 0) return;
    if (due.at == kNever || from + timeout < due.at) due = {what, from + timeout};
  };
  if (waits_for_room_) sooner(Owed::Room, starved_since_, limits.queue_delay_max);
  bool held = held_back_ || phase_ == Phase::Dead;
  if (!held && phase_ == Phase::Head && offered_ > 0) {
    sooner(Owed::Head, waiting_since_, limits.headers_timeout);
  } else if (!held && phase_ == Phase::Head && answers_.is_empty()) {
    sooner(Owed::NextRequest, waiting_since_,
           requests_ == 0 ? limits.headers_timeout : limits.keep_alive_timeout);
  } else if (!held && reading_ != nullptr && !reading_->waits_for_continue) {
    sooner(Owed::Body, reading_->progress, limits.receive_timeout);
    if (limits.receive_rate_min > 0) {
      // How long what has come so far may have taken.
      auto paid = static_cast<int64_t>(reading_->arrived) * 1000 / limits.receive_rate_min;
      Milliseconds grace = std::max<Milliseconds>(limits.receive_timeout, kRateGrace);
      sooner(Owed::Body, reading_->started, std::max(paid, grace));
    }
  }
  bool has_begun = !answers_.is_empty() && answers_.front().begun;
  // Not while a handler waits for the peer too, nor once it has begun to answer.
  bool is_fed = !answers_.is_empty() && is_streaming(answers_.front().id) &&
                reading_->held_since == kNever && !reading_->stream->is_dropped();
  bool is_sought = !answers_.is_empty() && answers_.front().file != nullptr;  // by the disk
  if (!answers_.is_empty() && !answers_.front().done && !has_begun && !is_fed && !is_sought) {
    sooner(Owed::Handler, answers_.front().started, limits.handler_timeout);
  }
  return due;
}

void Http1Session::arm(Sink& sink) {
  if (phase_ == Phase::Dead && answers_.is_empty()) return;
  sink.set_deadline(next_due(sink.limits()).at);
}

void Http1Session::deadline(Sink& sink) {
  Due due = next_due(sink.limits());
  if (due.what == Owed::Nothing || sink.now() < due.at) return arm(sink);
  switch (due.what) {
    case Owed::Handler: return handler_late(sink);
    case Owed::Room: return sink.stop_waiting();
    case Owed::Head:
      refuse(ErrorCode::HeadersTimeout, sink, CloseCause::TimedOut);
      return arm(sink);
    case Owed::Body:
      break_body(ErrorCode::ReceiveTimeout, sink, CloseCause::TimedOut);
      return arm(sink);
    default: break;
  }
  if (sink.buffered() > 0 || sink.files_queued() > 0) {
    // Not idle yet: the peer is still taking the last answer, at the pace that timeouts.write
    // allows.
    waiting_since_ = sink.now();
    return arm(sink);
  }
  // Closed without a word: a 408 here would be taken for the answer to a request that is just on
  // its way.
  if (requests_ == 0) {
    sink.count_refusal(ErrorCode::HeadersTimeout);
  } else {
    sink.count_idle_timeout();
  }
  end(CloseCause::TimedOut, sink);
}

}  // namespace millrace::http1
