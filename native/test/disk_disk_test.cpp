// The disk threads: each work runs once and comes back where it belongs, and none outlives stop().
#include "core/disk/disk.h"

#include <pthread.h>
#include <signal.h>

#include <cstring>
#include <thread>

#include "core/disk/open_file.h"
#include "core/disk/warm_file.h"
#include "test/disk_rig.h"
#include "test/harness.h"

namespace millrace {
namespace {

using test::Gate;
using test::Mailbox;

struct Tally {
  std::atomic<uint32_t> ran{0};
  std::atomic<uint32_t> ended{0};
};

struct CountedWork final : DiskWork {
  explicit CountedWork(Tally& where) : tally(where) {}
  ~CountedWork() override {
    tally.ended.fetch_add(1, std::memory_order_acq_rel);
    tally.ended.notify_all();
  }
  void run() override {
    runs++;
    tally.ran.fetch_add(1, std::memory_order_relaxed);
  }
  void refuse(int error) override { refused = error; }

  Tally& tally;
  int runs = 0;
  int refused = 0;
};

void count_wake(void* count) { ++*static_cast<int*>(count); }

TEST("an inbox wakes once each time it stops being empty") {
  Tally tally;
  DiskInbox inbox;
  int wakes = 0;
  inbox.set_wake(&count_wake, &wakes);
  EXPECT(inbox.is_empty());
  inbox.put(std::make_unique<CountedWork>(tally));
  inbox.put(std::make_unique<CountedWork>(tally));
  EXPECT(wakes == 1 && !inbox.is_empty());
  std::vector<std::unique_ptr<DiskWork>> works;
  inbox.take(works);
  EXPECT(works.size() == 2 && inbox.is_empty());
  inbox.put(std::make_unique<CountedWork>(tally));
  inbox.take(works);  // appends
  EXPECT(works.size() == 3 && wakes == 2);
}

TEST("threads are made when there is work, and then as many as can be busy") {
  Disk disk;
  Mailbox mailbox;
  Tally tally;
  EXPECT(disk.thread_count() == 0);
  disk.submit(std::make_unique<CountedWork>(tally), mailbox.inbox);
  EXPECT(disk.thread_count() == 1);
  auto works = mailbox.wait();
  Gate gate(disk);  // does not return before all of them wait at the same time
  EXPECT(disk.thread_count() == Disk::kThreads);
  for (int i = 0; i < 100; i++) disk.submit(std::make_unique<CountedWork>(tally), mailbox.inbox);
  EXPECT(disk.thread_count() == Disk::kThreads);
  gate.open();
  EXPECT(mailbox.wait_for(100).size() == 100);
  disk.stop();
  EXPECT(disk.thread_count() == 0);
}

struct ThreadWork final : DiskWork {
  void run() override {
    pthread_getname_np(pthread_self(), name, sizeof(name));
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  }
  void refuse(int /*error*/) override {}
  char name[32] = "";
  sigset_t blocked = {};
};

TEST("a disk thread has a name and leaves signals to the application") {
  Disk disk;
  Mailbox mailbox;
  disk.submit(std::make_unique<ThreadWork>(), mailbox.inbox);
  auto works = mailbox.wait();
  auto& work = static_cast<ThreadWork&>(*works[0]);
  EXPECT(std::strcmp(work.name, "millrace-disk-0") == 0);
  for (int signal : {SIGTERM, SIGINT, SIGCHLD, SIGPROF, SIGXFSZ})
    EXPECT(sigismember(&work.blocked, signal) == 1);
  for (int fault : {SIGSEGV, SIGBUS, SIGABRT}) EXPECT(sigismember(&work.blocked, fault) == 0);
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT(sigismember(&mine, SIGTERM) == 0);
}

// One loop: keeps some hundred works away until all have been back once.
void play_loop(Disk& disk, Tally& tally, uint64_t first_ticket, uint64_t count) {
  Mailbox mailbox;
  std::vector<bool> seen(count);
  uint64_t submitted = 0;
  uint64_t returned = 0;
  while (returned < count) {
    for (; submitted < count && submitted - returned < 300; submitted++) {
      auto work = std::make_unique<CountedWork>(tally);
      work->ticket = first_ticket + submitted;
      disk.submit(std::move(work), mailbox.inbox);
    }
    for (auto& work : mailbox.wait()) {
      uint64_t index = work->ticket - first_ticket;
      EXPECT(index < count && !seen[index]);
      EXPECT(static_cast<CountedWork&>(*work).runs == 1);
      seen[index] = true;
      returned++;
    }
  }
  EXPECT(mailbox.inbox.is_empty());
}

TEST("thousands of works from two loops run once each and come back to their own loop") {
  constexpr uint64_t kWorks = 5000;
  Disk disk;
  Tally tally;
  std::thread other([&] { play_loop(disk, tally, 1'000'000, kWorks); });
  play_loop(disk, tally, 0, kWorks);
  other.join();
  EXPECT(tally.ran.load() == 2 * kWorks && tally.ended.load() == 2 * kWorks);
}

TEST("works of one loop are begun in the order in which they were submitted") {
  struct OrderWork final : DiskWork {
    explicit OrderWork(std::atomic<uint64_t>& shared) : next(shared) {}
    void run() override { began = next.fetch_add(1); }
    void refuse(int /*error*/) override {}
    std::atomic<uint64_t>& next;
    uint64_t began = 0;
  };
  std::atomic<uint64_t> next{0};
  Disk disk;
  Mailbox mailbox;
  Gate gate(disk);
  for (uint64_t i = 0; i < 200; i++) {
    auto work = std::make_unique<OrderWork>(next);
    work->ticket = i;
    disk.submit(std::move(work), mailbox.inbox);
  }
  gate.open();
  // Four threads take from one queue: each may be overtaken by the other three, not by more.
  for (auto& work : mailbox.wait_for(200)) {
    uint64_t began = static_cast<OrderWork&>(*work).began;
    EXPECT(began + Disk::kThreads > work->ticket);
  }
}

// Ends when the works that were queued have been destroyed, and so never if stop() ran them
// instead.
struct LastWork final : DiskWork {
  LastWork(Tally& where, uint32_t count) : tally(where), ended_min(count) {}
  void run() override {
    started.store(true);
    started.notify_all();
    uint32_t ended = 0;
    while ((ended = tally.ended.load()) < ended_min) tally.ended.wait(ended);
  }
  void refuse(int /*error*/) override {}
  Tally& tally;
  uint32_t ended_min;
  std::atomic<bool> started{false};
};

TEST("stop() destroys what is queued, and what runs comes back") {
  constexpr uint32_t kQueued = 1000;
  Tally tally;
  Mailbox mailbox;
  Disk disk;
  for (size_t i = 0; i < Disk::kThreads; i++) {
    auto work = std::make_unique<LastWork>(tally, kQueued);
    LastWork& last = *work;
    disk.submit(std::move(work), mailbox.inbox);
    last.started.wait(false);
  }
  for (uint32_t i = 0; i < kQueued; i++)
    disk.submit(std::make_unique<CountedWork>(tally), mailbox.inbox);
  disk.stop();
  EXPECT(tally.ran.load() == 0 && tally.ended.load() == kQueued);
  std::vector<std::unique_ptr<DiskWork>> works;
  mailbox.inbox.take(works);
  EXPECT(works.size() == Disk::kThreads);

  disk.stop();  // a second time: nothing
  disk.submit(std::make_unique<CountedWork>(tally), mailbox.inbox);
  disk.discard(std::make_unique<CountedWork>(tally));
  EXPECT(tally.ran.load() == 0 && tally.ended.load() == kQueued + 2);
  EXPECT(mailbox.inbox.is_empty() && disk.thread_count() == 0);
}

TEST("a disk without work starts no thread and stops at once") {
  Disk disk;
  disk.stop();
  EXPECT(disk.thread_count() == 0);
}

TEST("discarded work is destroyed on a disk thread and not run") {
  struct EndWork final : DiskWork {
    EndWork(std::atomic<bool>& where, bool& how) : elsewhere(where), ran(how) {}
    ~EndWork() override {
      elsewhere.store(!pthread_equal(submitter, pthread_self()));
      elsewhere.notify_all();
    }
    void run() override { ran = true; }
    void refuse(int /*error*/) override {}
    std::atomic<bool>& elsewhere;
    bool& ran;
    pthread_t submitter = pthread_self();
  };
  std::atomic<bool> elsewhere{false};
  bool ran = false;
  Disk disk;
  disk.discard(std::make_unique<EndWork>(elsewhere, ran));
  elsewhere.wait(false);
  disk.stop();
  EXPECT(elsewhere.load() && !ran);
}

#if defined(__GLIBC__)

// While it lives, no thread can be made: no address space has room for such a stack.
class NoThreads final {
 public:
  NoThreads() {
    pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    pthread_getattr_default_np(&huge);
    pthread_attr_setstacksize(&huge, size_t{1} << 50);
    EXPECT(pthread_setattr_default_np(&huge) == 0);
    pthread_attr_destroy(&huge);
  }
  ~NoThreads() {
    pthread_setattr_default_np(&before_);
    pthread_attr_destroy(&before_);
  }

 private:
  pthread_attr_t before_;
};

TEST("work comes back refused when the system has no thread, and the next may have more luck") {
  Disk disk;
  Mailbox mailbox;
  Tally tally;
  {
    NoThreads none;
    disk.submit(std::make_unique<CountedWork>(tally), mailbox.inbox);
    auto opening = std::make_unique<OpenFileWork>(OpenRequest{});
    disk.submit(std::move(opening), mailbox.inbox);
    disk.submit(std::make_unique<WarmFileWork>(Fd(), 0, 1), mailbox.inbox);
    disk.discard(std::make_unique<CountedWork>(tally));
    EXPECT(tally.ended.load() == 1);
  }
  EXPECT(disk.thread_count() == 0);
  auto works = mailbox.wait();
  EXPECT(works.size() == 3 && tally.ran.load() == 0);
  EXPECT(static_cast<CountedWork&>(*works[0]).refused == EAGAIN);
  EXPECT(static_cast<OpenFileWork&>(*works[1]).opened.error == EAGAIN);
  disk.submit(std::make_unique<CountedWork>(tally), mailbox.inbox);
  EXPECT(mailbox.wait().size() == 1 && tally.ran.load() == 1);
}

TEST("a second thread that is refused delays work and loses none") {
  Disk disk;
  Mailbox mailbox;
  Tally tally;
  disk.submit(std::make_unique<CountedWork>(tally), mailbox.inbox);
  NoThreads none;
  for (int i = 0; i < 50; i++) disk.submit(std::make_unique<CountedWork>(tally), mailbox.inbox);
  EXPECT(disk.thread_count() == 1);
  EXPECT(mailbox.wait_for(51).size() == 51 && tally.ran.load() == 51);
}

#endif

}  // namespace
}  // namespace millrace
