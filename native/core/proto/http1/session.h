// HTTP/1 session: keep-alive, pipelining order, bodies, expect, limits, deadlines (RFC 9112).
// Pure: bytes and commands in, bytes and events out. Owned by: loop thread.
#pragma once

#include <memory>
#include <utility>

#include "core/proto/http1/answers.h"
#include "core/proto/http1/body_stream.h"
#include "core/proto/http1/chunked.h"
#include "core/proto/http1/dialect.h"
#include "core/proto/http1/rules.h"
#include "core/proto/session.h"

namespace millrace::http1 {

[[nodiscard]] std::unique_ptr<Session> make_session();

class Http1Session final : public Session {
 public:
  // Null: HTTP itself.
  explicit Http1Session(std::unique_ptr<Dialect> dialect = nullptr)
      : dialect_(std::move(dialect)),
        answers_(dialect_ == nullptr ? HeadForm::Http : HeadForm::Cgi) {}

  [[nodiscard]] size_t receive(MutableBytes unread, Sink& sink) override;
  void command(const Command& command, Sink& sink) override;
  void peer_closed(Sink& sink) override;
  void deadline(Sink& sink) override;
  void flushed(Sink& sink) override;
  void left(Sink& sink) override { answers_.log_left(sink); }
  void drain(Sink& sink) override;
  [[nodiscard]] bool disk_done(std::unique_ptr<DiskWork>& work, Sink& sink) override;
  void gone(Sink& sink) override;
  void abandon(Sink& sink) override;
  [[nodiscard]] bool is_midway() override {
    return !answers_.is_empty() && answers_.front().begun && !answers_.front().done;
  }

 private:
  enum class Phase : uint8_t {
    Head,
    Sized,  // a body of known length
    Chunked,
    Trailers,
    Complete,   // the body is there, the lane had no room
    Upgrading,  // JavaScript says whether the connection becomes something else: nothing is parsed
    Dead,       // after a refusal or the last request: whatever comes is dropped, never parsed
  };

  // What a deadline is for: who owes what. Room: we do, in the lane or among limits.maxInFlight.
  enum class Owed : uint8_t { Nothing, Handler, Head, NextRequest, Body, Room };
  enum class Room : uint8_t { There, Later, Never };
  struct Due {
    Owed what = Owed::Nothing;
    Milliseconds at = kNever;
  };

  // The request whose body is being read. Small, because idle connections carry it too.
  struct Reading {
    const Route* route = nullptr;
    Blob record;  // the event, ready but for the body
    Blob body;
    uint64_t size = 0;     // of the body so far
    uint64_t arrived = 0;  // bytes of it and of its framing
    uint64_t left = 0;     // Sized
    uint64_t size_max = 0;
    Milliseconds started = 0;
    Milliseconds progress = 0;
    ChunkDecoder decoder;
    RequestRules rules;
    Answer answer;
    std::unique_ptr<BodyStream>
        stream;                        // the handler has been called; else it is called at the end
    Blob trailers;                     // as events have them
    Milliseconds held_since = kNever;  // not the peer's delay: we do not read
    bool waits_for_continue = false;
  };

  bool step(MutableBytes unread, size_t& consumed, Sink& sink);
  bool step_head(MutableBytes unread, size_t& consumed, Sink& sink);
  bool step_sized(MutableBytes unread, size_t& consumed, Sink& sink);
  bool step_chunked(MutableBytes unread, size_t& consumed, Sink& sink);
  bool step_trailers(MutableBytes unread, size_t& consumed, Sink& sink);
  bool begin_request(const RequestHead& head, size_t head_size, Bytes rest, size_t& consumed,
                     Sink& sink);
  bool begin_body(const RequestHead& head, const RouteMatch& match, uint32_t path_length,
                  Answer&& answer, const RequestRules& rules, bool body_is_here, Sink& sink);
  bool drop_body(const RequestHead& head, const RouteMatch& match, uint32_t path_length,
                 Answer&& answer, const RequestRules& rules, Bytes rest, size_t& consumed,
                 Sink& sink);
  bool body_complete(Sink& sink);
  bool end_stream(Sink& sink);
  void begin_stream(Sink& sink);
  [[nodiscard]] bool may_read_body(Sink& sink);
  void held(Sink& sink);
  bool take_body(Bytes bytes, Sink& sink);
  void keep_trailers(const HeaderField* fields, uint32_t count);
  void break_body(ErrorCode code, Sink& sink, CloseCause cause = CloseCause::ProtocolViolated);
  void leave_body(Sink& sink);
  [[nodiscard]] bool is_streaming(ExchangeId id) const;
  [[nodiscard]] bool cannot_leave(const Sink& sink) const;
  void answer_command(const Command& command, Answer& answer, Response&& response, Sink& sink);
  void body_command(const Command& command, Bytes content, Sink& sink);
  bool settle_continue(Answer& answer, Sink& sink);
  bool advance_stream(Sink& sink);
  bool judge_upgrade(const RequestHead& head, const RequestRules& rules, const Route& route,
                     Answer& answer, Sink& sink);
  bool step_upgrading(MutableBytes unread, Sink& sink);
  void stay(Answer& answer, Sink& sink);
  void change_over(const Command& command, Answer& answer, Bytes header_lines, Sink& sink);
  bool look_for_file(Sink& sink);
  void file_found(Answer& answer, FindFileWork& found, Sink& sink);
  void send_plan(FilePlan& plan, Fd file, Blob content, Sink& sink);
  void over(Answer& answer, Sink& sink);
  void body_arrived(size_t bytes, Sink& sink);
  void keep(Bytes bytes);
  void hand_over(const RequestHead& head, const RouteMatch& match, uint32_t path_length,
                 Answer&& answer, Bytes body, Sink& sink);
  void hand_over_read(Sink& sink);
  [[nodiscard]] bool fits_inline(size_t record_size, uint64_t body_size,
                                 const Limits& limits) const;
  [[nodiscard]] Bytes variables() const {
    return dialect_ == nullptr ? Bytes() : dialect_->variables();
  }
  void publish(Event& event, Answer&& answer, Sink& sink);
  void answer_natively(const Route& route, Answer&& answer, Sink& sink);
  [[nodiscard]] bool admit(const RequestHead& head, const RequestRules& rules, bool is_here,
                           RouteMatch& match, Answer& answer, Sink& sink);
  [[nodiscard]] Room look_for_room(Sink& sink);
  void note_wait(Milliseconds span);
  bool shed(const RequestRules& rules, RouteMatch& match, Answer& answer, Sink& sink);
  void shed_read(Sink& sink);
  [[nodiscard]] ErrorCode judge_body(const Route& route, const RequestRules& rules, Method method,
                                     uint64_t size_max) const;
  void expect_more_of(size_t answer_size, Sink& sink);
  void refuse(ErrorCode code, Sink& sink, CloseCause cause = CloseCause::ProtocolViolated);
  void refuse_open(ErrorCode code, Answer& answer, Sink& sink);
  void advance(Sink& sink);
  void end(CloseCause cause, Sink& sink);
  void give_up(bool but_begun, Sink& sink);
  void close_exchange(Answer& answer, bool delivered, Sink& sink);
  void begin_access(const RequestHead& head, size_t size, Sink& sink);
  [[nodiscard]] std::unique_ptr<AccessEntry> refused_access(Sink& sink);
  void end_if_over(Sink& sink);
  void send_continue(Sink& sink);
  [[nodiscard]] bool is_last(const Answer& answer, Sink& sink) const;
  [[nodiscard]] bool has_room(Sink& sink) const;
  [[nodiscard]] Due next_due(const Limits& limits);
  void arm(Sink& sink);
  void handler_late(Sink& sink);

  const std::unique_ptr<Dialect> dialect_;
  Phase phase_ = Phase::Head;
  bool started_ = false;  // the first receive() has been
  bool logs_access_ = false;
  bool peer_closed_ = false;
  bool last_request_ = false;    // no further request is parsed
  bool has_all_ = false;         // and it was read to its end, with nothing behind it
  bool is_head_ = false;         // the request being judged or read is a HEAD
  bool held_back_ = false;       // unread bytes wait for room, not for the peer
  bool waits_for_room_ = false;  // in the lane or among limits.maxInFlight
  bool in_receive_ = false;      // more bytes may be at hand: no verdict about the end yet
  uint32_t offered_ = 0;         // bytes of an incomplete head seen so far
  uint32_t requests_ = 0;
  Milliseconds waiting_since_ = 0;       // for the first byte of a head; then: since that byte
  Milliseconds starved_since_ = kNever;  // there was no room for the request at hand
  bool knows_answers_ = false;
  size_t answer_bytes_ = 0;  // of an answer lately, rather too many
  Answers answers_;
  std::unique_ptr<Reading> reading_;
  std::unique_ptr<AccessEntry> judged_;  // of the request whose head is being judged
};

}  // namespace millrace::http1
