// What the tests of core/disk share: a folder that goes away, an inbox one can wait at, and works
// that hold the disk threads until they are let go.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/fd.h"
#include "core/disk/disk.h"
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

// An inbox with a thread that waits for real, as a loop does in its poller.
class Mailbox final {
 public:
  Mailbox() { inbox.set_wake(&Mailbox::wake, this); }

  // Waits for at least one work.
  [[nodiscard]] std::vector<std::unique_ptr<DiskWork>> wait() {
    std::vector<std::unique_ptr<DiskWork>> works;
    while (works.empty()) {
      wakes_.acquire();
      inbox.take(works);
    }
    return works;
  }
  [[nodiscard]] std::vector<std::unique_ptr<DiskWork>> wait_for(size_t count) {
    std::vector<std::unique_ptr<DiskWork>> works;
    while (works.size() < count) {
      for (auto& work : wait()) works.push_back(std::move(work));
    }
    return works;
  }

  DiskInbox inbox;

 private:
  static void wake(void* who) { static_cast<Mailbox*>(who)->wakes_.release(); }
  std::counting_semaphore<> wakes_{0};
};

// Holds every disk thread from its construction to open().
class Gate final {
 public:
  explicit Gate(Disk& disk) {
    for (size_t i = 0; i < Disk::kThreads; i++)
      disk.submit(std::make_unique<Guard>(*this), mailbox_.inbox);
    for (size_t i = 0; i < Disk::kThreads; i++) arrived_.acquire();
  }
  void open() {
    leave_.release(Disk::kThreads);
    EXPECT(mailbox_.wait_for(Disk::kThreads).size() == Disk::kThreads);
  }

 private:
  struct Guard final : DiskWork {
    explicit Guard(Gate& whose) : gate(whose) {}
    void run() override {
      gate.arrived_.release();
      gate.leave_.acquire();
    }
    void refuse(int /*error*/) override { gate.arrived_.release(); }
    Gate& gate;
  };
  Mailbox mailbox_;
  std::counting_semaphore<> arrived_{0};
  std::counting_semaphore<> leave_{0};
};

}  // namespace millrace::test
