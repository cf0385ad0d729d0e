// What JavaScript is told of connections: that they are there, why they ended, and what was
// answered on them (model/observation.h); and what it asks of them.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/base/check.h"
#include "core/loop/loop.h"
#include "core/model/proxy_body.h"
#include "core/model/request_event.h"

namespace millrace {
namespace {

// What was asked by the application goes first, then what the session ended for; how the rest of
// it went is told when there is nothing else to say.
bool says_little(CloseCause cause) {
  return cause == CloseCause::CloseCalled || cause == CloseCause::Drained;
}

CloseCause cause_of(const Command& command) {
  return command.status < kCauseCount ? static_cast<CloseCause>(command.status)
                                      : CloseCause::CloseCalled;
}

ErrorCode code_of(const Command& command) {
  return command.amount < static_cast<uint32_t>(ErrorCode::Count)
             ? static_cast<ErrorCode>(command.amount)
             : ErrorCode::None;
}

}  // namespace

// --- its beginning ---

void Connection::take_proxy_header(ProxyHeader&& header) {
  if (header.version == 0) return end_proxy_wait();
  proxied_ = std::make_unique<Proxied>(Proxied{std::move(header), peer_});
  if (!proxied_->header.is_local) peer_ = proxied_->header.source;
  if (proxied_->header.is_local) standing_ = PeerStanding::Uncounted;  // the proxy's address
  telling_ = Telling::Due;
  static_cast<void>(tell());  // else before anything is offered again
}

// There was no header.
void Connection::end_proxy_wait() {
  if (telling_ != Telling::AfterProxy) return;
  telling_ = loop_.observation().connections ? Telling::Due : Telling::Unasked;
}

// False: JavaScript has to hear of the connection first, and the lane has no room.
bool Connection::may_offer(Bytes bytes) {
  if (telling_ != Telling::Due) return true;
  if (!tell()) {
    wait_to_be_told(bytes);
    return false;
  }
  if (own_deadline_ != kNever) {
    own_deadline_ = kNever;
    update_deadline();
  }
  return true;
}

// For as long as a request may wait. Who has sent nothing yet is read on: its end, or the bytes
// that it must not be drained before.
void Connection::wait_to_be_told(Bytes bytes) {
  if (!bytes.empty()) pause();
  if (!std::exchange(starved_, true)) loop_.add_muted(id_.index);
  if (own_deadline_ != kNever) return;
  Milliseconds most = limits().queue_delay_max;
  if (most == 0) most = limits().headers_timeout;
  if (most == 0) return;
  own_deadline_ = now() + most;
  update_deadline();
}

// What needs no JavaScript is answered, the rest is shed in the end.
void Connection::go_on_untold() {
  telling_ = Telling::Late;
  own_deadline_ = kNever;
  update_deadline();
  starved_ = false;
  unpause();
  offer_again();
}

bool Connection::tell() {
  if (!loop_.can_emit()) return false;
  std::string body;
  if (proxied_ != nullptr) body = proxy_body(proxied_->header, proxied_->own);
  Event* event = loop_.begin_event(sizeof(Event) + peer_.length + body.size());
  MR_CHECK(event != nullptr);
  event->kind = static_cast<uint16_t>(EventKind::Connected);
  event->peer_port = peer_.port;
  event->peer_length = peer_.length;
  event->listener = listener_;
  event->queued_at = static_cast<uint32_t>(now());
  event->status = connection_generation();
  event->head_a = id_.index;
  event->body_length = static_cast<uint32_t>(body.size());
  char* out = reinterpret_cast<char*>(event) + sizeof(Event);
  std::memcpy(out, peer_.text, peer_.length);
  if (!body.empty()) std::memcpy(out + peer_.length, body.data(), body.size());
  loop_.end_event(event);
  proxied_ = nullptr;
  telling_ = Telling::Told;
  return true;
}

// --- its end ---

void Connection::judge_end(CloseCause cause) {
  bool is_open = state_ == State::Open;
  if (!cause_is_given_ && (is_open || says_little(cause_))) cause_ = cause;
}

void Connection::cut(CloseCause cause, ErrorCode code) {
  if (state_ == State::Closed) return;
  judge_end(cause);
  if (cause_ == cause && code != ErrorCode::None) refusal_ = code;
  cause_is_given_ = true;
  abort(cause);
}

// Open exchanges are given up; what was answered before leaves.
void Connection::disconnect(CloseCause cause, bool reset) {
  if (reset) return cut(cause);
  if (state_ == State::Closed) return;
  judge_end(cause);
  cause_is_given_ = true;
  if (state_ != State::Open) return;
  reset_behind_ = session_->is_midway();
  session_->abandon(*this);
  finish(cause);
}

void Connection::on_over() {
  end_proxy_wait();
  bool is_drained = cause_ == CloseCause::Drained;
  CloseCause cause = is_drained ? CloseCause::CloseCalled : cause_;
  if (listener_ == kNoListener) return;
  bool is_wanted = (loop_.observation().causes >> static_cast<unsigned>(cause) & 1u) != 0;
  if (telling_ == Telling::Unasked && !watched_ && !is_wanted) return;
  if (telling_ != Telling::Told && !watched_) static_cast<void>(tell());
  auto code = static_cast<uint32_t>(is_drained ? ErrorCode::Closed : refusal_);
  uint32_t detail = static_cast<uint32_t>(cause) | code << 8 | static_cast<uint32_t>(error_) << 20;
  loop_.notify({{}, EventKind::Disconnected, connection_generation(), id_.index, detail});
}

// --- answers that are asked about ---

void Connection::tell_when_left(ExchangeId id) {
  if (leaving_ == nullptr) leaving_ = std::make_unique<Leaving>();
  leaving_->answers.push_back({id, leaving_->sent + unsent()});
  note_sent(0);
}

void Connection::note_sent(uint64_t bytes) {
  std::vector<Leaving::Answer>& answers = leaving_->answers;
  leaving_->sent += bytes;
  auto staying = answers.begin();
  for (; staying != answers.end() && staying->end <= leaving_->sent; staying++)
    loop_.notify({staying->id, EventKind::Left, 1});
  answers.erase(answers.begin(), staying);  // all at once: there may be very many
  if (answers.empty()) leaving_ = nullptr;
}

void Connection::lose_leaving() {
  if (leaving_ == nullptr) return;
  for (const Leaving::Answer& answer : leaving_->answers)
    loop_.notify({answer.id, EventKind::Left, 0});
  leaving_ = nullptr;
}

// --- the access log ---

bool Connection::logs_access() const { return loop_.observation().access; }

// Those of a pending send too, of which the kernel may have taken some: only the poller knows.
uint64_t Connection::unsent() const {
  uint64_t bytes = 0;
  for (const Segment& segment : queue_) bytes += segment.size;
  return bytes;
}

double Connection::wall_clock_ms() { return static_cast<double>(loop_.wall_clock_ms()); }

void Connection::log_access(const AccessLine& line) {
  if (telling_ == Telling::Late) static_cast<void>(tell());
  size_t fields_size = fields_text_size(line.headers, line.header_count);
  size_t size = sizeof(Event) + line.method.size() + line.target.size() + peer_.length +
                fields_size + sizeof(AccessFigures);
  Event* event = loop_.can_log() ? loop_.begin_event(size) : nullptr;
  if (event == nullptr) return loop_.stats().access_dropped.increment();
  event->kind = static_cast<uint16_t>(EventKind::Access);
  event->flags = line.flags;
  event->exchange = line.exchange;
  event->route = line.route;
  event->method = static_cast<uint8_t>(method_of(line.method));
  event->method_length = static_cast<uint8_t>(line.method.size());
  event->target_length = static_cast<uint32_t>(line.target.size());
  event->path_length = static_cast<uint32_t>(std::min(line.target.find('?'), line.target.size()));
  event->header_length = static_cast<uint32_t>(fields_size);
  event->body_length = sizeof(AccessFigures);
  event->peer_port = peer_.port;
  event->peer_length = peer_.length;
  event->queued_at = static_cast<uint32_t>(now());
  event->listener = listener_;
  event->status = connection_generation();
  event->head_a = id_.index;
  event->head_b = line.status;
  char* out = reinterpret_cast<char*>(event) + sizeof(Event);
  for (Bytes text : {line.method, line.target, peer_.view()}) {
    if (!text.empty()) std::memcpy(out, text.data(), text.size());
    out += text.size();
  }
  out = write_fields_text(line.headers, line.header_count, out);
  std::memcpy(out, &line.figures, sizeof(AccessFigures));
  loop_.end_event(event);
}

// --- what JavaScript asks ---

// By index and what a request says of the generation: its low 16 bits. Not one of our own: nobody
// is told its name.
Connection* Loop::find_named(ExchangeId connection) {
  if (connection.slot >= connections_.size()) return nullptr;
  Connection* found = connections_[connection.slot].get();
  bool fits = found != nullptr && found->listener_ != kNoListener &&
              found->connection_generation() == connection.generation;
  return fits ? found : nullptr;
}

void Loop::watch(ExchangeId connection) {
  if (Connection* found = find_named(connection)) return found->watch();
  notify({{},
          EventKind::Disconnected,
          static_cast<uint16_t>(connection.generation),
          connection.slot,
          static_cast<uint32_t>(CloseCause::AlreadyClosed)});
}

void Loop::disconnect(const Command& command) {
  Connection* found = find_named(command.exchange);
  if (found != nullptr) found->disconnect(cause_of(command), command.amount != 0);
}

void Loop::cut(const Command& command, uint32_t index) {
  connections_[index]->cut(cause_of(command), code_of(command));
}

}  // namespace millrace
