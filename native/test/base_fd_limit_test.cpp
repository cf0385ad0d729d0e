// The limit of descriptors is the one that getrlimit(2) knows.
#include "core/base/fd_limit.h"

#include <sys/resource.h>

#include <cerrno>

#include "test/harness.h"

namespace millrace {
namespace {

TEST("the soft limit of descriptors goes up to the hard one and no further") {
  rlimit before = {};
  EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  FdLimit limit = read_fd_limit();
  EXPECT(static_cast<rlim_t>(limit.soft) == before.rlim_cur || limit.soft == FdLimit::kUnlimited);
  rlimit low = {20, before.rlim_max};
  EXPECT(::setrlimit(RLIMIT_NOFILE, &low) == 0);
  EXPECT(read_fd_limit().soft == 20);
  EXPECT(read_fd_limit().hard == limit.hard);
  EXPECT(set_fd_limit(21).is_ok());
  EXPECT(read_fd_limit().soft == 21);
  if (limit.hard != FdLimit::kUnlimited) {
    EXPECT(set_fd_limit(limit.hard + 1).error() == EINVAL);
    EXPECT(read_fd_limit().soft == 21);
  }
  // What is refused as unlimited becomes as much as there is.
  EXPECT(set_fd_limit(FdLimit::kUnlimited).is_ok());
  EXPECT(read_fd_limit().soft >= limit.soft);
  EXPECT(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

}  // namespace
}  // namespace millrace
