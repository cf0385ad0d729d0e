// Files without a name for tests, and a count of the descriptors that are open.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "core/base/bytes.h"
#include "core/base/fd.h"
#include "test/harness.h"

namespace millrace::test {

// Of zeros, all of them holes.
inline Fd sparse_file(size_t size) {
  const char* folder = std::getenv("TMPDIR");
  std::string path = std::string(folder != nullptr ? folder : "/tmp") + "/millrace.XXXXXX";
  Fd file(::mkstemp(path.data()));
  EXPECT(file.is_open());
  EXPECT(::unlink(path.c_str()) == 0);
  EXPECT(::ftruncate(file.get(), static_cast<off_t>(size)) == 0);
  return file;
}

inline Fd file_of(Bytes content) {
  Fd file = sparse_file(0);
  ssize_t written = ::pwrite(file.get(), content.data(), content.size(), 0);
  EXPECT(written == static_cast<ssize_t>(content.size()));
  return file;
}

inline int open_descriptors(int below = 4096) {
  int count = 0;
  for (int fd = 0; fd < below; fd++) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

}  // namespace millrace::test
