#include "core/base/random.h"

#include <sys/random.h>
#include <unistd.h>

#include "core/base/check.h"

namespace millrace {

uint32_t Random::next() {
  if (left_ == 0) {
    MR_CHECK(getentropy(pool_.data(), sizeof(pool_)) == 0);
    left_ = pool_.size();
  }
  return pool_[--left_];
}

}  // namespace millrace
