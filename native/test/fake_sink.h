// FakeSink: a connection without a loop: one session (HTTP/1), virtual time, and all that it emits
// and writes kept as values. Bytes the session leaves unread come again, in a buffer of exactly
// their size.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <semaphore>
#include <string>
#include <vector>

#include "core/model/refusal.h"
#include "core/proto/http1/session.h"
#include "core/proto/ws/deflate.h"
#include "core/route/router.h"
#include "test/seen.h"

namespace millrace::test {

class FakeSink final : public Sink {
 public:
  FakeSink(const Limits& limits, const Router& router,
           std::unique_ptr<Session> session = http1::make_session(), bool with_access_log = false)
      : wants_access(with_access_log),
        limits_(limits),
        router_(router),
        fields_(static_cast<size_t>(limits.header_count_max)),
        session_(std::move(session)) {
    inbox_.set_wake(&FakeSink::wake, this);
    offer();
  }
  ~FakeSink() {
    close();
    disk_.stop();
  }
  FakeSink(const FakeSink&) = delete;
  FakeSink& operator=(const FakeSink&) = delete;

  std::vector<SeenEvent> events;
  std::string written;
  std::vector<ErrorCode> refusals;
  std::vector<ProxyHeader> proxy_headers;
  const bool wants_access;
  struct LoggedLine {
    AccessFigures figures;
    ExchangeId exchange;
    uint16_t route = 0;
    uint16_t status = 0;
    uint16_t flags = 0;
    std::string method;
    std::string target;
    std::string fields;  // "name: value\n" each
  };
  std::vector<LoggedLine> log;
  uint32_t delay = 0;  // what queue_delay() says

  // --- what a connection tells its session ---
  void feed(Bytes bytes) {
    if (!is_open_) return;
    unread_.append(bytes);
    offer();
    settle();
  }
  void half_close() {
    if (!is_open_) return;
    peer_closed_ = true;
    close_unsaid_ = unoffered_;  // behind the bytes that came before
    if (!close_unsaid_) session_->peer_closed(*this);
    settle();
  }
  // Both in one batch of completions: before what the first led to goes on.
  void feed_and_half_close(Bytes bytes) {
    unread_.append(bytes);
    offer();
    if (is_open_) half_close();
  }
  void lose() { close(); }
  void start_draining() { draining_ = true; }
  void stop() {
    draining_ = closing_ = true;
    if (!is_open_) return;
    drain_unsaid_ = unoffered_;
    if (!drain_unsaid_) session_->drain(*this);
    settle();
  }
  void answer(ExchangeId exchange, const CommandText& text) {
    if (!is_open(exchange)) {
      late_commands++;
      return;
    }
    if (text.kind == CommandKind::Cut) return abort(CloseCause::CloseCalled);
    const size_t size = command_size(text);
    const std::unique_ptr<uint64_t[]> record(new uint64_t[size / 8]);
    write_command(exchange, text, reinterpret_cast<char*>(record.get()));
    session_->command(*reinterpret_cast<Command*>(record.get()), *this);
    change_over();
    settle();
  }
  // Stops at each deadline on the way.
  void advance(Milliseconds span) {
    const Milliseconds until = now_ + span;
    while (is_open_ && deadline_ != kNever && deadline_ <= until) {
      if (deadline_ > now_) now_ = deadline_;
      deadline_ = kNever;
      session_->deadline(*this);
      settle();
    }
    now_ = until;
  }

  // While it is set, can_emit() says no; clearing it counts with the next settle().
  bool lane_is_full = false;
  // While it is set, what was resumed is not offered yet: that is for the next turn.
  bool offers_late = false;
  size_t room = SIZE_MAX;  // in the lane: for so many events more, of those that are asked for
  void settle_now() { settle(); }
  // What the disk has finished, waiting for at least one piece of it.
  void wait_for_disk() {
    std::vector<std::unique_ptr<DiskWork>> works;
    while (works.empty()) {
      disk_wakes_.acquire();
      inbox_.take(works);
    }
    for (auto& work : works) {
      if (!is_open_ || !session_->disk_done(work, *this)) disk_.discard(std::move(work));
    }
    settle();
  }

  [[nodiscard]] bool is_open() const { return is_open_; }
  [[nodiscard]] bool was_aborted() const { return was_aborted_; }
  [[nodiscard]] bool is_paused() const { return paused_; }
  [[nodiscard]] size_t open_exchanges() const { return open_count_; }
  [[nodiscard]] Milliseconds armed() const { return is_open_ ? deadline_ : kNever; }
  [[nodiscard]] CloseCause cause() const { return cause_; }
  size_t late_commands = 0;
  size_t largest_event = 0;  // bytes

  // --- Sink ---
  bool can_open_exchange() override {
    if (!lane_is_full && open_count_ < static_cast<size_t>(limits_.in_flight_max)) return true;
    paused_ = starved_ = true;
    return false;
  }
  ExchangeId open_exchange() override {
    MR_CHECK(is_open_);
    open_count_++;
    exchanges_.push_back(true);
    return {static_cast<uint32_t>(exchanges_.size() - 1), 0};
  }
  void close_exchange(ExchangeId id, bool delivered) override {
    MR_CHECK(is_open(id));
    exchanges_[id.slot] = false;
    open_count_--;
    if (!delivered) notify({id, EventKind::Aborted});
  }
  Event* begin_event(ExchangeId, size_t size) override {
    MR_CHECK(!lane_is_full);
    record_.reset(new uint64_t[(size + 7) / 8]);
    auto* event = new (record_.get()) Event();
    event->size = static_cast<uint32_t>((size + 7) & ~size_t{7});
    record_size_ = event->size;
    largest_event = std::max(largest_event, size);
    return event;
  }
  void end_event(Event* event) override {
    MR_CHECK(event->size == record_size_);
    if (room != SIZE_MAX) room--;
    events.push_back(see_event(*event));
    note_ending(events.back());
  }
  void notify(const Notice& notice) override {
    SeenEvent seen;
    seen.kind = notice.kind;
    seen.exchange = notice.id;
    seen.status = notice.status;
    seen.head_a = notice.head_a;
    seen.head_b = notice.head_b;
    events.push_back(seen);
    note_ending(seen);
  }
  bool is_overloaded() override { return overloaded; }
  bool overloaded = false;
  bool can_emit() override {
    if (!lane_is_full && room > 0) return true;
    muted_ = muted_ || !starved_;
    paused_ = starved_ = true;
    return false;
  }
  void submit(std::unique_ptr<DiskWork> work) override { disk_.submit(std::move(work), inbox_); }
  UnixSeconds wall_clock() const override { return 1'700'000'000; }
  uint64_t new_ticket() override { return ++last_ticket_; }
  std::unique_ptr<FileWriter> open_writer(Fd file, uint64_t ticket, bool digest) override {
    FileWriterOptions options;
    options.ticket = ticket;
    options.digest = digest;
    return std::make_unique<FileWriter>(disk_, inbox_, std::move(file), options);
  }
  void write(Bytes bytes) override {
    MR_CHECK(is_open_);
    written.append(bytes);
    buffered_ += bytes.size();
  }
  void write_blob(Blob blob, size_t from = 0) override { write(blob.bytes().substr(from)); }
  void write_static(Bytes bytes) override { write(bytes); }
  void write_file_part(int file, uint64_t offset, uint64_t size) override {
    Fd own(file);
    Fd copy = own.duplicate();
    static_cast<void>(own.release());
    write_file(std::move(copy), offset, size);
  }
  void write_file(Fd file, uint64_t offset, uint64_t size) override {
    MR_CHECK(is_open_);
    std::string bytes(static_cast<size_t>(size), '\0');
    const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    MR_CHECK(got == static_cast<ssize_t>(size));
    written.append(bytes);
    if (size > 0) files_queued_++;
  }
  void flush() override {
    if (buffered_ == 0 || peer_is_stuck) return;
    buffered_ = 0;
    session_->flushed(*this);
  }
  size_t buffered() const override { return buffered_; }
  size_t files_queued() const override { return files_queued_; }
  void become(std::unique_ptr<Session> session) override { next_ = std::move(session); }
  void open_socket(ExchangeId id) override {
    MR_CHECK(is_open(id));
    sockets++;
  }
  void close_socket(const Notice& last, Bytes fields = {}) override {
    MR_CHECK(is_open(last.id));
    exchanges_[last.id.slot] = false;
    open_count_--;
    waiting = 0;
    notify(last);
    events.back().headers = std::string(fields);
  }
  void write_shared(SharedMessageRef message, Bytes part) override {
    MR_CHECK(message.get() != nullptr);
    write(part);
  }
  void count_dropped() override { dropped++; }
  void count_taken(ExchangeId id, uint32_t bytes) override {
    MR_CHECK(is_open(id));
    taken += bytes;
  }
  void set_waiting(ExchangeId id, size_t bytes) override {
    MR_CHECK(is_open(id));
    waiting = bytes;
    waiting_most = std::max(waiting_most, bytes);
  }
  const SocketSettings& socket_settings(uint32_t) override { return socket; }
  ws::DeflatePool& deflate_pool() override { return deflate_pool_; }
  uint32_t random() override { return mask = mask * 1664525 + 1013904223; }
  uint32_t mask = 1;  // of the last frame
  bool answers_endings = true;
  SocketSettings socket;  // of every socket
  size_t sockets = 0;     // opened
  size_t dropped = 0;
  size_t taken = 0;
  size_t waiting = 0;
  size_t waiting_most = 0;
  // While it is set what is written leaves by flush() only, as it does before the end of a turn.
  bool is_mid_turn = false;
  // While it is set nothing that is written leaves.
  bool peer_is_stuck = false;
  void settle_slowly(size_t bytes) {  // so many bytes leave
    if (!is_open_ || buffered_ == 0) return;
    buffered_ -= std::min(buffered_, bytes);
    is_pending_ = false;
    if (buffered_ == 0) session_->flushed(*this);
    settle();
  }
  // The connection is another session's from here on.
  void go_on_with(std::unique_ptr<Session> session) {
    session_ = std::move(session);
    deadline_ = kNever;
    offer();
    settle();
  }
  // The peer takes again what it is sent.
  void unstick() {
    peer_is_stuck = is_pending_ = false;
    settle();
  }
  [[nodiscard]] size_t unread() const { return unread_.size(); }
  void set_deadline(Milliseconds at) override {
    if (is_open_) deadline_ = at;
  }
  void pause() override { paused_ = true; }
  // Who is starved goes on when there is room, as a connection does.
  void resume() override {
    if (!starved_) offer_due_ = true;
  }
  void stop_waiting() override {
    starved_ = muted_ = false;
    resume();
  }
  void finish(CloseCause cause) override {
    cause_ = cause;
    is_open_ = false;
    is_finishing_ = true;
  }
  void abort(CloseCause cause) override {
    was_aborted_ = true;
    cause_ = cause;
    close();
  }
  Milliseconds now() const override { return now_; }
  Bytes date_line() override { return "Date: *\r\n"; }
  const Limits& limits() const override { return limits_; }
  bool draining() const override { return draining_; }
  const Address& peer() const override { return peer_; }
  uint16_t listener() const override { return 0; }
  uint32_t connection_index() const override { return 0; }
  uint16_t connection_generation() const override { return 7; }
  HeaderField* field_scratch() override { return fields_.data(); }
  void match_route(Method method, Bytes name, Bytes target, RouteMatch& match,
                   uint32_t& path_length) override {
    router_.match(method, name, target, match, path_length);
  }
  void count_request(const Route&) override {}
  const Route* refusal(ErrorCode code) const override { return find_refusal(own_refusals, code); }
  std::vector<Refusal> own_refusals;  // what is said in place of the session's words
  void count_refusal(ErrorCode code) override { refusals.push_back(code); }
  void count_response(uint16_t) override {}
  void count_idle_timeout() override {}
  bool logs_access() const override { return wants_access; }
  void log_access(const AccessLine& line) override {
    LoggedLine& logged = log.emplace_back();
    logged.figures = line.figures;
    logged.exchange = line.exchange;
    logged.route = line.route;
    logged.status = line.status;
    logged.flags = line.flags;
    logged.method = line.method;
    logged.target = line.target;
    for (uint32_t i = 0; i < line.header_count; i++) {
      logged.fields.append(line.headers[i].name).append(": ");
      logged.fields.append(line.headers[i].value).append("\n");
    }
  }
  uint32_t queue_delay(ExchangeId id) override {
    MR_CHECK(is_open(id));
    return delay;
  }
  void take_proxy_header(ProxyHeader&& header) override {
    MR_CHECK(is_open_ && events.empty());
    if (!header.is_local) peer_ = header.source;
    proxy_headers.push_back(std::move(header));
  }

 private:
  static void wake(void* who) { static_cast<FakeSink*>(who)->disk_wakes_.release(); }

  Disk disk_;
  std::counting_semaphore<> disk_wakes_{0};
  DiskInbox inbox_;
  uint64_t last_ticket_ = 0;
  [[nodiscard]] bool is_open(ExchangeId id) const {
    return id.slot < exchanges_.size() && exchanges_[id.slot];
  }
  void close() {
    if (is_gone_) return;
    is_gone_ = true;
    is_open_ = false;
    session_->gone(*this);
  }
  void offer() {
    offer_due_ = false;
    if (!is_open_ || paused_) return;
    unoffered_ = false;
    const std::unique_ptr<char[]> bytes(new char[unread_.empty() ? 1 : unread_.size()]);
    if (!unread_.empty()) std::memcpy(bytes.get(), unread_.data(), unread_.size());
    const size_t consumed = session_->receive(MutableBytes(bytes.get(), unread_.size()), *this);
    MR_CHECK(consumed <= unread_.size());
    change_over();
    // What is not finished with comes again as the session left it: chunks are decoded in place.
    unread_.assign(bytes.get() + consumed, unread_.size() - consumed);
    if (is_open_ && !unoffered_ && std::exchange(close_unsaid_, false))
      session_->peer_closed(*this);
    if (is_open_ && !unoffered_ && std::exchange(drain_unsaid_, false)) session_->drain(*this);
  }
  void change_over() {
    if (next_ == nullptr) return;
    session_ = std::move(next_);
    deadline_ = kNever;
    if (!is_open_) return session_->gone(*this);
    unoffered_ = true;
    close_unsaid_ = peer_closed_;
    drain_unsaid_ = closing_;
    if (!closing_ && draining_) session_->leave(*this);
    starved_ = muted_ = false;
    offer_due_ = true;
  }
  void note_ending(const SeenEvent& event) {
    if (event.kind == EventKind::Ending) endings_.push_back(event);
  }
  // As JavaScript does with a socket, once it has answered what came before.
  void answer_endings() {
    if (!answers_endings) return;
    for (const SeenEvent& event : std::exchange(endings_, {})) {
      if (!is_open(event.exchange)) continue;
      answer(event.exchange,
             {.kind = CommandKind::CloseSocket, .status = event.status, .body = event.body});
    }
  }
  // The end of a turn: what was written leaves, what was held back is offered again.
  void settle() {
    settle_open();
    if (!is_finishing_ || is_gone_ || (buffered_ > 0 && peer_is_stuck)) return;
    is_finishing_ = false;
    buffered_ = files_queued_ = 0;
    session_->left(*this);
  }
  void settle_open() {
    while (is_open_) {
      answer_endings();
      if (!is_open_) return;
      if (buffered_ + files_queued_ > 0 && !peer_is_stuck && !is_mid_turn) {
        buffered_ = files_queued_ = 0;
        session_->flushed(*this);
      }
      // A send that does not go through at once; what comes behind it waits for its end.
      if (buffered_ > 0 && peer_is_stuck && !std::exchange(is_pending_, true)) {
        session_->progressed(*this);
      }
      // Who has an exchange already waits for the lane alone.
      const bool has_room = muted_ || open_count_ < static_cast<size_t>(limits_.in_flight_max);
      if (starved_ && has_room && !lane_is_full && room > 0) {
        starved_ = muted_ = false;
        resume();
      }
      bool stays = peer_is_stuck || is_mid_turn;
      if (!offer_due_ && (buffered_ + files_queued_ == 0 || stays)) return;
      if (!offer_due_) continue;
      if (offers_late) return;
      paused_ = false;
      offer();
    }
  }

  const Limits& limits_;
  const Router& router_;
  std::vector<HeaderField> fields_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Session> next_;
  std::vector<SeenEvent> endings_;
  ws::DeflatePool deflate_pool_;
  std::string unread_;
  std::vector<bool> exchanges_;  // by slot: open
  std::unique_ptr<uint64_t[]> record_;
  uint32_t record_size_ = 0;
  size_t open_count_ = 0;
  size_t buffered_ = 0;
  size_t files_queued_ = 0;
  Milliseconds now_ = 1'000'000;
  Milliseconds deadline_ = kNever;
  Address peer_;
  CloseCause cause_ = CloseCause::CloseCalled;
  bool is_open_ = true;
  bool is_finishing_ = false;
  bool is_gone_ = false;
  bool was_aborted_ = false;
  bool paused_ = false;
  bool starved_ = false;
  bool muted_ = false;  // starved for want of room in the lane
  bool offer_due_ = false;
  bool is_pending_ = false;
  bool draining_ = false;
  bool closing_ = false;
  bool peer_closed_ = false;
  bool unoffered_ = false;  // as Connection has it
  bool close_unsaid_ = false;
  bool drain_unsaid_ = false;
};

}  // namespace millrace::test
