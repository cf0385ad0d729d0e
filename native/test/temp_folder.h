// A folder for tests that goes away with what is in it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/base/bytes.h"
#include "core/base/fd.h"
#include "test/harness.h"

namespace millrace::test {

class TempFolder final {
 public:
  TempFolder() {
    const char* parent = std::getenv("TMPDIR");
    path = std::string(parent != nullptr ? parent : "/tmp") + "/millrace-disk-XXXXXX";
    EXPECT(::mkdtemp(path.data()) != nullptr);
    fd = Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  [[nodiscard]] std::string at(const std::string& name) const { return path + "/" + name; }
  [[nodiscard]] Fd create(const std::string& name) const {
    Fd file(::openat(fd.get(), name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    EXPECT(file.is_open());
    return file;
  }
  void write(const std::string& name, Bytes bytes) const {
    Fd file = create(name);
    EXPECT(::write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  [[nodiscard]] std::string read(const std::string& name) const {
    Fd file(::openat(fd.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
    std::string bytes;
    char piece[65536];
    for (ssize_t got = 0; (got = ::read(file.get(), piece, sizeof(piece))) > 0;)
      bytes.append(piece, static_cast<size_t>(got));
    return bytes;
  }

  std::string path;
  Fd fd;
};

}  // namespace millrace::test
