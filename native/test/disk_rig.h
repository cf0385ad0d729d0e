// What the tests of core/disk share: an inbox one can wait at, and works that hold the disk threads
// until they are let go.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/fd.h"
#include "core/disk/disk.h"
#include "test/harness.h"
#include "test/temp_folder.h"

namespace millrace::test {

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
