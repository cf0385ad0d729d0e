#include "core/loop/connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/disk/warm_file.h"
#include "core/loop/loop.h"

namespace millrace {
namespace {

constexpr size_t kPartsMax = 64;
// Longer writes are copied into a blob of their own instead of many blocks.
constexpr size_t kBlockWriteMax = 2 * Slab::kBlockSize;
// Shorter ones are copied: a part of its own costs the kernel more than the copy costs us.
constexpr size_t kStaticPartMin = 1024;
// A file goes in pieces, and after some of them the other connections have their turn: a peer that
// takes everything at once would keep them waiting for as long as its file is.
constexpr size_t kFilePieceMax = size_t{1} << 20;
constexpr size_t kFileTurnMax = 4 * kFilePieceMax;

CloseCause cause_of(int error) {
  switch (error) {
    case ECONNRESET: return CloseCause::ClosedByClient;
    case 0:
    case EPIPE:
    case ETIMEDOUT: return CloseCause::ConnectionLost;
    default: return CloseCause::NetErrored;
  }
}

}  // namespace

Connection::Connection(Loop& loop, ConnectionId id, ListenerId listener, const Address& peer,
                       ProxyMode proxy)
    : loop_(loop), id_(id), peer_(peer), listener_(listener) {
  if (listener == kNoListener) standing_ = PeerStanding::Uncounted;
  if (proxy != ProxyMode::Off) {
    telling_ = Telling::AfterProxy;
  } else if (listener != kNoListener && loop.observation().connections) {
    telling_ = Telling::Due;
  }
}

Connection::~Connection() { drop_segments(queue_.size()); }

void Connection::start(std::unique_ptr<Session> session) {
  session_ = std::move(session);
  if (telling_ != Telling::AfterProxy) join_peers();
  if (state_ == State::Open) offer({});  // lets the session arm its first deadline
}

void Connection::dial(std::unique_ptr<Session> session, Milliseconds deadline) {
  session_ = std::move(session);
  set_deadline(deadline);
}

void Connection::on_connected() { offer({}); }

// --- reading ---

void Connection::on_received(MutableBytes bytes) {
  loop_.stats().bytes_in.add(static_cast<int64_t>(bytes.size()));
  if (state_ != State::Open) {  // read and drop
    lingers_ = true;            // whatever was thought: more may come
    return;
  }
  if (paused_) return stash(Bytes(bytes.data(), bytes.size()));
  if (unread_begin_ == unread_end_) return offer(bytes);
  stash(Bytes(bytes.data(), bytes.size()));
  offer_again();
}

void Connection::offer_again() {
  if (state_ != State::Open || paused_) return;
  if (!may_offer(Bytes(unread_.data() + unread_begin_, unread_end_ - unread_begin_))) return;
  unoffered_ = false;
  offer_unread();
  if (state_ == State::Open && !unoffered_ && std::exchange(close_unsaid_, false))
    session_->peer_closed(*this);
  if (state_ == State::Open && !unoffered_ && std::exchange(drain_unsaid_, false))
    session_->drain(*this);
}

void Connection::offer_unread() {
  MutableBytes unread(unread_.data() + unread_begin_, unread_end_ - unread_begin_);
  if (unread.empty()) return offer({});
  unread_begin_ += session_->receive(unread, *this);
  if (next_ != nullptr) change_over();
  if (unread_begin_ == unread_end_ || state_ != State::Open) {
    unread_ = Blob();
    unread_begin_ = unread_end_ = 0;
  }
}

void Connection::offer(MutableBytes bytes) {
  Bytes offered(bytes.data(), bytes.size());
  if (!may_offer(offered)) return stash(offered);
  size_t consumed = session_->receive(bytes, *this);
  if (state_ == State::Open && consumed < bytes.size()) {
    stash(Bytes(bytes.data() + consumed, bytes.size() - consumed));
  }
  if (next_ != nullptr) change_over();
}

void Connection::stash(Bytes bytes) {
  if (bytes.empty()) return;
  size_t kept = unread_end_ - unread_begin_;
  if (unread_.size() - unread_end_ < bytes.size()) {
    size_t size = std::max<size_t>({kept + bytes.size(), std::min<size_t>(kept * 2, 1 << 17), 512});
    Blob larger = Blob::uninitialized(size);
    if (kept > 0) std::memcpy(larger.data(), unread_.data() + unread_begin_, kept);
    unread_ = std::move(larger);
    unread_begin_ = 0;
    unread_end_ = kept;
  }
  std::memcpy(unread_.data() + unread_end_, bytes.data(), bytes.size());
  unread_end_ += bytes.size();
}

void Connection::on_peer_closed() {
  peer_closed_ = true;
  if (state_ == State::Lingering) return close_now(false);
  if (state_ != State::Open) return;
  // Behind the bytes that came before.
  close_unsaid_ = telling_ == Telling::Due || unoffered_;
  if (!close_unsaid_) session_->peer_closed(*this);
}

void Connection::pause() {
  if (paused_ || state_ != State::Open) return;
  paused_ = true;
  if (!peer_closed_) loop_.poller().pause_receiving(id_);
}

void Connection::resume() {
  // Who is starved goes on when its turn comes, whatever else has become free.
  if (state_ != State::Open || starved_ || offer_due_) return;
  offer_due_ = true;
  loop_.add_offer(id_.index);
}

void Connection::on_offer() {
  // The index may be another connection's by now.
  if (!offer_due_) return;
  offer_due_ = false;
  if (state_ != State::Open || starved_) return;
  // Not before: what is read until the next offer would be kept on top of what is unread already.
  unpause();
  offer_again();
}

void Connection::on_room() {
  // The index may be another connection's by now.
  if (!starved_) return;
  starved_ = false;
  if (state_ != State::Open) return;
  unpause();
  offer_again();
}

void Connection::unpause() {
  if (paused_ && !peer_closed_) loop_.poller().resume_receiving(id_);
  paused_ = false;
}

// --- exchanges and events ---

bool Connection::can_open_exchange() {
  if (telling_ == Telling::Late) static_cast<void>(tell());
  if (telling_ != Telling::Late && loop_.can_open_exchange()) return true;
  if (starve()) loop_.add_starved(id_.index);
  return false;
}

bool Connection::can_emit() {
  if (loop_.can_emit()) return true;
  if (starve()) loop_.add_muted(id_.index);
  return false;
}

bool Connection::is_overloaded() { return loop_.is_overloaded(); }

void Connection::stop_waiting() {
  starved_ = false;
  resume();
}

// True when it has to be put on one of the loop's lists.
bool Connection::starve() {
  if (state_ != State::Open) return false;
  pause();
  return !std::exchange(starved_, true);
}

ExchangeId Connection::open_exchange() {
  if (open_exchanges_++ == 0) loop_.stats().idle.decrement();
  loop_.stats().in_flight.increment();
  ExchangeId id = loop_.exchanges().open(id_.index);
  Meters& meters = loop_.lane().meters;
  if (meters.keeps_delays()) meters.begin_delay(id.slot, now());
  return id;
}

void Connection::close_exchange(ExchangeId id, bool delivered) {
  if (--open_exchanges_ == 0) loop_.stats().idle.increment();
  loop_.exchanges().close(id);
  loop_.stats().in_flight.decrement();
  if (delivered) loop_.count_completed();
  if (!delivered) {
    loop_.stats().aborted.increment();
    loop_.notify({id, EventKind::Aborted});
  }
}

Event* Connection::begin_event(ExchangeId, size_t size) { return loop_.begin_event(size); }
void Connection::end_event(Event* event) { loop_.end_event(event); }
void Connection::notify(const Notice& notice) { loop_.notify(notice); }

void Connection::on_command(const Command& command) {
  session_->command(command, *this);
  if (next_ != nullptr) change_over();
}

// --- sockets ---

void Connection::become(std::unique_ptr<Session> session) { next_ = std::move(session); }

void Connection::change_over() {
  session_ = std::move(next_);
  session_deadline_ = kNever;
  update_deadline();
  end_proxy_wait();
  if (state_ != State::Open) return session_->gone(*this);
  join_peers();
  if (state_ != State::Open) return;
  unoffered_ = true;
  close_unsaid_ = peer_closed_;
  // Nobody else tells this one; and it has not seen what is unread.
  drain_unsaid_ = loop_.ends_idle();
  if (!drain_unsaid_ && draining()) session_->leave(*this);
  starved_ = false;  // the first one's want
  resume();
}

void Connection::open_socket(ExchangeId id) {
  loop_.exchanges().keep(id);
  loop_.stats().in_flight.decrement();
  loop_.stats().sockets.increment();
}

void Connection::close_socket(const Notice& last, Bytes fields) {
  Notice notice = last;
  bool was_open = loop_.exchanges().is_socket(last.id);
  if (--open_exchanges_ == 0) loop_.stats().idle.increment();
  set_waiting(last.id, 0);
  loop_.end_socket(last.id);
  (was_open ? loop_.stats().sockets : loop_.stats().in_flight).decrement();
  if (notice.kind == EventKind::Refused && notice.head_b == 0)
    notice.head_b = static_cast<uint32_t>(error_);
  bool is_lost = notice.head_b == static_cast<uint32_t>(ErrorCode::WsLost);
  if (notice.kind == EventKind::Ended && is_lost && cause_ == CloseCause::TimedOut)
    notice.head_b = static_cast<uint32_t>(ErrorCode::WsTimeout);
  loop_.notify(notice, fields);
}

void Connection::write_shared(SharedMessageRef message, Bytes part) {
  if (state_ == State::Closed || part.empty()) return;
  queued_bytes_ += part.size();
  Segment segment;
  segment.data = const_cast<char*>(part.data());
  segment.size = part.size();
  segment.keep = Keep::Shared;
  segment.offset = reinterpret_cast<uint64_t>(message.release());
  queue_.push_back(segment);
  mark_dirty();
}

void Connection::count_dropped() { loop_.stats().dropped_messages.increment(); }

void Connection::count_taken(ExchangeId id, uint32_t bytes) {
  loop_.lane().meters.add_taken(id.slot, bytes);
}

void Connection::set_waiting(ExchangeId id, size_t bytes) {
  loop_.lane().meters.set_waiting(id.slot,
                                  static_cast<uint32_t>(std::min<size_t>(bytes, UINT32_MAX)));
}

const SocketSettings& Connection::socket_settings(uint32_t number) {
  return loop_.socket_settings(number);
}
ws::DeflatePool& Connection::deflate_pool() { return loop_.deflate_pool(); }
uint32_t Connection::random() { return loop_.random(); }

// --- writing ---

void Connection::write(Bytes bytes) {
  if (state_ == State::Closed || bytes.empty()) return;
  if (bytes.size() > kBlockWriteMax) return write_blob(Blob::copy(bytes));
  queued_bytes_ += bytes.size();
  while (!bytes.empty()) {
    // A segment of a pending send is not touched any more.
    if (queue_.size() == sending_segments_ || queue_.back().keep != Keep::Block ||
        queue_.back().size == Slab::kBlockSize) {
      queue_.push_back({loop_.take_block(), 0, Keep::Block});
    }
    Segment& last = queue_.back();
    size_t part = std::min(bytes.size(), Slab::kBlockSize - last.size);
    std::memcpy(last.data + last.size, bytes.data(), part);
    last.size += part;
    bytes.remove_prefix(part);
  }
  mark_dirty();
}

void Connection::write_blob(Blob blob, size_t from) {
  if (state_ == State::Closed || blob.size() <= from) return;
  size_t size = blob.size() - from;
  queued_bytes_ += size;
  Segment segment;
  segment.data = blob.release() + from;
  segment.size = size;
  segment.keep = Keep::Blob;
  segment.offset = from;
  queue_.push_back(segment);
  mark_dirty();
}

void Connection::write_static(Bytes bytes) {
  if (bytes.size() < kStaticPartMin) return write(bytes);
  if (state_ == State::Closed) return;
  queued_bytes_ += bytes.size();
  queue_.push_back({const_cast<char*>(bytes.data()), bytes.size(), Keep::Static});
  mark_dirty();
}

void Connection::write_file(Fd file, uint64_t offset, uint64_t size) {
  if (state_ == State::Closed || size == 0) return;
  write_file_part(file.release(), offset, size);
  queue_.back().owns_file = true;
}

void Connection::write_file_part(int file, uint64_t offset, uint64_t size) {
  if (state_ == State::Closed || size == 0) return;
  Segment segment;
  segment.size = static_cast<size_t>(size);
  segment.keep = Keep::File;
  segment.file = file;
  segment.offset = offset;
  queue_.push_back(segment);
  files_queued_++;
  loop_.stats().files.increment();
  mark_dirty();
}

void Connection::mark_dirty() {
  if (dirty_) return;
  dirty_ = true;
  loop_.add_dirty(id_.index);
}

void Connection::flush() {
  dirty_ = false;
  if (state_ == State::Closed || sending_segments_ > 0) return;
  send_queue();
}

void Connection::send_queue() {
  size_t file_bytes_left = kFileTurnMax;
  while (!queue_.empty()) {
    SendResult result = SendResult::Done;
    if (queue_.front().keep == Keep::File) {
      if (file_bytes_left == 0) return go_on_later();
      if (!file_ready(queue_.front())) return;
      size_t bytes = std::min({queue_.front().size, kFilePieceMax, file_bytes_left});
      file_bytes_left -= bytes;
      result = send_file_part(bytes);
    } else {
      result = send_parts();
    }
    if (result == SendResult::Pending) {
      on_progress();
      if (state_ == State::Open) session_->progressed(*this);
      return;
    }
    if (result == SendResult::Failed) return on_broken(loop_.poller().send_error());
  }
  all_sent();
}

// One gather of what stands before the next file.
SendResult Connection::send_parts() {
  std::array<Bytes, kPartsMax> parts;
  size_t count = 0;
  for (; count < std::min(queue_.size(), kPartsMax); count++) {
    if (queue_[count].keep == Keep::File) break;
    parts[count] = Bytes(queue_[count].data, queue_[count].size);
  }
  SendResult result = loop_.poller().send(id_, {parts.data(), count});
  if (result == SendResult::Done) drop_sent(count, 0);
  if (result == SendResult::Pending) sending_segments_ = count;
  return result;
}

SendResult Connection::send_file_part(size_t bytes) {
  const Segment& first = queue_.front();
  SendResult result = loop_.poller().send_file(id_, first.file, first.offset, bytes);
  if (result == SendResult::Done) drop_sent(1, bytes);
  if (result == SendResult::Pending) {
    sending_segments_ = 1;
    sending_file_bytes_ = bytes;
  }
  return result;
}

// Whether its next bytes can be sent without waiting for a disk. When not, on_disk_done() goes on.
bool Connection::file_ready(const Segment& file) {
  if (warming_ != 0) return false;
  size_t window = std::min(file.size, kFilePieceMax);
  if (file.offset < warm_until_) return true;
  warm_until_ = file.offset + window;
  if (is_warm(file.file, file.offset, window)) return true;
  Fd own = Fd(file.file);
  Fd copy = own.duplicate();
  static_cast<void>(own.release());
  if (!copy.is_open()) return true;  // short of descriptors: the loop waits for the disk itself
  auto work = std::make_unique<WarmFileWork>(std::move(copy), file.offset, window);
  work->ticket = warming_ = new_ticket();
  submit(std::move(work));
  return false;
}

// Other connections first; the loop does not sleep until then.
void Connection::go_on_later() {
  if (dirty_) return;
  dirty_ = true;
  loop_.add_unfinished(id_.index);
}

void Connection::on_sent() {
  if (state_ == State::Closed) return;
  drop_sent(std::exchange(sending_segments_, 0), std::exchange(sending_file_bytes_, 0));
  own_deadline_ = kNever;
  update_deadline();
  send_queue();
}

void Connection::on_progress() {
  unacknowledged_ = loop_.poller().unacknowledged(id_);
  await_progress();
}

// The peer owes taking some of what was sent.
void Connection::await_progress() {
  int64_t timeout = limits().write_timeout;
  own_deadline_ = timeout == 0 ? kNever : now() + timeout;
  update_deadline();
}

// `file_bytes`: not 0 when the one segment is a file, of which so many bytes have left.
void Connection::drop_sent(size_t count, size_t file_bytes) {
  size_t bytes = file_bytes;
  if (file_bytes == 0) {
    for (size_t i = 0; i < count; i++) bytes += queue_[i].size;
  }
  loop_.stats().bytes_out.add(static_cast<int64_t>(bytes));
  if (leaving_ != nullptr) note_sent(bytes);
  Segment& first = queue_.front();
  if (file_bytes > 0 && file_bytes < first.size) {
    first.offset += file_bytes;
    first.size -= file_bytes;
    return;
  }
  drop_segments(count);
}

void Connection::drop_segments(size_t count) {
  for (size_t i = 0; i < count; i++) {
    Segment& segment = queue_[i];
    if (segment.keep == Keep::File) {
      Fd closed(segment.owns_file ? segment.file : -1);
      warm_until_ = 0;
      files_queued_--;
      loop_.stats().files.decrement();
      continue;
    }
    queued_bytes_ -= segment.size;
    if (segment.keep == Keep::Block) loop_.give_back_block(segment.data);
    if (segment.keep == Keep::Blob)
      Blob dropped = Blob::adopt(segment.data - segment.offset, segment.size);
    if (segment.keep == Keep::Shared)
      SharedMessageRef dropped(reinterpret_cast<SharedMessage*>(segment.offset));
  }
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
  // An idle connection keeps no large table.
  if (queue_.empty() && queue_.capacity() > 2) std::vector<Segment>().swap(queue_);
}

void Connection::all_sent() {
  if (state_ == State::Open) return session_->flushed(*this);
  if (state_ != State::Finishing) return;
  session_->left(*this);
  if (reset_behind_) return close_now(true);
  linger();
}

// --- ending ---

void Connection::finish(CloseCause cause) {
  if (state_ != State::Open) return;
  state_ = State::Finishing;
  cause_ = cause;
  session_deadline_ = kNever;
  unpause();
  update_deadline();
  // It is closed by the end of the turn; who comes back at once may be accepted before.
  if (peer_closed_ && queue_.empty()) leave_peers();
  mark_dirty();  // with an empty queue too: flush() goes on to linger()
}

void Connection::finish_at_once(CloseCause cause) {
  lingers_ = false;
  finish(cause);
}

// RFC 9112 9.6: half-close, then read on, so that a client still sending gets our answer and not a
// reset.
void Connection::linger() {
  if (peer_closed_ || !lingers_ || limits().linger_timeout == 0) return close_now(false);
  state_ = State::Lingering;
  loop_.poller().shutdown_sending(id_);
  own_deadline_ = now() + limits().linger_timeout;
  update_deadline();
}

void Connection::abort(CloseCause cause) {
  if (state_ == State::Closed) return;
  judge_end(cause);
  close_now(true);
}

void Connection::on_broken(int error) {
  if (state_ == State::Closed) return;
  // Who resets us when all has been said loses nothing.
  if (state_ != State::Lingering) {
    error_ = error;
    judge_end(cause_of(error));
  }
  // A file may have ended too early: the peer must not take what it has for the whole answer.
  close_now(!queue_.empty() && queue_.front().keep == Keep::File);
}

void Connection::force() {
  if (state_ == State::Closed) return;
  if (state_ == State::Open) judge_end(CloseCause::Drained);
  loop_.count_forced(open_exchanges_);
  close_now(open_exchanges_ > 0 || !queue_.empty());
}

void Connection::close_now(bool reset) {
  state_ = State::Closed;
  auto cause = cause_ == CloseCause::Drained ? CloseCause::CloseCalled : cause_;
  loop_.stats().closes[static_cast<size_t>(cause)].increment();
  session_->gone(*this);
  lose_leaving();
  session_deadline_ = own_deadline_ = kNever;
  update_deadline();
  leave_peers();  // before the peer can know
  loop_.poller().close(id_, reset);
  // The kernel has its copy: nothing of a pending send is read after close().
  sending_segments_ = sending_file_bytes_ = 0;
  drop_segments(queue_.size());
}

void Connection::on_drain() {
  if (state_ != State::Open) return;
  // Not as idle while bytes of it have not been offered.
  bool has_unread = unread_begin_ != unread_end_;
  drain_unsaid_ = unoffered_ || (telling_ == Telling::Due && has_unread);
  if (!drain_unsaid_) session_->drain(*this);
}

void Connection::on_leave() {
  if (state_ == State::Open) session_->leave(*this);
}

// --- the disk ---

uint64_t Connection::new_ticket() { return loop_.new_ticket(id_.index); }

std::unique_ptr<FileWriter> Connection::open_writer(Fd file, uint64_t ticket, bool digest) {
  return loop_.open_writer(std::move(file), ticket, digest);
}

void Connection::submit(std::unique_ptr<DiskWork> work) { loop_.submit(std::move(work)); }

bool Connection::on_disk_done(std::unique_ptr<DiskWork>& work) {
  if (work->ticket == warming_) {
    warming_ = 0;
    if (state_ != State::Closed) mark_dirty();
    return false;
  }
  return state_ == State::Open && session_->disk_done(work, *this);
}

// --- deadlines ---

void Connection::set_deadline(Milliseconds at) {
  if (session_deadline_ == at || state_ != State::Open) return;
  session_deadline_ = at;
  update_deadline();
}

void Connection::update_deadline() {
  Milliseconds at = session_deadline_;
  if (own_deadline_ != kNever && (at == kNever || own_deadline_ < at)) at = own_deadline_;
  loop_.timers().set(id_.index, at);
}

void Connection::on_deadline() {
  if (state_ == State::Closed) return;
  if (own_deadline_ != kNever && own_deadline_ <= now()) {
    if (state_ == State::Lingering) return close_now(false);
    if (telling_ == Telling::Due && state_ == State::Open) return go_on_untold();
    // The kernel reports room for more only when much of its buffer is free; a slow peer takes less
    // meanwhile.
    int64_t left = loop_.poller().unacknowledged(id_);
    if (left >= 0 && left < unacknowledged_) {
      unacknowledged_ = left;
      return await_progress();
    }
    loop_.stats().write_timeouts.increment();
    refusal_ = ErrorCode::WriteTimeout;
    return abort(CloseCause::TimedOut);
  }
  if (session_deadline_ != kNever && session_deadline_ <= now()) {
    session_deadline_ = kNever;
    session_->deadline(*this);
    if (state_ == State::Closed) return;
  }
  update_deadline();
}

// --- surroundings ---

Milliseconds Connection::now() const { return loop_.now(); }
UnixSeconds Connection::wall_clock() const { return loop_.wall_clock(); }
Bytes Connection::date_line() { return loop_.date_line(); }
const Limits& Connection::limits() const { return loop_.limits(); }
bool Connection::draining() const { return loop_.draining(); }
HeaderField* Connection::field_scratch() { return loop_.field_scratch(); }
Blob Connection::metrics_text() { return loop_.metrics_text(); }

uint32_t Connection::queue_delay(ExchangeId id) {
  const Meters& meters = loop_.lane().meters;
  return meters.keeps_delays() ? meters.delay(id, now()) : 0;
}

void Connection::match_route(Method method, Bytes name, Bytes target, RouteMatch& match,
                             uint32_t& path_length) {
  loop_.router().match(method, name, target, match, path_length);
}

void Connection::count_request(const Route& route) {
  loop_.stats().requests.increment();
  if (is_native(route)) loop_.stats().native_responses.increment();
}

const Route* Connection::refusal(ErrorCode code) const {
  return find_refusal(loop_.refusals(), code);
}

void Connection::count_refusal(ErrorCode code) {
  if (code == ErrorCode::HandlerTimeout) loop_.stats().handler_timeouts.increment();
  loop_.stats().refusals[static_cast<size_t>(code)].increment();
  if (code == ErrorCode::Overloaded) return loop_.stats().shed.increment();  // it goes on
  refusal_ = code;
}

void Connection::count_response(uint16_t status) { loop_.count_response(status); }
void Connection::count_idle_timeout() {
  loop_.stats().keep_alive_timeouts.increment();
  refusal_ = ErrorCode::KeepAliveTimeout;
}

}  // namespace millrace
