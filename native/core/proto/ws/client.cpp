#include "core/proto/ws/client.h"

#include <utility>

#include "core/model/request_event.h"
#include "core/proto/ws/handshake.h"
#include "core/proto/ws/session.h"

namespace millrace::ws {
namespace {

class ClientSession final : public Session {
 public:
  explicit ClientSession(ClientOptions options) : options_(std::move(options)) {}

  [[nodiscard]] size_t receive(MutableBytes unread, Sink& sink) override;
  void command(const Command&, Sink&) override {}
  void peer_closed(Sink& sink) override;
  void deadline(Sink& sink) override;
  void flushed(Sink&) override {}
  void drain(Sink& sink) override { refuse(ErrorCode::Closed, 0, sink); }
  [[nodiscard]] bool disk_done(std::unique_ptr<DiskWork>&, Sink&) override { return false; }
  void gone(Sink& sink) override { say(ErrorCode::WsConnect, 0, sink); }

 private:
  [[nodiscard]] bool judge(const ResponseHead& head, const HeaderField* fields, Sink& sink);
  void announce(const ResponseHead& head, const HeaderField* fields, Sink& sink);
  void refuse(ErrorCode error, uint32_t status, Sink& sink, Bytes fields = {});
  void say(ErrorCode error, uint32_t status, Sink& sink, Bytes fields = {});

  ClientOptions options_;
  DeflateParameters agreed_;
  size_t offered_ = 0;
  bool started_ = false;
  bool over_ = false;
  bool is_stuck_ = false;  // unread bytes wait for room in the lane
  bool peer_closed_ = false;
};

size_t ClientSession::receive(MutableBytes unread, Sink& sink) {
  if (over_) return unread.size();
  if (!std::exchange(started_, true)) {
    sink.write(options_.request);
    std::string().swap(options_.request);
    sink.set_deadline(options_.deadline);
  }
  is_stuck_ = !sink.can_emit();
  if (unread.empty() || is_stuck_) return 0;
  ResponseHead head;
  HeaderField* fields = sink.field_scratch();
  const Limits& limits = sink.limits();
  Bytes input(unread.data(), unread.size());
  int parsed = 0;
  do {  // RFC 9110 15.2: other 1xx responses may come before the one that counts
    input.remove_prefix(static_cast<size_t>(parsed));
    parsed = parse_response_head(input, offered_, static_cast<size_t>(limits.header_bytes_max),
                                 fields, static_cast<uint32_t>(limits.header_count_max), head);
    if (parsed < 0) break;
    offered_ = 0;
  } while (head.status < 200 && head.status != 101);
  size_t consumed = unread.size() - input.size();
  if (parsed == -2) {
    offered_ = input.size();
    if (peer_closed_) refuse(ErrorCode::WsRejected, 0, sink);
    return consumed;
  }
  if (parsed < 0) {
    refuse(ErrorCode::WsRejected, 0, sink);
    return unread.size();
  }
  if (!judge(head, fields, sink)) return unread.size();
  announce(head, fields, sink);
  over_ = true;
  sink.set_deadline(kNever);
  sink.open_socket(options_.id);
  sink.set_waiting(options_.id, 0);
  sink.become(std::make_unique<WsSession>(SessionOptions{.id = options_.id,
                                                         .settings = options_.settings,
                                                         .role = Role::Client,
                                                         .is_announced = true,
                                                         .deflate = agreed_}));
  return consumed + static_cast<size_t>(parsed);
}

bool ClientSession::judge(const ResponseHead& head, const HeaderField* fields, Sink& sink) {
  ServerHandshake answer;
  ErrorCode error = read_server_handshake(head, fields, options_.key, answer);
  if (error == ErrorCode::None &&
      !read_answer(answer.extensions, options_.settings.deflate, agreed_)) {
    error = ErrorCode::WsRejected;
  }
  if (error == ErrorCode::None) return true;
  std::string text(fields_text_size(fields, head.header_count), '\0');
  static_cast<void>(write_fields_text(fields, head.header_count, text.data()));
  refuse(error, head.status, sink, text);
  return false;
}

// The Opened event with the response's header fields.
void ClientSession::announce(const ResponseHead& head, const HeaderField* fields, Sink& sink) {
  size_t size = fields_text_size(fields, head.header_count);
  Event* event = sink.begin_event(options_.id, sizeof(Event) + size);
  event->kind = static_cast<uint16_t>(EventKind::Opened);
  event->exchange = options_.id;
  event->head_a = options_.ticket;
  event->head_b = agreed_.enabled ? 1 : 0;
  event->header_length = static_cast<uint32_t>(size);
  static_cast<void>(
      write_fields_text(fields, head.header_count, reinterpret_cast<char*>(event + 1)));
  sink.end_event(event);
}

void ClientSession::refuse(ErrorCode error, uint32_t status, Sink& sink, Bytes fields) {
  say(error, status, sink, fields);
  sink.abort(CloseCause::CloseCalled);
}

void ClientSession::say(ErrorCode error, uint32_t status, Sink& sink, Bytes fields) {
  if (std::exchange(over_, true)) return;
  sink.close_socket(
      {options_.id, EventKind::Refused, static_cast<uint16_t>(error), options_.ticket, status},
      fields);
}

void ClientSession::peer_closed(Sink& sink) {
  peer_closed_ = true;
  if (!over_ && !is_stuck_) refuse(ErrorCode::WsRejected, 0, sink);
}

void ClientSession::deadline(Sink& sink) { refuse(ErrorCode::WsTimeout, 0, sink); }

}  // namespace

std::unique_ptr<Session> make_client(ClientOptions options) {
  return std::make_unique<ClientSession>(std::move(options));
}

}  // namespace millrace::ws
