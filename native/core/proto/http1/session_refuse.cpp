// What the HTTP/1 session refuses by itself: the last answer of its connection, in the words of the
// application where it has given any.
#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>

#include "core/proto/http1/session.h"

namespace millrace::http1 {
namespace {

constexpr Bytes kTextLine = "Content-Type: text/plain;charset=utf-8\r\n";
// RFC 9110 15.5.22, RFC 6455 4.2.2: which protocol and version it would have to be.
constexpr Bytes kUpgradeLines =
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";

// `text` is what is said where the application has given nothing.
Response refusal_of(ErrorCode code, Bytes text, const Sink& sink) {
  Response response;
  response.status = error_code_status(code);
  const Route* own = sink.refusal(code);
  response.header_lines = own == nullptr ? kTextLine : Bytes(own->headers);
  response.body = own == nullptr ? text : Bytes(own->content);
  response.body_is_static = own != nullptr;
  return response;
}

}  // namespace

ErrorCode Http1Session::judge_body(const Route& route, const RequestRules& rules, Method method,
                                   uint64_t size_max) const {
  if (route.kind == RouteKind::Handler && route.body == BodyMode::Sized) {
    bool usual = method == Method::Post || method == Method::Put || method == Method::Patch;
    if (rules.chunked || (usual && !rules.has_length)) return ErrorCode::LengthRequired;
  }
  if (rules.length > size_max) return ErrorCode::BodyTooLarge;
  // Before the handler is called, since nobody waits for what it turns out to be.
  if (route.kind == RouteKind::Handler && route.body == BodyMode::None && rules.chunked &&
      size_max == 0) {
    return ErrorCode::BodyTooLarge;
  }
  return ErrorCode::None;
}

void Http1Session::refuse(ErrorCode code, Sink& sink, CloseCause cause) {
  Answer answer;
  if (logs_access_) answer.access = refused_access(sink);
  phase_ = Phase::Dead;
  reading_ = nullptr;
  offered_ = 0;
  last_request_ = true;
  sink.count_refusal(code);
  char text[256];
  int length = std::snprintf(text, sizeof(text), "%s: %s\n", error_code_name(code),
                             error_code_sentence(code));
  Bytes sentence(text, std::min(static_cast<size_t>(length), sizeof(text) - 1));
  Response response = refusal_of(code, sentence, sink);
  std::string lines;
  if (response.status == 426 && dialect_ == nullptr) {  // a gateway is not told of connections
    lines = std::string(response.header_lines).append(kUpgradeLines);
    response.header_lines = lines;
  }
  answer.cause = cause;
  answer.is_head = is_head_;
  Answer& pushed = answers_.push(std::move(answer));
  answers_.encode(pushed, std::move(response), true, sink);
  advance(sink);
}

// Of a request that JavaScript has been handed.
void Http1Session::refuse_open(ErrorCode code, Answer& answer, Sink& sink) {
  // What leaves in its place is not its answer.
  if (std::exchange(answer.tells, false)) sink.notify({answer.id, EventKind::Left, 0});
  close_exchange(answer, false, sink);
  answers_.encode(answer, refusal_of(code, "Service Unavailable\n", sink), true, sink);
  advance(sink);
}

void Http1Session::handler_late(Sink& sink) {
  Answer& answer = answers_.front();
  sink.count_refusal(ErrorCode::HandlerTimeout);
  answer.cause = CloseCause::TimedOut;
  refuse_open(ErrorCode::HandlerTimeout, answer, sink);
}

}  // namespace millrace::http1
