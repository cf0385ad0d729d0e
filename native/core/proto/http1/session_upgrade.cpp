// How a connection of the HTTP/1 session becomes a WebSocket, or does not (RFC 9110 7.8).
#include <string>
#include <utility>

#include "core/proto/http1/session.h"

namespace millrace::http1 {
namespace {

// What a client may send ahead of the 101 before we stop reading.
constexpr size_t kAheadBytes = 64 * 1024;

}  // namespace

// False when the request was refused, or waits until everything before it is answered: the 101
// would come in the middle otherwise.
bool Http1Session::judge_upgrade(const RequestHead& head, const RequestRules& rules,
                                 const Route& route, Answer& answer, Sink& sink) {
  if (is_native(route)) return true;
  if (dialect_ != nullptr) {
    // Nothing takes over from a gateway's connection.
    if (route.is_socket) refuse(ErrorCode::WsRequired, sink);
    return !route.is_socket;
  }
  if (route.is_socket && sink.draining()) {
    refuse(ErrorCode::Unavailable, sink);
    return false;
  }
  if (!answers_.is_empty()) {
    held_back_ = true;
    sink.pause();
    return false;
  }
  ErrorCode error = ErrorCode::None;
  bool has_body = rules.chunked || rules.length > 0;
  answer.upgrade = find_upgrade(head, error);
  if (answer.upgrade != nullptr && has_body) {
    answer.upgrade = nullptr;
    error = ErrorCode::WsHandshake;
  }
  if (answer.upgrade == nullptr) {
    // Elsewhere a server may ignore the wish (RFC 9110 7.8).
    if (!route.is_socket) return true;
    refuse(error, sink);
    return false;
  }
  return true;
}

bool Http1Session::step_upgrading(MutableBytes unread, Sink& sink) {
  if (unread.size() <= kAheadBytes) return false;
  held_back_ = true;
  sink.pause();
  return false;
}

// It was answered as any request.
void Http1Session::stay(Answer& answer, Sink& sink) {
  answer.upgrade = nullptr;
  if (phase_ != Phase::Upgrading) return;
  phase_ = Phase::Head;
  held_back_ =
      true;  // there may be unread bytes: the connection does not end before they were seen
  sink.resume();
}

void Http1Session::change_over(const Command& command, Answer& answer, Bytes header_lines,
                               Sink& sink) {
  if (answer.upgrade == nullptr) return sink.abort(CloseCause::CloseCalled);  // answered before
  // Nobody begins what ends at once: who asks again gets to a server that stays.
  if (sink.draining()) return refuse_open(ErrorCode::Unavailable, answer, sink);
  std::string head = "HTTP/1.1 101 Switching Protocols\r\n";
  ExchangeId id = answer.id;
  std::unique_ptr<Session> next =
      answer.upgrade->accept(id, sink.socket_settings(command.amount), head);
  head.append(header_lines).append("\r\n");
  sink.write(head);
  sink.count_response(101);
  answers_.log_left(sink);
  if (answer.access != nullptr) {
    answer.access->status = 101;
    answer.access->queue_ms = sink.queue_delay(id);
    answer.access->bytes_out = head.size();
    answer.access->log(true, sink);
  }
  if (answer.tells) sink.tell_when_left(id);
  answer.done = true;
  answers_.pop();
  phase_ = Phase::Dead;
  sink.set_deadline(kNever);
  sink.open_socket(id);
  sink.become(std::move(next));
}

}  // namespace millrace::http1
