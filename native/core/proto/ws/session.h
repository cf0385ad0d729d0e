// WebSocket session, either end: messages, control frames, closing handshake, back-pressure (RFC
// 6455 5-7). Pure: bytes and commands in, bytes and events out. Small, because idle sockets carry
// it; what only a busy one needs is made when it is needed. Owned by: loop thread.
#pragma once

#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/utf8_check.h"
#include "core/proto/session.h"
#include "core/proto/ws/deflate.h"
#include "core/proto/ws/frame.h"

namespace millrace::ws {

enum class Role : uint8_t { Server, Client };

inline void copy_to(char* out, Bytes bytes) {
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
}

struct SessionOptions {
  ExchangeId id;
  const SocketSettings& settings;  // lives as long as the loops
  Role role = Role::Server;
  bool is_announced = false;  // the Opened event has been written
  DeflateParameters deflate;
};

class WsSession final : public Session {
 public:
  explicit WsSession(const SessionOptions& options);
  ~WsSession() override;

  [[nodiscard]] size_t receive(MutableBytes unread, Sink& sink) override;
  void command(const Command& command, Sink& sink) override;
  void peer_closed(Sink& sink) override;
  void deadline(Sink& sink) override;
  void flushed(Sink& sink) override;
  void progressed(Sink& sink) override;
  void drain(Sink& sink) override;
  void leave(Sink& sink) override;
  [[nodiscard]] bool disk_done(std::unique_ptr<DiskWork>&, Sink&) override { return false; }
  void gone(Sink& sink) override;

 private:
  enum class State : uint8_t {
    Open,
    Closing,  // our close frame is on its way, the peer's is due
    Ending,   // the peer's has come, or a mistake of it: JavaScript answers what came before
    Leaving,  // client: both have been, the server closes the connection (RFC 6455 7.1.1)
    Over,     // Ended was said; whatever comes is dropped
  };
  // A message that does not lie in one piece of received bytes.
  struct Incoming {
    Blob bytes;
    size_t used = 0;
    uint64_t arrived = 0;  // payload bytes of all its frames so far, the current one included
    uint64_t left = 0;     // of the current frame's payload
    uint64_t phase = 0;    // bytes of it that have been
    // It is timed from here on, without the payload bytes that had been read before.
    Milliseconds timed_from = 0;
    uint64_t untimed = 0;
    [[nodiscard]] uint64_t read() const { return arrived - left; }
    uint32_t mask = 0;
    Opcode opcode = Opcode::Text;
    bool compressed = false;
    bool in_frame = false;
    bool is_last = false;   // the current frame ends it
    bool complete = false;  // but JavaScript had no room
    Utf8Check utf8;
    std::unique_ptr<Inflater> inflater;
  };
  // A frame that waits for its turn.
  struct Waiting {
    Blob frame;
    SharedMessageRef message;
    Bytes part;       // of the message
    size_t from = 0;  // of the frame: where it begins
    [[nodiscard]] size_t size() const {
      return message.get() != nullptr ? part.size() : frame.size() - from;
    }
  };
  struct Asked {
    uint64_t position;  // of all bytes written
    uint32_t number;
  };
  // What only a socket with a slow peer has.
  struct Backlog {
    std::deque<Waiting> frames;
    size_t bytes = 0;
    std::vector<Asked> asked;
  };
  struct Deflate {
    DeflateParameters agreed;
    std::unique_ptr<Deflater> deflater;  // with context takeover only
    std::unique_ptr<Inflater> inflater;
    bool is_stale = false;  // a shared frame went out: the peer's window has what ours has not
  };

  // --- in ---
  bool step(MutableBytes unread, size_t& consumed, Sink& sink);
  bool take_control(Opcode opcode, Bytes payload, Sink& sink);
  bool take_close(Bytes payload, Sink& sink);
  bool take_whole(Opcode opcode, Bytes payload, Sink& sink);
  bool take_piece(MutableBytes rest, size_t& consumed, Sink& sink);
  bool inflate_whole(const FrameHead& head, Bytes payload, Sink& sink);
  bool begin_frame(const FrameHead& head, Sink& sink);
  bool end_message(Sink& sink);
  bool add(Bytes piece, bool is_last, Sink& sink);
  [[nodiscard]] ErrorCode judge(const FrameHead& head) const;
  [[nodiscard]] size_t payload_max(Opcode opcode) const;
  [[nodiscard]] bool may_hand_over(Sink& sink);
  void hand_over(Opcode opcode, bool ascii, Bytes bytes, Blob blob, Sink& sink);
  [[nodiscard]] std::unique_ptr<Inflater> take_inflater(Sink& sink);
  void give_back(std::unique_ptr<Inflater> inflater, Sink& sink);
  // --- out ---
  void send(const Command& command, Bytes payload, Sink& sink);
  void put_sent(const Command& command, Bytes payload, Sink& sink);
  void send_shared(const Command& command, Sink& sink);
  [[nodiscard]] bool overflows(size_t size, Sink& sink);
  void offer_excess(size_t size, Sink& sink);
  void put(Opcode opcode, Bytes payload, bool compressed, bool at_once, Sink& sink);
  void put_blob(Opcode opcode, Blob blob, size_t length, bool compressed, Sink& sink);
  [[nodiscard]] bool put_compressed(Opcode opcode, Bytes payload, Sink& sink);
  [[nodiscard]] bool compress(Bytes payload, Blob& out, size_t& used, Sink& sink);
  [[nodiscard]] bool may_compress(const Command& command, size_t size) const;
  [[nodiscard]] Bytes shared_frame(SharedMessage& message, Sink& sink);
  void compress_shared(SharedMessage& message, Sink& sink);
  [[nodiscard]] FrameHead head_of(Opcode opcode, size_t length, bool compressed, Sink& sink) const;
  [[nodiscard]] bool is_clear(const Sink& sink) const;
  void queue(Waiting next, Sink& sink);
  void overtake(size_t size);
  void write(Waiting next, Sink& sink);
  void took_some(Sink& sink);
  void move_backlog(Sink& sink);
  void answer_reports(Sink& sink);
  void ask(uint32_t low, uint32_t number, Sink& sink);
  [[nodiscard]] size_t waiting(const Sink& sink) const;
  void note_waiting(Sink& sink);
  void judge_pace(Sink& sink);
  [[nodiscard]] size_t choke_bytes() const;
  // --- ending ---
  [[nodiscard]] bool is_reading() const { return state_ != State::Over && state_ != State::Ending; }
  [[nodiscard]] bool may_send() const { return state_ == State::Open || state_ == State::Ending; }
  void begin_ending(uint16_t code, ErrorCode error, CloseCause cause, Sink& sink);
  void put_close(Bytes payload, Sink& sink);
  void over(uint16_t code, ErrorCode error, CloseCause cause, Sink& sink);
  void close(uint16_t code, Bytes reason, Sink& sink);
  [[nodiscard]] bool owes_close() const;
  void fail(ErrorCode error, Sink& sink, CloseCause cause = CloseCause::ProtocolViolated);
  void end(uint16_t code, bool clean, ErrorCode error, Sink& sink);
  void lost(Sink& sink);
  void end_if_lost(Sink& sink);
  // --- time ---
  [[nodiscard]] Milliseconds next_due(const Sink& sink) const;
  [[nodiscard]] Milliseconds message_due(const Sink& sink) const;
  [[nodiscard]] Milliseconds ping_lead() const;
  void arm(Sink& sink);

  const ExchangeId id_;
  const SocketSettings& settings_;
  State state_ = State::Open;
  const Role role_;
  bool announced_ = false;
  bool held_ = false;  // by JavaScript
  // Unread bytes may wait: for room in the lane, or for the offer that follows resume().
  bool stuck_ = true;
  bool choked_ = false;  // the peer does not take what it is sent: nothing of it is read
  bool peer_closed_ = false;
  bool pinged_ = false;          // since it was last heard
  bool counts_waiting_ = false;  // the meter says something other than 0
  uint16_t peer_code_ = 0;       // of its close frame
  // What Ending ends with.
  uint16_t ending_code_ = 0;
  ErrorCode ending_error_ = ErrorCode::None;
  CloseCause ending_cause_ = CloseCause::CloseCalled;
  Milliseconds heard_at_ = 0;
  Milliseconds closing_since_ = 0;
  Milliseconds armed_at_ = kNever;
  uint64_t written_ = 0;  // bytes given to the sink and to the backlog, in all
  std::unique_ptr<Incoming> incoming_;
  std::unique_ptr<Backlog> backlog_;
  std::unique_ptr<Deflate> deflate_;
};

}  // namespace millrace::ws
