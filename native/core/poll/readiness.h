// A Poller over kernels that say "ready" and leave the doing to us. A Selector knows interest and
// waiting only; Readiness owns every accept, recv, sendmsg, shutdown and close, and the table of
// connections.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/poll/poller.h"

namespace millrace {

// Bits of what a descriptor is watched for; 0: it is unknown to the kernel's back end.
constexpr uint8_t kWatchRead = 1;
constexpr uint8_t kWatchWrite = 2;
constexpr uint8_t kWatchHangup = 4;  // errors alone, where the kernel can tell
constexpr uint8_t kWatchAccept = 8;  // a listener, perhaps shared with other selectors

struct Ready {
  uint64_t token = 0;
  bool readable = false;
  bool writable = false;
  bool broken = false;  // an error or a hang-up; reported until the descriptor is no longer watched
  int error = 0;        // of the socket, where the kernel's report carries it
};

struct ReadyBatch {
  std::span<const Ready> ready;  // valid until the next select()
  bool woken = false;            // by wake(), not by nudge()
};

// One kernel back end, level-triggered. Owned by: loop thread; wake() may be called by any thread.
class Selector {
 public:
  virtual ~Selector() = default;

  [[nodiscard]] virtual const char* name() const = 0;
  [[nodiscard]] virtual int descriptor() const = 0;
  // Changes what `fd` is watched for; `from` is what the last call said (0 at first).
  [[nodiscard]] virtual Status watch(int fd, uint64_t token, uint8_t from, uint8_t to) = 0;
  // Called before `fd` is closed. `shared`: the open file may outlive this descriptor.
  virtual void forget(int fd, uint8_t from, bool shared) = 0;
  // May come back early with nothing.
  [[nodiscard]] virtual ReadyBatch select(Milliseconds at_most) = 0;
  virtual void wake() = 0;
  // Makes descriptor() readable until the next select().
  virtual void nudge() = 0;
};

[[nodiscard]] std::unique_ptr<Poller> make_readiness(std::unique_ptr<Selector> selector);

// Those of this kind; each exists where sources.txt puts its file.
[[nodiscard]] Result<std::unique_ptr<Poller>> make_epoll();
[[nodiscard]] Result<std::unique_ptr<Poller>> make_kqueue();

}  // namespace millrace
