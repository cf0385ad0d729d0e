// epoll: wait and interest changes only. Level-triggered; an eventfd carries wake() and nudge().
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "core/base/check.h"
#include "core/poll/readiness.h"

namespace millrace {

namespace {

constexpr size_t kEventsMax = 256;
constexpr uint64_t kWakeToken = UINT64_MAX;
// The eventfd adds up what was written, so the two kinds of call use separate halves of its
// counter.
constexpr uint64_t kWakeCount = 1;
constexpr uint64_t kNudgeCount = uint64_t{1} << 32;

class Epoll final : public Selector {
 public:
  Epoll(Fd epoll, Fd event) : epoll_(std::move(epoll)), event_(std::move(event)) {}

  const char* name() const override { return "epoll"; }
  int descriptor() const override { return epoll_.get(); }
  Status watch(int fd, uint64_t token, uint8_t from, uint8_t to) override;
  void forget(int fd, uint8_t from, bool shared) override;
  ReadyBatch select(Milliseconds at_most) override;
  void wake() override { add(kWakeCount); }
  void nudge() override { add(kNudgeCount); }

 private:
  void add(uint64_t count);
  [[nodiscard]] bool take_wake();

  Fd epoll_;
  Fd event_;
  std::array<epoll_event, kEventsMax> events_;
  std::array<Ready, kEventsMax> ready_;
};

uint32_t events_of(uint8_t interest) {
  // Exclusive: with several loops on one listener a connection wakes one of them, not all.
  if ((interest & kWatchAccept) != 0) return EPOLLIN | EPOLLEXCLUSIVE;
  uint32_t events = 0;
  if ((interest & kWatchRead) != 0) events |= EPOLLIN;
  if ((interest & kWatchWrite) != 0) events |= EPOLLOUT;
  return events;  // EPOLLERR and EPOLLHUP come unasked
}

Status Epoll::watch(int fd, uint64_t token, uint8_t from, uint8_t to) {
  if (from == to) return Status::ok();
  int operation = EPOLL_CTL_MOD;
  if (from == 0) operation = EPOLL_CTL_ADD;
  if (to == 0) operation = EPOLL_CTL_DEL;
  epoll_event event = {};
  event.events = events_of(to);
  event.data.u64 = token;
  if (::epoll_ctl(epoll_.get(), operation, fd, &event) == 0) return Status::ok();
  return Status::failed(errno, "epoll_ctl");
}

void Epoll::forget(int fd, uint8_t from, bool shared) {
  // close() of the last descriptor of an open file takes it out of the set by itself.
  if (shared && from != 0) static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr));
}

ReadyBatch Epoll::select(Milliseconds at_most) {
  int timeout =
      at_most == kNever ? -1 : static_cast<int>(std::clamp<Milliseconds>(at_most, 0, INT_MAX));
  int count = ::epoll_wait(epoll_.get(), events_.data(), kEventsMax, timeout);
  MR_CHECK(count >= 0 || errno == EINTR);
  ReadyBatch batch;
  size_t used = 0;
  for (int i = 0; i < count; i++) {
    const epoll_event& event = events_[static_cast<size_t>(i)];
    if (event.data.u64 == kWakeToken) {
      batch.woken = take_wake();
      continue;
    }
    ready_[used++] = {.token = event.data.u64,
                      .readable = (event.events & EPOLLIN) != 0,
                      .writable = (event.events & EPOLLOUT) != 0,
                      .broken = (event.events & (EPOLLERR | EPOLLHUP)) != 0,
                      .error = 0};
  }
  batch.ready = std::span<const Ready>(ready_.data(), used);
  return batch;
}

void Epoll::add(uint64_t count) {
  // Fails only when the counter is full, and then it is readable already.
  ssize_t written = 0;
  do {
    written = ::write(event_.get(), &count, sizeof(count));
  } while (written < 0 && errno == EINTR);
}

bool Epoll::take_wake() {
  uint64_t count = 0;
  if (::read(event_.get(), &count, sizeof(count)) != sizeof(count)) return false;
  return (count & (kNudgeCount - 1)) != 0;
}

}  // namespace

Result<std::unique_ptr<Poller>> make_epoll() {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.is_open()) return Status::failed(errno, "epoll_create1");
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.is_open()) return Status::failed(errno, "eventfd");
  int event_number = event.get();
  auto selector = std::make_unique<Epoll>(std::move(epoll), std::move(event));
  Status watched = selector->watch(event_number, kWakeToken, 0, kWatchRead);
  if (!watched.is_ok()) return watched;
  return make_readiness(std::move(selector));
}

}  // namespace millrace
