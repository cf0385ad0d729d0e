// The gauge of free descriptors: what it forgets it sees again.
#include "core/poll/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <vector>

#include "core/base/fd.h"
#include "test/harness.h"

namespace millrace {
namespace {

TEST("a table that stays full is never taken for an empty one") {
  rlimit before = {};
  EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  std::vector<Fd> held;
  for (int i = 0; i < 50; i++) held.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(held.back().get() + 1 + 10);
  EXPECT(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
  DescriptorGauge gauge;
  Milliseconds now = 5000;
  for (int i = 0; i < 5; i++) {
    gauge.refresh(now, held[0].get());
    EXPECT(gauge.left(0) >= 10 && gauge.left(0) <= 11);
    now += 1000;
  }
  // Nothing is free at all: the probe fails, and that is an answer.
  std::vector<Fd> rest;
  do {
    rest.push_back(held[0].duplicate());
  } while (rest.back().is_open());
  gauge.refresh(now, held[0].get());
  EXPECT(gauge.left(0) == 0);
  rest.clear();
  held.resize(1);
  gauge.refresh(now + 999, held[0].get());
  EXPECT(gauge.left(0) == 0);
  gauge.refresh(now + 1000, held[0].get());
  gauge.refresh(now + 2000, held[0].get());
  EXPECT(gauge.left(0) >= 59);
  EXPECT(gauge.left(static_cast<int32_t>(tight.rlim_cur) - 3) == 3);
  EXPECT(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

}  // namespace
}  // namespace millrace
