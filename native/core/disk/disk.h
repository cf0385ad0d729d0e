// The disk threads: work that may wait for a disk runs here, so that no loop ever does.
// Only whole pieces of work cross threads; each is owned by exactly one side at a time.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace millrace {

// One piece of work, with everything it needs and its result.
// Owned by: the loop that submits it, then the disk, then the loop again through its inbox.
class DiskWork {
 public:
  virtual ~DiskWork() = default;
  virtual void run() = 0;  // on a disk thread
  // Instead of run(), on the submitter's thread: the system has no thread for it. What errno says
  // becomes the result.
  virtual void refuse(int error) = 0;

  uint64_t ticket = 0;  // the submitter's own number
};

// Where finished work comes back to; one per loop. Outlives Disk::stop().
// Owned by: loop thread, except put().
class DiskInbox final {
 public:
  DiskInbox() = default;
  DiskInbox(const DiskInbox&) = delete;
  DiskInbox& operator=(const DiskInbox&) = delete;

  // Called each time the inbox stops being empty: from a disk thread, or from within submit() when
  // work is refused. Set before the first submit().
  void set_wake(void (*wake)(void*), void* who) {
    wake_ = wake;
    who_ = who;
  }
  // Never true after the wake-up for work that was not taken yet.
  [[nodiscard]] bool is_empty() const;
  // Appends what has come back, in the order in which it was finished.
  void take(std::vector<std::unique_ptr<DiskWork>>& into);
  // Any thread.
  void put(std::unique_ptr<DiskWork> work);

 private:
  void (*wake_)(void*) = nullptr;
  void* who_ = nullptr;
  std::mutex mutex_;
  std::vector<std::unique_ptr<DiskWork>> finished_;  // under mutex_
  std::atomic<bool> is_empty_{true};                 // written under mutex_
};

// Up to kThreads threads over one queue, first in, first out; bounded by what loops submit. Threads
// are made when there is work and nobody idle.
// Owned by: the server. submit() on any loop thread; stop() on the thread that ends the server.
class Disk final {
 public:
  static constexpr size_t kThreads = 4;

  Disk() = default;
  // Without threads, for tests and fuzzers whose runs repeat: run_one() does what was submitted.
  struct ByHand {};
  explicit Disk(ByHand) : is_by_hand_(true) {}
  ~Disk() { stop(); }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // Never waits for a disk. When the system refuses the first thread, the work comes back refused.
  void submit(std::unique_ptr<DiskWork> work, DiskInbox& inbox);
  // Destroys work on a disk thread, without a return: closing a file may wait for the disk too.
  void discard(std::unique_ptr<DiskWork> work);
  // Destroys what is queued, lets what runs finish and come back, joins. What is submitted later is
  // destroyed at once.
  void stop();
  [[nodiscard]] size_t thread_count();
  // By hand only: the oldest work but `number`, on this thread. False when there are not so many.
  bool run_one(size_t number = 0);

 private:
  struct Order {
    std::unique_ptr<DiskWork> work;
    DiskInbox* inbox;  // null: only to be destroyed
  };
  struct Thread {
    Disk* disk;
    size_t index;
    pthread_t id;
  };
  static void* enter(void* thread);
  void run();
  [[nodiscard]] int place(Order& order);
  [[nodiscard]] int add_thread();

  std::mutex mutex_;  // guards everything below
  std::condition_variable has_orders_;
  std::deque<Order> orders_;
  std::array<Thread, kThreads> threads_{};
  size_t thread_count_ = 0;
  size_t idle_ = 0;  // threads that wait for orders
  bool stopping_ = false;
  const bool is_by_hand_ = false;
};

}  // namespace millrace
