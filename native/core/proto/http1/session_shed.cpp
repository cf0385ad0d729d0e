// What the HTTP/1 session does when JavaScript does not keep up: requests wait for room, and are
// answered 503 here once that takes too long (limits.maxQueueDelay). What JavaScript has been
// handed is never taken back.
#include <utility>

#include "core/proto/http1/session.h"

namespace millrace::http1 {
namespace {

const Route& shed_route(const Sink& sink) {
  const Route* own = sink.refusal(ErrorCode::Overloaded);
  if (own != nullptr) return *own;
  static const Route route = [] {
    Route made;
    made.kind = RouteKind::Static;
    made.status = error_code_status(ErrorCode::Overloaded);
    made.headers = "Content-Type: text/plain;charset=utf-8\r\nRetry-After: 1\r\n";
    made.content = "Service Unavailable\n";
    return made;
  }();
  return route;
}

}  // namespace

// Of a request that JavaScript has to answer. False when it was refused, or waits: its head is
// parsed again. Where it is shed, another route has matched.
bool Http1Session::admit(const RequestHead& head, const RequestRules& rules, bool is_here,
                         RouteMatch& match, Answer& answer, Sink& sink) {
  const Route& route = *match.route;
  if (sink.is_overloaded()) return shed(rules, match, answer, sink);
  if ((rules.has_upgrade || route.is_socket) && !judge_upgrade(head, rules, route, answer, sink))
    return false;
  if (!is_here && !is_called_early(route)) return true;  // its body comes first
  Room room = look_for_room(sink);
  return room == Room::Never ? shed(rules, match, answer, sink) : room == Room::There;
}

void Http1Session::note_wait(Milliseconds span) {
  AccessEntry* entry = reading_ == nullptr ? judged_.get() : reading_->answer.access.get();
  if (entry != nullptr) entry->waited_ms = static_cast<double>(span);
}

Http1Session::Room Http1Session::look_for_room(Sink& sink) {
  if (sink.can_open_exchange()) {
    if (starved_since_ != kNever && logs_access_) note_wait(sink.now() - starved_since_);
    starved_since_ = kNever;
    return Room::There;
  }
  if (starved_since_ == kNever) starved_since_ = sink.now();
  int64_t most = sink.limits().queue_delay_max;
  if (most != 0 && sink.now() - starved_since_ >= most) {
    sink.stop_waiting();
    return Room::Never;
  }
  held_back_ = waits_for_room_ = true;
  return Room::Later;
}

// From here on as if a static route had matched: its body is read and dropped. One that has no end
// in sight is not: then the connection ends behind the answer.
bool Http1Session::shed(const RequestRules& rules, RouteMatch& match, Answer& answer, Sink& sink) {
  bool is_endless = rules.chunked && match.route->body == BodyMode::Stream;
  match.route = &shed_route(sink);
  match.param_count = 0;
  answer.upgrade = nullptr;
  answer.close = is_endless || rules.length > body_bytes_max(*match.route, sink.limits());
  starved_since_ = kNever;
  sink.count_refusal(ErrorCode::Overloaded);
  return true;
}

// Of one whose body is here.
void Http1Session::shed_read(Sink& sink) {
  Answer& answer = reading_->answer;
  answer.route_lines = {};
  starved_since_ = kNever;
  sink.count_refusal(ErrorCode::Overloaded);
  answer_natively(shed_route(sink), std::move(answer), sink);
}

}  // namespace millrace::http1
