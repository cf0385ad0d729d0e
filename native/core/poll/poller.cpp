#include "core/poll/poller.h"

#include <cerrno>

#include "core/poll/readiness.h"

namespace millrace {

namespace {
// Each back end of this platform, best first. A back end is a row here, a row in sources.txt and a
// file.
#if defined(__linux__)
constexpr PollerBackEnd kBackEnds[] = {{"epoll", &make_epoll}};
#elif defined(__APPLE__) || defined(__FreeBSD__)
constexpr PollerBackEnd kBackEnds[] = {{"kqueue", &make_kqueue}};
#else
#error "millrace has no poller for this platform"
#endif
}  // namespace

std::span<const PollerBackEnd> poller_back_ends() { return kBackEnds; }

Result<std::unique_ptr<Poller>> make_poller() {
  Status refused = Status::failed(ENOSYS, "make_poller");
  for (const PollerBackEnd& back_end : kBackEnds) {
    Result<std::unique_ptr<Poller>> made = back_end.make();
    if (made.is_ok()) return made;
    refused = made.status();
  }
  return refused;
}

}  // namespace millrace
