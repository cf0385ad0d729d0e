#include "core/base/fd.h"

#include <fcntl.h>
#include <unistd.h>

namespace millrace {

void Fd::reset(int value) {
  // close() is not retried on EINTR: Linux and the BSDs free the number either way.
  if (value_ >= 0) ::close(value_);
  value_ = value;
}

Fd Fd::duplicate() const { return Fd(::fcntl(value_, F_DUPFD_CLOEXEC, 0)); }

}  // namespace millrace
