#include "core/disk/log_file.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <utility>

#include "core/base/fd.h"
#include "core/base/threads.h"

namespace millrace {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kFileBatch = 256 * 1024;   // bytes per write(2) to a file
constexpr size_t kKeptBytes = 1024 * 1024;  // a larger buffer is given back after a burst
constexpr int kPollMs = 20;                 // how soon a writer at a full pipe sees that it ends
constexpr int64_t kLeaveMs = 100;           // for a writer that was told to drop the rest

// One after the other: texts by their length, and what is ordered between them.
struct Order {
  enum class Kind : uint8_t { Text, Reopen, Close };
  Kind kind;
  size_t length;  // of a text; how many, of orders to reopen
};

struct Queue {
  std::string bytes;
  std::vector<Order> orders;

  void clear() {
    if (bytes.capacity() > kKeptBytes) std::string().swap(bytes);
    bytes.clear();
    orders.clear();
  }
};

// The logs that are open. Never destroyed: it is asked while the process exits.
struct Registry {
  std::mutex mutex;
  std::set<LogFile*> logs;  // guarded by mutex
};

Registry& registry() {
  static Registry* instance = new Registry();
  return *instance;
}

Result<Fd> open_path(const std::string& path) {
  // Not to wait for the reader of a FIFO; for a file it changes nothing.
  constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  int fd = -1;
  do {
    fd = ::open(path.c_str(), kFlags, 0644);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return Status::failed(errno, "open");
  return Fd(fd);
}

bool is_regular(const Fd& file) {
  struct stat found = {};
  return ::fstat(file.get(), &found) == 0 && S_ISREG(found.st_mode);
}

}  // namespace

// Everything below the mutex is guarded by it; `file`, `is_torn` and `last_error` are the thread's
// while it runs. Deleted by finish(), or by the thread when that has left it to itself.
struct LogFile::Writer {
  std::string path;
  size_t bytes_max;
  Fd file;
  bool waits_for_room = false;  // a pipe, socket or terminal, not a file
  bool is_torn = false;         // the last text was cut off in the middle
  int last_error = 0;           // of the last write(2), 0 when it succeeded
  void (*notify)(void*) = nullptr;
  void* who = nullptr;
  pthread_t thread{};

  std::mutex mutex;
  std::condition_variable has_orders;
  std::condition_variable progress;  // orders were carried out, or the thread has left
  Queue queue;
  size_t waiting = 0;   // bytes queued or being written
  size_t held = 0;      // those and what their orders take
  uint64_t queued = 0;  // orders
  uint64_t done = 0;    // orders
  uint64_t dropped = 0;
  int error = 0;
  std::vector<Outcome> outcomes;
  Clock::time_point close_by = Clock::time_point::max();
  bool has_thread = false;
  bool sleeps = false;
  bool closed = false;    // by close(); nothing is taken any more
  bool ends = false;      // by finish(): the thread leaves when the queue is empty
  bool gives_up = false;  // by finish(): the rest is dropped
  bool has_left = false;
  bool is_orphan = false;

  static void* enter(void* writer);
  void run();
  void carry_out(Queue& batch);
  [[nodiscard]] size_t write_texts(const char* bytes, const Order* orders, size_t count);
  [[nodiscard]] bool write_all(const char* bytes, size_t size, size_t& written);
  [[nodiscard]] bool wait_for_room();
  [[nodiscard]] bool must_drop();
  [[nodiscard]] bool must_give_up();
  void finish_order(const Order& order, int outcome);
  [[nodiscard]] int reopen_file();
  [[nodiscard]] int start();  // under the mutex
  void order(Order::Kind kind);
};

// --- what any thread calls ---

Result<std::unique_ptr<LogFile>> LogFile::open(const LogFileOptions& options) {
  Fd file;
  if (options.path.empty()) {
    file = Fd(::fcntl(options.fd, F_DUPFD_CLOEXEC, 0));
    if (!file.is_open()) return Status::failed(errno, "fcntl");
  } else {
    Result<Fd> opened = open_path(options.path);
    if (!opened.is_ok()) return opened.status();
    file = opened.take();
  }
  auto* writer = new Writer();
  writer->path = options.path;
  writer->bytes_max = options.bytes_max;
  writer->waits_for_room = !is_regular(file);
  writer->file = std::move(file);
  std::unique_ptr<LogFile> log(new LogFile(writer));
  std::lock_guard lock(registry().mutex);
  registry().logs.insert(log.get());
  return log;
}

void LogFile::flush_all(int64_t ms) {
  Clock::time_point end = Clock::now() + milliseconds(ms);
  std::lock_guard lock(registry().mutex);
  for (LogFile* log : registry().logs) {
    auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now()).count();
    static_cast<void>(log->flush(std::max<int64_t>(left, 0)));
  }
}

void LogFile::set_notify(void (*notify)(void*), void* who) {
  writer_->notify = notify;
  writer_->who = who;
}

bool LogFile::write(Bytes text) {
  Writer& writer = *writer_;
  bool wake = false;
  {
    std::lock_guard lock(writer.mutex);
    int error = writer.closed ? EBADF : writer.start();
    if (error != 0) writer.error = error;
    size_t size = text.size() + sizeof(Order);
    if (error != 0 || writer.held > writer.bytes_max || size > writer.bytes_max - writer.held) {
      writer.dropped++;
      return false;
    }
    writer.queue.bytes.append(text);
    writer.queue.orders.push_back({Order::Kind::Text, text.size()});
    writer.waiting += text.size();
    writer.held += size;
    writer.queued++;
    wake = std::exchange(writer.sleeps, false);
  }
  if (wake) writer.has_orders.notify_one();
  return true;
}

bool LogFile::flush(int64_t ms) {
  Writer& writer = *writer_;
  std::unique_lock lock(writer.mutex);
  uint64_t target = writer.queued;
  return writer.progress.wait_until(lock, Clock::now() + milliseconds(ms),
                                    [&] { return writer.done >= target; });
}

void LogFile::reopen() { writer_->order(Order::Kind::Reopen); }
void LogFile::close() { writer_->order(Order::Kind::Close); }

void LogFile::Writer::order(Order::Kind kind) {
  bool refused = false;
  {
    std::lock_guard lock(mutex);
    if (closed) return;
    int failure = start();
    closed = kind == Order::Kind::Close;
    if (closed) close_by = Clock::now() + milliseconds(kCloseWaitMs);
    refused = failure != 0;
    if (refused) {
      // Without a thread nothing was queued either.
      if (closed) {
        file.reset();
        failure = 0;
      }
      outcomes.push_back({closed ? Kind::Close : Kind::Reopen, failure});
      if (notify != nullptr) notify(who);
    } else {
      // However often it is asked for, opening anew takes no more room than the texts between.
      bool again =
          kind == Order::Kind::Reopen && !queue.orders.empty() && queue.orders.back().kind == kind;
      if (again) {
        queue.orders.back().length++;
      } else {
        queue.orders.push_back({kind, 1});
      }
      queued++;
      sleeps = false;
    }
  }
  if (!refused) has_orders.notify_one();
}

std::vector<LogFile::Outcome> LogFile::take_outcomes() {
  std::lock_guard lock(writer_->mutex);
  return std::exchange(writer_->outcomes, {});
}

LogFile::State LogFile::state() const {
  std::lock_guard lock(writer_->mutex);
  return {writer_->dropped, writer_->waiting, writer_->error};
}

bool LogFile::finish(int64_t ms) {
  {
    std::lock_guard lock(registry().mutex);
    registry().logs.erase(this);
  }
  Writer* writer = std::exchange(writer_, nullptr);
  if (writer == nullptr) return true;
  bool is_orphan = false;
  bool joins = false;
  bool complete = true;
  {
    std::unique_lock lock(writer->mutex);
    uint64_t dropped = writer->dropped;
    joins = writer->has_thread;
    if (joins) {
      auto has_left = [&] { return writer->has_left; };
      writer->ends = true;
      writer->has_orders.notify_one();
      if (!writer->progress.wait_until(lock, Clock::now() + milliseconds(ms), has_left)) {
        writer->gives_up = true;
        is_orphan =
            !writer->progress.wait_until(lock, Clock::now() + milliseconds(kLeaveMs), has_left);
        writer->is_orphan = is_orphan;
      }
      complete = !is_orphan && writer->dropped == dropped;
    }
    // An orphan deletes the writer once the mutex is free, so its own copy of the thread's id.
    if (is_orphan) pthread_detach(writer->thread);
  }
  if (is_orphan) return false;
  if (joins) pthread_join(writer->thread, nullptr);
  delete writer;
  return complete;
}

// --- the thread ---

int LogFile::Writer::start() {
  if (has_thread) return 0;
  // As in Disk::add_thread. Among the blocked are SIGPIPE and SIGXFSZ: who does not read, and a
  // file that gets too large, are an errno and not the end of the process.
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (int fault : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP})
    sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  int failure = pthread_create(&thread, nullptr, &Writer::enter, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  has_thread = failure == 0;
  return failure;
}

void* LogFile::Writer::enter(void* data) {
  name_this_thread("millrace-log");
  auto* writer = static_cast<Writer*>(data);
  writer->run();
  bool is_orphan = false;
  {
    std::lock_guard lock(writer->mutex);
    writer->has_left = true;
    is_orphan = writer->is_orphan;
    writer->progress.notify_all();  // under the mutex: afterwards the writer may be gone
  }
  if (is_orphan) delete writer;
  return nullptr;
}

void LogFile::Writer::run() {
  Queue batch;
  bool is_over = false;
  while (!is_over) {
    {
      std::unique_lock lock(mutex);
      while (queue.orders.empty() && !ends) {
        sleeps = true;
        has_orders.wait(lock);
      }
      sleeps = false;
      if (queue.orders.empty()) return;
      std::swap(batch, queue);
    }
    is_over = batch.orders.back().kind == Order::Kind::Close;
    carry_out(batch);
    batch.clear();
  }
}

void LogFile::Writer::carry_out(Queue& batch) {
  const char* bytes = batch.bytes.data();
  for (size_t i = 0; i < batch.orders.size();) {
    const Order& first = batch.orders[i];
    if (first.kind == Order::Kind::Text) {
      size_t count = write_texts(bytes, &first, batch.orders.size() - i);
      for (size_t end = i + count; i < end; i++) bytes += batch.orders[i].length;
      continue;
    }
    i++;
    if (first.kind == Order::Kind::Reopen) {
      finish_order(first, reopen_file());
    } else {
      int failure = last_error;
      // As in Fd::reset: closed once, whatever it says.
      if (::close(file.release()) != 0 && failure == 0 && errno != EINTR) failure = errno;
      finish_order(first, failure);
    }
  }
}

void LogFile::Writer::finish_order(const Order& order, int outcome) {
  Kind kind = order.kind == Order::Kind::Reopen ? Kind::Reopen : Kind::Close;
  {
    std::lock_guard lock(mutex);
    outcomes.insert(outcomes.end(), order.length, {kind, outcome});
    if (outcome != 0) error = outcome;
    done += order.length;
    if (notify != nullptr && !is_orphan) notify(who);
  }
  progress.notify_all();
}

int LogFile::Writer::reopen_file() {
  if (path.empty()) return 0;
  Result<Fd> opened = open_path(path);
  if (!opened.is_ok()) return opened.status().error();
  file = opened.take();
  waits_for_room = !is_regular(file);
  is_torn = false;
  last_error = 0;
  return 0;
}

// Writes the texts at the front of the orders, as many as one call takes; returns how many.
size_t LogFile::Writer::write_texts(const char* bytes, const Order* orders, size_t count) {
  size_t batch_max = waits_for_room ? PIPE_BUF : kFileBatch;
  size_t size = orders[0].length;
  size_t texts = 1;
  while (texts < count && orders[texts].kind == Order::Kind::Text &&
         size + orders[texts].length <= batch_max) {
    size += orders[texts++].length;
  }
  size_t written = 0;
  // What was cut off keeps its line to itself.
  size_t ignored = 0;
  bool ok = !must_give_up() && (!is_torn || write_all("\n", 1, ignored));
  if (ok) {
    is_torn = false;
    ok = write_all(bytes, size, written);
  }
  size_t lost = 0;
  if (!ok) {
    size_t end = size;  // from the last text backwards
    while (lost < texts && end > written) end -= orders[texts - ++lost].length;
    is_torn = is_torn || (lost > 0 && written > end);
  }
  {
    std::lock_guard lock(mutex);
    if (!ok) error = last_error;
    dropped += lost;
    waiting -= size;
    held -= size + texts * sizeof(Order);
    done += texts;
  }
  progress.notify_all();
  return texts;
}

bool LogFile::Writer::write_all(const char* bytes, size_t size, size_t& written) {
  while (written < size) {
    // A pipe that is ready takes PIPE_BUF bytes; more would wait inside the system, where nobody
    // can call us back.
    if (waits_for_room && !wait_for_room()) {
      last_error = EAGAIN;
      return false;
    }
    size_t piece = waits_for_room ? std::min<size_t>(size - written, PIPE_BUF) : size - written;
    ssize_t sent = ::write(file.get(), bytes + written, piece);
    if (sent > 0) {
      written += static_cast<size_t>(sent);
      continue;
    }
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN && waits_for_room && !must_drop()) {
      ::poll(nullptr, 0, 1);  // less room than it said
      continue;
    }
    last_error = sent < 0 ? errno : EIO;
    return false;
  }
  last_error = 0;
  return true;
}

// False: it has no room, and the time for it is over.
bool LogFile::Writer::wait_for_room() {
  pollfd entry = {file.get(), POLLOUT, 0};
  for (int wait = 0;; wait = kPollMs) {
    int ready = ::poll(&entry, 1, wait);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;  // a failure, write() tells which
    if (must_drop()) return false;
  }
}

bool LogFile::Writer::must_drop() {
  std::lock_guard lock(mutex);
  return gives_up || Clock::now() >= close_by;
}

bool LogFile::Writer::must_give_up() {
  std::lock_guard lock(mutex);
  if (gives_up) last_error = ECANCELED;
  return gives_up;
}

}  // namespace millrace
