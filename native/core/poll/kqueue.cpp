// kqueue: wait and interest changes only. Level-triggered (no EV_CLEAR on sockets); two EVFILT_USER
// events carry wake() and nudge(). There is no interest in errors alone here, so the reset of a
// connection that is neither read nor written shows at the next receive or send.
#include <fcntl.h>
#include <sys/event.h>
#include <sys/time.h>
#include <sys/types.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "core/base/check.h"
#include "core/poll/readiness.h"

namespace millrace {

namespace {

constexpr size_t kEventsMax = 256;
// Identifiers of EVFILT_USER; they are not descriptors.
constexpr uintptr_t kWakeEvent = 0;
constexpr uintptr_t kNudgeEvent = 1;

// A token has to survive the journey through `udata`.
static_assert(sizeof(void*) >= sizeof(uint64_t));

class Kqueue final : public Selector {
 public:
  explicit Kqueue(Fd queue) : queue_(std::move(queue)) {}

  const char* name() const override { return "kqueue"; }
  int descriptor() const override { return queue_.get(); }
  Status watch(int fd, uint64_t token, uint8_t from, uint8_t to) override;
  void forget(int fd, uint8_t from, bool shared) override;
  ReadyBatch select(Milliseconds at_most) override;
  void wake() override { trigger(kWakeEvent); }
  void nudge() override { trigger(kNudgeEvent); }

  [[nodiscard]] Status add_user_events();

 private:
  [[nodiscard]] int change(uintptr_t ident, int filter, unsigned flags, unsigned filter_flags,
                           uint64_t token);
  void trigger(uintptr_t ident);

  Fd queue_;
  std::array<struct kevent, kEventsMax> events_;
  std::array<Ready, kEventsMax> ready_;
};

bool has_read_filter(uint8_t interest) { return (interest & (kWatchRead | kWatchAccept)) != 0; }
bool has_write_filter(uint8_t interest) { return (interest & kWatchWrite) != 0; }

Status Kqueue::watch(int fd, uint64_t token, uint8_t from, uint8_t to) {
  // One call per filter: a change that fails would keep the ones behind it from being applied.
  auto ident = static_cast<uintptr_t>(fd);
  if (has_read_filter(from) != has_read_filter(to)) {
    unsigned flags = has_read_filter(to) ? EV_ADD : EV_DELETE;
    if (change(ident, EVFILT_READ, flags, 0, token) != 0) return Status::failed(errno, "kevent");
  }
  if (has_write_filter(from) != has_write_filter(to)) {
    unsigned flags = has_write_filter(to) ? EV_ADD : EV_DELETE;
    if (change(ident, EVFILT_WRITE, flags, 0, token) != 0) return Status::failed(errno, "kevent");
  }
  return Status::ok();
}

void Kqueue::forget(int fd, uint8_t from, bool) {
  // Before close(), not by it: a number that comes back at once must find no filter of its past
  // life.
  static_cast<void>(watch(fd, 0, from, 0));
}

ReadyBatch Kqueue::select(Milliseconds at_most) {
  timespec span = {};
  if (at_most > 0) {
    span.tv_sec = static_cast<time_t>(at_most / 1000);
    span.tv_nsec = static_cast<long>(at_most % 1000) * 1'000'000;
  }
  int count = ::kevent(queue_.get(), nullptr, 0, events_.data(), static_cast<int>(kEventsMax),
                       at_most == kNever ? nullptr : &span);
  MR_CHECK(count >= 0 || errno == EINTR);
  ReadyBatch batch;
  size_t used = 0;
  for (int i = 0; i < count; i++) {
    const struct kevent& event = events_[static_cast<size_t>(i)];
    if (event.filter == EVFILT_USER) {
      if (event.ident == kWakeEvent) batch.woken = true;
      continue;
    }
    // EV_EOF is the peer's half-close or a reset: recv() tells which, after what is still unread.
    // On a write filter the send that is pending meets the error by itself.
    ready_[used++] = {.token = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(event.udata)),
                      .readable = event.filter == EVFILT_READ,
                      .writable = event.filter == EVFILT_WRITE,
                      .broken = false,
                      .error = (event.flags & EV_EOF) != 0 ? static_cast<int>(event.fflags) : 0};
  }
  batch.ready = std::span<const Ready>(ready_.data(), used);
  return batch;
}

Status Kqueue::add_user_events() {
  for (uintptr_t ident : {kWakeEvent, kNudgeEvent}) {
    if (change(ident, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0) != 0) {
      return Status::failed(errno, "kevent");
    }
  }
  return Status::ok();
}

int Kqueue::change(uintptr_t ident, int filter, unsigned flags, unsigned filter_flags,
                   uint64_t token) {
  struct kevent event = {};
  event.ident = ident;
  event.filter = static_cast<decltype(event.filter)>(filter);
  event.flags = static_cast<decltype(event.flags)>(flags);
  event.fflags = static_cast<decltype(event.fflags)>(filter_flags);
  event.udata = reinterpret_cast<void*>(static_cast<uintptr_t>(token));
  int result = ::kevent(queue_.get(), &event, 1, nullptr, 0, nullptr);
  // An interrupted call has applied its changes.
  return result < 0 && errno == EINTR ? 0 : result;
}

void Kqueue::trigger(uintptr_t ident) {
  static_cast<void>(change(ident, EVFILT_USER, 0, NOTE_TRIGGER, 0));
}

}  // namespace

Result<std::unique_ptr<Poller>> make_kqueue() {
  Fd queue(::kqueue());
  if (!queue.is_open()) return Status::failed(errno, "kqueue");
  if (::fcntl(queue.get(), F_SETFD, FD_CLOEXEC) != 0) return Status::failed(errno, "fcntl");
  auto selector = std::make_unique<Kqueue>(std::move(queue));
  Status added = selector->add_user_events();
  if (!added.is_ok()) return added;
  return make_readiness(std::move(selector));
}

}  // namespace millrace
