// The contract over the kernel: operations in, completions out. Knows sockets, not protocols.
//
// Life of a connection: Accepted or Connected → any number of receive/send → close → Closed, the
// last word about its id. Reads land in an arena of the poller and are valid until the next wait().
// Nothing is delivered after close() but Closed, and an id is only reused after Closed was
// delivered. A batch that wait() has returned is not edited any more: who closes half-way through
// skips the rest of it for that id.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "core/base/fd.h"
#include "core/base/result.h"
#include "core/model/address.h"
#include "core/poll/placement.h"

namespace millrace {

// Index into the poller's and the loop's parallel tables; dense, reused after Closed.
struct ConnectionId {
  uint32_t index = UINT32_MAX;
  uint32_t generation = 0;
  friend bool operator==(const ConnectionId&, const ConnectionId&) = default;
};

enum class CompletionKind : uint8_t {
  Accepted,      // id, listener, peer
  AcceptFailed,  // listener, error; the poller goes on trying only after resume_accepting()
  Connected,     // id: connect() has succeeded; bytes may go both ways
  Received,      // id, bytes (never empty); reading goes on by itself until pause_receiving()
  PeerClosed,    // id: the peer sent its last byte (half-close); delivered once
  Sent,          // id: everything of a pending send left
  Progressed,    // id: part of a pending send left (restarts the write deadline)
  Failed,        // id, error: reset or any other end; only close() is legal after it
  Closed,        // id: free to be reused
  Woken,         // wake() was called
};

struct Completion {
  CompletionKind kind = CompletionKind::Woken;
  ListenerId listener = 0;
  int error = 0;
  ConnectionId id = {};
  MutableBytes bytes = {};
  const Address* peer = nullptr;  // Accepted: valid until the next wait()
};

// Where to connect to: a numeric address with a port, the path of a unix socket, or a connected
// socket that is taken over (it is closed on failure too).
struct DialTarget {
  Family family = Family::IPv4;
  Bytes address = {};
  uint16_t port = 0;
  int fd = -1;
};

enum class SendResult : uint8_t {
  Done,     // all parts are with the kernel
  Pending,  // Sent (or Failed) follows; the parts' bytes must stay where they are until then
  Failed,   // the connection is broken; no Failed completion follows for this send; close() it
};

// Owned by: loop thread; wake() and now() may be called by any thread.
class Poller {
 public:
  virtual ~Poller() = default;

  [[nodiscard]] virtual const char* name() const = 0;
  [[nodiscard]] virtual Milliseconds now() = 0;  // monotonic
  [[nodiscard]] virtual UnixSeconds wall_clock() = 0;
  [[nodiscard]] virtual int64_t wall_clock_ms() = 0;  // the same, finer
  // The descriptor that becomes readable when wait(0) would return something; -1 where there is
  // none (sim).
  [[nodiscard]] virtual int descriptor() const = 0;

  // Takes a bound, listening, non-blocking socket. The same open socket may be listened on by
  // several pollers.
  [[nodiscard]] virtual Status listen(ListenerId id, Fd socket) = 0;
  // Closes it. What its backlog holds is accepted before, within limit_accepts() and unless
  // accepting is paused; the completions follow with the next wait().
  virtual void unlisten(ListenerId id) = 0;
  virtual void pause_accepting() = 0;  // all listeners
  virtual void resume_accepting() = 0;
  // So many more may be accepted until this is called again, after which ready listeners are left
  // alone; without end at first.
  virtual void limit_accepts(uint32_t count) = 0;
  // Asked about whatever is accepted from here on; outlives the poller. None at first: all stay.
  virtual void set_placement(Placement& placement) = 0;
  // Takes a connected socket as if it had been accepted; the Accepted completion follows.
  [[nodiscard]] virtual Status adopt(ListenerId as, Fd socket) = 0;
  // The same for one that another poller has accepted.
  [[nodiscard]] virtual Status adopt(ListenerId as, Fd socket, const Address& peer) = 0;

  // Begins a connection of our own. Its id is in use from here on: Connected follows once, before
  // anything else, or Failed with the errno of why not. Until then close() and pausing are legal,
  // sending is not. A refusal that is known at once comes as a Status.
  [[nodiscard]] virtual Result<ConnectionId> connect(const DialTarget& target) = 0;

  virtual void pause_receiving(ConnectionId id) = 0;
  virtual void resume_receiving(ConnectionId id) = 0;
  // At most one send per connection is pending. `parts` itself is only read during the call.
  [[nodiscard]] virtual SendResult send(ConnectionId id, std::span<const Bytes> parts) = 0;
  // The same for bytes of a regular file, without a copy of them in this process where the kernel
  // can: Done, Pending or Failed as for send(), and it is the one send that is pending. `file` must
  // stay open until Sent or Failed was delivered, or until close(). A file that ends before `count`
  // bytes is a failure. Doesn't return before the socket is full: bound `count` where others wait.
  [[nodiscard]] virtual SendResult send_file(ConnectionId id, int file, uint64_t offset,
                                             size_t count) = 0;
  // errno of the last send that has Failed; 0 when there is none.
  [[nodiscard]] virtual int send_error() const = 0;
  // Bytes sent that the peer has not acknowledged; -1 when the system cannot tell.
  [[nodiscard]] virtual int64_t unacknowledged(ConnectionId id) = 0;
  virtual void shutdown_sending(ConnectionId id) = 0;   // half-close after the last send is done
  virtual void close(ConnectionId id, bool reset) = 0;  // reset: RST instead of FIN

  // Blocks for at most `at_most` ms (kNever: without end; 0: not at all). The span is valid until
  // the next wait().
  [[nodiscard]] virtual std::span<const Completion> wait(Milliseconds at_most) = 0;
  virtual void wake() = 0;

  // Descriptors below the process's soft limit that were free when last seen; INT32_MAX when
  // unknown.
  [[nodiscard]] virtual int32_t descriptors_left() const = 0;
};

struct PollerBackEnd {
  const char* name;
  Result<std::unique_ptr<Poller>> (*make)();
};
// Those compiled for this platform, best first; a running kernel may still refuse one.
[[nodiscard]] std::span<const PollerBackEnd> poller_back_ends();
// The best back end that this kernel grants.
[[nodiscard]] Result<std::unique_ptr<Poller>> make_poller();

}  // namespace millrace
