// Session: protocol state of one connection. Sink: all that a session may do to the outside.
// Pure: no socket, no clock, no thread. Time arrives as now() of the sink, which the loop fixes per
// turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/base/blob.h"
#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/disk/file_writer.h"
#include "core/model/address.h"
#include "core/model/close_cause.h"
#include "core/model/command.h"
#include "core/model/error.h"
#include "core/model/event.h"
#include "core/model/head.h"
#include "core/model/limits.h"
#include "core/model/observation.h"
#include "core/model/proxy.h"
#include "core/model/route.h"
#include "core/model/shared_message.h"
#include "core/model/socket.h"

namespace millrace {

namespace ws {
class DeflatePool;
}
class Session;

// Bodies up to this size travel inside the event, larger ones as blobs.
constexpr size_t kInlineBodyMax = 16 * 1024;

class Sink {
 public:
  // --- exchanges and events ---
  // False: the lane is full or too many requests are in flight. Stop consuming; receive() is called
  // again later.
  [[nodiscard]] virtual bool can_open_exchange() = 0;
  [[nodiscard]] virtual ExchangeId open_exchange() = 0;  // only after can_open_exchange()
  // The exchange is complete (`delivered`: its answer is written) or given up; its id is dead from
  // here on.
  virtual void close_exchange(ExchangeId id, bool delivered) = 0;
  // Room for one event of `size` bytes (fixed part included) in the lane of `id`; never null right
  // after can_open_exchange() for a head within its limits and an inline body.
  [[nodiscard]] virtual Event* begin_event(ExchangeId id, size_t size) = 0;
  virtual void end_event(Event* event) = 0;
  virtual void notify(const Notice& notice) = 0;
  // Room in the lane for an event with kInlineBodyMax bytes, of an exchange that is open. False:
  // like can_open_exchange().
  [[nodiscard]] virtual bool can_emit() = 0;
  // JavaScript does not keep up: requests that need it are answered 503 (limits().queue_delay_max).
  [[nodiscard]] virtual bool is_overloaded() { return false; }

  // --- bytes out ---
  virtual void write(Bytes bytes) = 0;                      // copied
  virtual void write_blob(Blob blob, size_t from = 0) = 0;  // moved; the bytes from there on
  virtual void write_static(Bytes bytes) = 0;  // must outlive the server's loops (route table)
  // So many bytes of a regular file, from `offset` on; closes it. One that ends too early breaks
  // the connection.
  virtual void write_file(Fd file, uint64_t offset, uint64_t size) = 0;
  // The same of a file that a later write_file() hands over.
  virtual void write_file_part(int file, uint64_t offset, uint64_t size) = 0;
  // Offers what is queued to the kernel now and not at the end of the turn. The connection may end
  // by it.
  virtual void flush() = 0;
  // Bytes not yet with the kernel that hold memory, so without those of files.
  [[nodiscard]] virtual size_t buffered() const = 0;
  // Files that have not left to their ends: each holds a descriptor, and maybe the whole send
  // queue.
  [[nodiscard]] virtual size_t files_queued() const = 0;

  // --- files ---
  // A number for disk work of this connection: Session::disk_done() gets what comes back with it.
  [[nodiscard]] virtual uint64_t new_ticket() = 0;
  [[nodiscard]] virtual std::unique_ptr<FileWriter> open_writer(Fd file, uint64_t ticket,
                                                                bool digest) = 0;

  virtual void submit(std::unique_ptr<DiskWork> work) = 0;  // with a ticket

  // --- sockets ---
  // The connection goes on with another session as soon as this call into the present one has
  // returned; what is unread is offered to it. Exchanges stay open under their ids.
  virtual void become(std::unique_ptr<Session> session) = 0;
  // The exchange is a socket from here on, no longer a request in flight.
  virtual void open_socket(ExchangeId id) = 0;
  // It is over: its last notice. The id is dead from here on. `fields` goes with it as the event's
  // header text where the lane has room.
  virtual void close_socket(const Notice& last, Bytes fields = {}) = 0;
  // `part` is a frame of the message, which is kept until it has left.
  virtual void write_shared(SharedMessageRef message, Bytes part) = 0;
  virtual void count_dropped() = 0;  // a message that was published, for want of room
  // For JavaScript to look at: so many payload bytes of Send commands more have been taken; so many
  // wait for the peer.
  virtual void count_taken(ExchangeId id, uint32_t bytes) = 0;
  virtual void set_waiting(ExchangeId id, size_t bytes) = 0;
  [[nodiscard]] virtual const SocketSettings& socket_settings(uint32_t number) = 0;
  [[nodiscard]] virtual ws::DeflatePool& deflate_pool() = 0;
  [[nodiscard]] virtual uint32_t random() = 0;

  // --- connection ---
  // One deadline per connection; session.deadline() is called once when it passes. kNever: none.
  virtual void set_deadline(Milliseconds at) = 0;
  virtual void pause() = 0;   // stop reading the socket
  virtual void resume() = 0;  // read again; receive() is called soon, also without new bytes
  // The same, although can_open_exchange() said no and nothing has become free since.
  virtual void stop_waiting() { resume(); }
  // After what is written has left: half-close, then read and drop for at most timeouts.linger,
  // then close.
  virtual void finish(CloseCause cause) = 0;
  // The same for a peer that has sent all that it will, and reads to the end: not lingered for.
  virtual void finish_at_once(CloseCause cause) { finish(cause); }
  virtual void abort(CloseCause cause) = 0;  // reset, dropping what is not written

  // What the PROXY protocol said, once, before any request: peer() is its source from here on.
  virtual void take_proxy_header(ProxyHeader&&) {}
  // Why the connection is refused before its first request, if it is; asked when a session of
  // requests begins.
  [[nodiscard]] virtual ErrorCode refused_at_entry() const { return ErrorCode::None; }

  // --- observation ---
  // A Left event follows when what is written so far has left, or the connection has ended.
  virtual void tell_when_left(ExchangeId) {}
  // Whether log_access() is wanted; it drops what the lane has no room for.
  [[nodiscard]] virtual bool logs_access() const { return false; }
  virtual void log_access(const AccessLine&) {}
  // Bytes that were written and are not with the kernel, those of files too.
  [[nodiscard]] virtual uint64_t unsent() const { return buffered(); }
  [[nodiscard]] virtual double wall_clock_ms() { return static_cast<double>(wall_clock()) * 1000; }
  // How long the request of an exchange waited for JavaScript; asked before close_exchange().
  [[nodiscard]] virtual uint32_t queue_delay(ExchangeId) { return 0; }
  // The server's numbers as Prometheus reads them.
  [[nodiscard]] virtual Blob metrics_text() { return {}; }

  // --- surroundings, the same for all sessions of the loop ---
  [[nodiscard]] virtual Milliseconds now() const = 0;
  [[nodiscard]] virtual UnixSeconds wall_clock() const = 0;
  [[nodiscard]] virtual Bytes date_line() = 0;  // "Date: …GMT\r\n", RFC 9110 6.6.1
  [[nodiscard]] virtual const Limits& limits() const = 0;
  [[nodiscard]] virtual bool draining() const = 0;
  [[nodiscard]] virtual const Address& peer() const = 0;
  [[nodiscard]] virtual uint16_t listener() const = 0;
  [[nodiscard]] virtual uint32_t connection_index() const = 0;
  [[nodiscard]] virtual uint16_t connection_generation() const { return 0; }
  [[nodiscard]] virtual HeaderField* field_scratch() = 0;  // limits().header_count_max entries
  virtual void match_route(Method method, Bytes name, Bytes target, RouteMatch& match,
                           uint32_t& path_length) = 0;
  virtual void count_request(const Route& route) = 0;
  // A Static route that says it in place of the session; null: none was given.
  [[nodiscard]] virtual const Route* refusal(ErrorCode) const { return nullptr; }
  // The last one says why the connection ended, if it does.
  virtual void count_refusal(ErrorCode code) = 0;
  virtual void count_response(uint16_t status) = 0;
  virtual void count_idle_timeout() = 0;

 protected:
  ~Sink() = default;
};

// Owned by: loop thread.
class Session {
 public:
  virtual ~Session() = default;
  // Offers everything unread. Returns how many bytes are finished with; the rest comes again,
  // longer.
  [[nodiscard]] virtual size_t receive(MutableBytes unread, Sink& sink) = 0;
  // `command` is followed by its header lines and body in memory; a blob's ownership passes to the
  // session.
  virtual void command(const Command& command, Sink& sink) = 0;
  virtual void peer_closed(Sink& sink) = 0;
  virtual void deadline(Sink& sink) = 0;
  virtual void flushed(Sink& sink) = 0;  // everything written has left
  virtual void progressed(Sink&) {}      // some of it has, the rest waits for the peer
  virtual void leave(Sink&) {}           // the server drains, but goes on serving
  virtual void drain(
      Sink& sink) = 0;  // the server is closing: end when idle, else after the last answer
  // Work that was submitted with a ticket of ours. False: nobody waits for it any more, and it is
  // left where it is.
  [[nodiscard]] virtual bool disk_done(std::unique_ptr<DiskWork>& work, Sink& sink) = 0;
  // The connection is gone: give up every exchange. No sink call is legal but those that read,
  // close_exchange(), close_socket() and log_access().
  virtual void gone(Sink& sink) = 0;
  // The connection ends behind what is written: give up every exchange. gone() still follows.
  virtual void abandon(Sink& sink) { gone(sink); }
  // What was written before finish() has left; gone() still follows.
  virtual void left(Sink&) {}
  // A response is on the wire whose end is still owed: what follows must not look like it.
  [[nodiscard]] virtual bool is_midway() { return false; }
};

}  // namespace millrace
