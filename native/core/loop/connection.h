// Connection: the Sink made real. Keeps unread bytes, the write queue, the deadlines; one gather
// write per turn. Owned by: loop thread. Knows no protocol and makes no system call itself.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/blob.h"
#include "core/lane/peer_counts.h"
#include "core/model/address.h"
#include "core/poll/poller.h"
#include "core/proto/session.h"

namespace millrace {

class Loop;

// False: a peer that has no address.
[[nodiscard]] bool read_peer_key(const Address& address, PeerKey& key);

class Connection final : public Sink {
 public:
  // `proxy`: what its listener expects to come first.
  Connection(Loop& loop, ConnectionId id, ListenerId listener, const Address& peer,
             ProxyMode proxy = ProxyMode::Off);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start(std::unique_ptr<Session> session);
  // A connection of our own: the session starts when there is one, and its deadline holds for that
  // too.
  void dial(std::unique_ptr<Session> session, Milliseconds deadline);
  void on_connected();
  // What the loop tells it.
  void on_received(MutableBytes bytes);
  void on_peer_closed();
  void on_sent();
  void on_progress();
  void on_broken(int error = 0);  // reset, write failure: gives everything up and closes
  void on_deadline();
  void on_command(const Command& command);
  void on_offer();  // after resume(): unread bytes, or none
  void on_room();   // when starved: go on
  void on_drain();
  void on_leave();
  void expire() { abort(CloseCause::TimedOut); }
  [[nodiscard]] bool on_disk_done(std::unique_ptr<DiskWork>& work);
  void flush() override;
  void force();  // the stop deadline has passed
  void watch() { watched_ = true; }
  // The application ends it: behind what is written, or at once with a reset.
  void disconnect(CloseCause cause, bool reset);
  void cut(CloseCause cause, ErrorCode code = ErrorCode::None);
  void on_over();  // the poller has said its last word: JavaScript is told

  [[nodiscard]] ConnectionId id() const { return id_; }
  [[nodiscard]] bool is_closed() const { return state_ == State::Closed; }
  [[nodiscard]] uint32_t open_exchanges() const { return open_exchanges_; }

  // --- Sink ---
  [[nodiscard]] bool can_open_exchange() override;
  [[nodiscard]] ExchangeId open_exchange() override;
  void close_exchange(ExchangeId id, bool delivered) override;
  [[nodiscard]] Event* begin_event(ExchangeId id, size_t size) override;
  void end_event(Event* event) override;
  void notify(const Notice& notice) override;
  [[nodiscard]] bool can_emit() override;
  [[nodiscard]] bool is_overloaded() override;
  void stop_waiting() override;
  void write(Bytes bytes) override;
  void write_blob(Blob blob, size_t from = 0) override;
  void write_static(Bytes bytes) override;
  void write_file(Fd file, uint64_t offset, uint64_t size) override;
  void write_file_part(int file, uint64_t offset, uint64_t size) override;
  [[nodiscard]] size_t files_queued() const override { return files_queued_; }
  [[nodiscard]] size_t buffered() const override { return queued_bytes_; }
  [[nodiscard]] uint64_t new_ticket() override;
  [[nodiscard]] std::unique_ptr<FileWriter> open_writer(Fd file, uint64_t ticket,
                                                        bool digest) override;
  void submit(std::unique_ptr<DiskWork> work) override;
  void become(std::unique_ptr<Session> session) override;
  void open_socket(ExchangeId id) override;
  void close_socket(const Notice& last, Bytes fields = {}) override;
  void write_shared(SharedMessageRef message, Bytes part) override;
  void count_dropped() override;
  void count_taken(ExchangeId id, uint32_t bytes) override;
  void set_waiting(ExchangeId id, size_t bytes) override;
  [[nodiscard]] const SocketSettings& socket_settings(uint32_t number) override;
  [[nodiscard]] ws::DeflatePool& deflate_pool() override;
  [[nodiscard]] uint32_t random() override;
  void set_deadline(Milliseconds at) override;
  void pause() override;
  void resume() override;
  void finish(CloseCause cause) override;
  void finish_at_once(CloseCause cause) override;
  void abort(CloseCause cause) override;
  void take_proxy_header(ProxyHeader&& header) override;
  [[nodiscard]] ErrorCode refused_at_entry() const override;
  void tell_when_left(ExchangeId id) override;
  [[nodiscard]] bool logs_access() const override;
  void log_access(const AccessLine& line) override;
  [[nodiscard]] uint64_t unsent() const override;
  [[nodiscard]] double wall_clock_ms() override;
  [[nodiscard]] Milliseconds now() const override;
  [[nodiscard]] UnixSeconds wall_clock() const override;
  [[nodiscard]] Bytes date_line() override;
  [[nodiscard]] const Limits& limits() const override;
  [[nodiscard]] bool draining() const override;
  [[nodiscard]] const Address& peer() const override { return peer_; }
  [[nodiscard]] uint16_t listener() const override { return listener_; }
  [[nodiscard]] uint32_t connection_index() const override { return id_.index; }
  [[nodiscard]] uint16_t connection_generation() const override {
    return static_cast<uint16_t>(id_.generation);
  }
  [[nodiscard]] uint32_t queue_delay(ExchangeId id) override;
  [[nodiscard]] Blob metrics_text() override;
  [[nodiscard]] HeaderField* field_scratch() override;
  void match_route(Method method, Bytes name, Bytes target, RouteMatch& match,
                   uint32_t& path_length) override;
  void count_request(const Route& route) override;
  [[nodiscard]] const Route* refusal(ErrorCode code) const override;
  void count_refusal(ErrorCode code) override;
  void count_response(uint16_t status) override;
  void count_idle_timeout() override;

 private:
  enum class State : uint8_t {
    Open,
    Finishing,  // the session is done; what is written still has to leave
    Lingering,  // half-closed by us; reading and dropping
    Closed,     // close() was called; waiting for the poller's last word
  };
  enum class Telling : uint8_t {
    Unasked,     // JavaScript hears of it when it asks, or when it ends in some way
    AfterProxy,  // Due, when the PROXY protocol has had its say
    Due,         // nothing else of it happens before: no byte is offered to its session
    Late,        // that took too long: before its first request, or when it ends
    Told,
  };
  // What a PROXY header said, until JavaScript knows.
  struct Proxied {
    ProxyHeader header;
    Address own;  // where the connection really comes from
  };
  // Answers that JavaScript has asked about, in their order: `end` is where their bytes end, in
  // bytes that are `sent` since there have been any.
  struct Leaving {
    struct Answer {
      ExchangeId id;
      uint64_t end;
    };
    uint64_t sent = 0;
    std::vector<Answer> answers;
  };
  enum class Keep : uint8_t { Block, Blob, Static, File, Shared };
  // A run of queued bytes and what keeps them alive.
  struct Segment {
    char* data = nullptr;  // none of a file
    size_t size = 0;
    Keep keep = Keep::Block;
    int file = -1;
    bool owns_file = false;  // the last segment of a file closes it
    // In the file; of a blob: where `data` lies in it; of a shared message: the SharedMessage*.
    uint64_t offset = 0;
  };

  void offer(MutableBytes bytes);
  void offer_again();
  void offer_unread();
  void stash(Bytes bytes);
  void unpause();
  [[nodiscard]] bool starve();
  void mark_dirty();
  void change_over();
  void send_queue();
  [[nodiscard]] SendResult send_parts();
  [[nodiscard]] SendResult send_file_part(size_t bytes);
  [[nodiscard]] bool file_ready(const Segment& file);
  void drop_sent(size_t count, size_t file_bytes);
  void drop_segments(size_t count);
  void go_on_later();
  void all_sent();
  void linger();
  void close_now(bool reset);
  void note_sent(uint64_t bytes);  // where there is `leaving_`
  void lose_leaving();
  void judge_end(CloseCause cause);
  [[nodiscard]] bool may_offer(Bytes bytes);
  void wait_to_be_told(Bytes bytes);
  void go_on_untold();
  [[nodiscard]] bool tell();
  void end_proxy_wait();
  void join_peers();
  void leave_peers();
  void update_deadline();
  void await_progress();

  Loop& loop_;
  const ConnectionId id_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Session> next_;  // takes over when the present one has returned
  std::vector<Segment> queue_;
  size_t queued_bytes_ = 0;  // in memory: those of files are not counted
  uint32_t files_queued_ = 0;
  int64_t unacknowledged_ = 0;  // by the peer, when the write deadline was set
  uint64_t warming_ = 0;        // the ticket of a window that is being read into the page cache
  uint64_t warm_until_ = 0;     // of the file at the front: what has been, is not asked about again
  size_t sending_segments_ = 0;    // of a pending send; their bytes must stay
  size_t sending_file_bytes_ = 0;  // of a pending send of a file, which is the first segment
  Blob unread_;
  size_t unread_begin_ = 0;
  size_t unread_end_ = 0;
  Milliseconds session_deadline_ = kNever;
  Milliseconds own_deadline_ = kNever;  // write stall, linger, or waiting to be told
  Address peer_;
  const ListenerId listener_;
  State state_ = State::Open;
  CloseCause cause_ = CloseCause::CloseCalled;
  bool dirty_ = false;
  bool paused_ = false;
  bool offer_due_ = false;  // in the loop's list
  bool starved_ = false;    // in the loop's other list: the lane or the exchanges have no room
  bool peer_closed_ = false;
  bool lingers_ = true;        // when it is finished
  bool unoffered_ = false;     // the session has taken over and seen nothing of what is unread
  bool close_unsaid_ = false;  // to the session, before it has
  bool drain_unsaid_ = false;  // likewise
  uint32_t open_exchanges_ = 0;
  int error_ = 0;  // errno of its end
  std::unique_ptr<Proxied> proxied_;
  std::unique_ptr<Leaving> leaving_;
  ErrorCode refusal_ = ErrorCode::None;  // the last one: why it ends, if it does
  Telling telling_ = Telling::Unasked;
  PeerStanding standing_ = PeerStanding::Unasked;  // among those of its address
  bool watched_ = false;                           // its end is told, whatever else is
  bool cause_is_given_ = false;                    // by the application
  bool reset_behind_ = false;  // what is written ends in the middle of a response

  friend class Loop;
};

}  // namespace millrace
