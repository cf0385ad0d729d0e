#include "core/disk/disk.h"

#include <signal.h>

#include <cstdio>
#include <iterator>
#include <utility>

#include "core/base/threads.h"

namespace millrace {

// --- inbox ---

// Pairs with the release stores below: who sees that work is there also finds it.
bool DiskInbox::is_empty() const { return is_empty_.load(std::memory_order_acquire); }

void DiskInbox::take(std::vector<std::unique_ptr<DiskWork>>& into) {
  std::lock_guard lock(mutex_);
  into.insert(into.end(), std::make_move_iterator(finished_.begin()),
              std::make_move_iterator(finished_.end()));
  finished_.clear();
  is_empty_.store(true, std::memory_order_release);
}

void DiskInbox::put(std::unique_ptr<DiskWork> work) {
  bool was_empty = false;
  {
    std::lock_guard lock(mutex_);
    was_empty = finished_.empty();
    finished_.push_back(std::move(work));
    is_empty_.store(false, std::memory_order_release);
  }
  if (was_empty && wake_ != nullptr) wake_(who_);
}

// --- threads ---

void Disk::submit(std::unique_ptr<DiskWork> work, DiskInbox& inbox) {
  Order order{std::move(work), &inbox};
  int error = place(order);
  if (error == 0) return;
  order.work->refuse(error);
  inbox.put(std::move(order.work));
}

void Disk::discard(std::unique_ptr<DiskWork> work) {
  if (is_by_hand_) return;
  Order order{std::move(work), nullptr};
  static_cast<void>(place(order));  // refused: it ends here and now
}

// Queues the order, or leaves it as it is and returns why there is no thread for it.
int Disk::place(Order& order) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return 0;
    int error = 0;
    bool wants_thread = orders_.size() + 1 > idle_ && thread_count_ < kThreads;
    if (wants_thread && !is_by_hand_) error = add_thread();
    // One thread more was refused: those that exist will come to it.
    if (error != 0 && thread_count_ == 0) return error;
    orders_.push_back(std::move(order));
  }
  has_orders_.notify_one();
  return 0;
}

int Disk::add_thread() {
  // As in Server::start: signals are the application's, but for those that a fault raises. Among
  // the blocked is SIGXFSZ, so that a file that gets too large is EFBIG and not the end of the
  // process.
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (int fault : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP})
    sigdelset(&blocked, fault);
  Thread& thread = threads_[thread_count_];
  thread = {this, thread_count_, {}};
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  int error = pthread_create(&thread.id, nullptr, &Disk::enter, &thread);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error == 0) thread_count_++;
  return error;
}

void* Disk::enter(void* thread) {
  auto& self = *static_cast<Thread*>(thread);
  char name[16];
  std::snprintf(name, sizeof(name), "millrace-disk-%zu", self.index % 10);
  name_this_thread(name);
  self.disk->run();
  return nullptr;
}

void Disk::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    idle_++;
    while (orders_.empty() && !stopping_) has_orders_.wait(lock);
    idle_--;
    if (stopping_) return;
    Order order = std::move(orders_.front());
    orders_.pop_front();
    lock.unlock();
    if (order.inbox != nullptr) {
      order.work->run();
      order.inbox->put(std::move(order.work));
    }
    order.work.reset();  // before the lock
    lock.lock();
  }
}

void Disk::stop() {
  std::deque<Order> dropped;
  size_t count = 0;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(orders_);
    count = std::exchange(thread_count_, 0);
  }
  has_orders_.notify_all();
  dropped.clear();
  // Nobody makes threads any more, so threads_ needs no lock.
  for (size_t i = 0; i < count; i++) pthread_join(threads_[i].id, nullptr);
}

bool Disk::run_one(size_t number) {
  Order order;
  {
    std::lock_guard lock(mutex_);
    if (number >= orders_.size()) return false;
    auto place = orders_.begin() + static_cast<std::ptrdiff_t>(number);
    order = std::move(*place);
    orders_.erase(place);
  }
  order.work->run();
  order.inbox->put(std::move(order.work));
  return true;
}

size_t Disk::thread_count() {
  std::lock_guard lock(mutex_);
  return thread_count_;
}

}  // namespace millrace
