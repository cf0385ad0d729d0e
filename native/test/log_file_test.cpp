// LogFile: every text whole and in order, nothing lost without being counted, and nobody waits for
// who does not read.
#include "core/disk/log_file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <semaphore>
#include <thread>

#include "test/disk_rig.h"
#include "test/harness.h"
#include "test/temp_file.h"

namespace millrace {
namespace {

using test::TempFolder;

constexpr int64_t kLong = 60'000;

// Waits for outcomes as a host does.
class Outcomes final {
 public:
  explicit Outcomes(LogFile& log) : log_(log) { log.set_notify(&Outcomes::notify, this); }
  [[nodiscard]] LogFile::Outcome next() {
    while (ready_.empty()) {
      told_.acquire();
      for (LogFile::Outcome outcome : log_.take_outcomes()) ready_.push_back(outcome);
    }
    LogFile::Outcome first = ready_.front();
    ready_.erase(ready_.begin());
    return first;
  }

 private:
  static void notify(void* who) { static_cast<Outcomes*>(who)->told_.release(); }
  LogFile& log_;
  std::vector<LogFile::Outcome> ready_;
  std::counting_semaphore<> told_{0};
};

std::unique_ptr<LogFile> open_log(const LogFileOptions& options) {
  Result<std::unique_ptr<LogFile>> log = LogFile::open(options);
  EXPECT(log.is_ok());
  return log.take();
}

struct Pipe {
  Fd reader;
  Fd writer;
  Pipe() {
    int ends[2];
    EXPECT(::pipe(ends) == 0);
    reader.reset(ends[0]);
    writer.reset(ends[1]);
  }
  // Bytes that wait in it, all of them; with `until_end` all that come before the last writer goes.
  [[nodiscard]] std::string read(bool until_end) const {
    if (!until_end) EXPECT(::fcntl(reader.get(), F_SETFL, O_NONBLOCK) == 0);
    std::string bytes;
    char piece[65536];
    for (ssize_t got = 0; (got = ::read(reader.get(), piece, sizeof(piece))) > 0;)
      bytes.append(piece, static_cast<size_t>(got));
    return bytes;
  }
};

std::string line_of(size_t thread, size_t number) {
  std::string text = std::to_string(thread) + " " + std::to_string(number) + " ";
  text.append((thread * 31 + number * 7) % 90, static_cast<char>('a' + thread));
  return text + "\n";
}

// How many lines of each thread there are; each as it was written, in order, without a gap.
std::vector<size_t> count_lines(const std::string& bytes, size_t threads) {
  std::vector<size_t> next(threads, 0);
  for (size_t at = 0; at < bytes.size();) {
    size_t end = bytes.find('\n', at);
    if (!EXPECT(end != std::string::npos)) break;
    std::string line = bytes.substr(at, end + 1 - at);
    auto thread = static_cast<size_t>(line[0] - '0');
    if (!EXPECT(thread < threads && line == line_of(thread, next[thread]))) break;
    next[thread]++;
    at = end + 1;
  }
  return next;
}

TEST("what four threads log is all there, whole, and in each thread's order") {
  constexpr size_t kThreads = 4;
  constexpr size_t kLines = 10'000;
  TempFolder folder;
  std::unique_ptr<LogFile> log = open_log({.path = folder.at("log"), .bytes_max = 16 << 20});
  std::vector<std::thread> threads;
  std::atomic<size_t> refused{0};
  for (size_t i = 0; i < kThreads; i++) {
    threads.emplace_back([&, i] {
      for (size_t n = 0; n < kLines; n++) {
        if (!log->write(line_of(i, n))) refused.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT(log->flush(kLong));
  EXPECT(refused.load() == 0 && log->state().waiting == 0 && log->state().error == 0);
  EXPECT(count_lines(folder.read("log"), kThreads) == std::vector<size_t>(kThreads, kLines));
  EXPECT(log->finish(kLong));
}

TEST("a log appends to what is there and makes what is not") {
  TempFolder folder;
  folder.write("log", "before\n");
  for (int i = 0; i < 2; i++) {
    std::unique_ptr<LogFile> log = open_log({.path = folder.at("log")});
    EXPECT(log->write("more\n"));
    EXPECT(log->finish(kLong));
  }
  EXPECT(folder.read("log") == "before\nmore\nmore\n");
  EXPECT(!LogFile::open({.path = folder.at("none/log")}).is_ok());
  EXPECT(!LogFile::open({.path = folder.path}).is_ok());
  EXPECT(!LogFile::open({.fd = 9999}).is_ok());
}

TEST("a text that has no room is dropped and counted, one that just fits is not") {
  Pipe pipe;
  // Fills the pipe, so that what is queued stays there.
  EXPECT(::fcntl(pipe.writer.get(), F_SETFL, O_NONBLOCK) == 0);
  std::string filler(4096, 'x');
  while (::write(pipe.writer.get(), filler.data(), filler.size()) > 0) {}
  std::unique_ptr<LogFile> log = open_log({.fd = pipe.writer.get(), .bytes_max = 132});
  EXPECT(!log->write(std::string(117, 'a')));
  EXPECT(log->write(std::string(60, 'b')));
  EXPECT(!log->write(std::string(41, 'c')));
  EXPECT(log->write(std::string(40, 'd')));
  EXPECT(!log->write("e"));
  EXPECT(log->state().dropped == 3 && log->state().waiting == 100);
  EXPECT(!log->flush(0));
  std::string bytes = pipe.read(false);
  EXPECT(log->flush(kLong));
  EXPECT(log->write("f"));
  EXPECT(log->flush(kLong) && log->state().dropped == 3 && log->state().waiting == 0);
  bytes += pipe.read(false);
  bytes.erase(0, bytes.find('b'));
  EXPECT(bytes == std::string(60, 'b') + std::string(40, 'd') + "f");
}

TEST("texts of no length have their bound, and orders to reopen that follow each other are one") {
  Pipe pipe;
  EXPECT(::fcntl(pipe.writer.get(), F_SETFL, O_NONBLOCK) == 0);
  std::string filler(4096, 'x');
  while (::write(pipe.writer.get(), filler.data(), filler.size()) > 0) {}
  std::unique_ptr<LogFile> log = open_log({.fd = pipe.writer.get(), .bytes_max = 16'000});
  Outcomes outcomes(*log);
  EXPECT(log->write("x"));
  size_t taken = 0;
  while (taken < 2000 && log->write("")) taken++;
  EXPECT(taken == 998);
  for (int i = 0; i < 500; i++) log->reopen();
  EXPECT(log->state().waiting == 1);
  static_cast<void>(pipe.read(false));
  for (int i = 0; i < 500; i++) EXPECT(outcomes.next().error == 0);
  EXPECT(log->flush(kLong));
  taken = 0;
  while (taken < 2000 && log->write("")) taken++;
  EXPECT(taken >= 1000);
}

TEST("reopening under load loses no line and takes each where it came in the order") {
  constexpr size_t kLines = 20'000;
  constexpr size_t kFiles = 8;
  TempFolder folder;
  std::unique_ptr<LogFile> log = open_log({.path = folder.at("log"), .bytes_max = 16 << 20});
  Outcomes outcomes(*log);
  std::vector<size_t> cuts;
  for (size_t n = 0; n < kLines; n++) {
    EXPECT(log->write(line_of(0, n)));
    if (n % (kLines / kFiles) != kLines / kFiles - 1 || n == kLines - 1) continue;
    EXPECT(log->flush(kLong));
    std::string rotated = folder.at("log." + std::to_string(cuts.size()));
    EXPECT(::rename(folder.at("log").c_str(), rotated.c_str()) == 0);
    EXPECT(log->write(line_of(0, ++n)));  // behind the rename, before the order: the old file's
    log->reopen();
    cuts.push_back(n + 1);
  }
  log->close();
  for (size_t i = 0; i < cuts.size(); i++) {
    LogFile::Outcome outcome = outcomes.next();
    EXPECT(outcome.kind == LogFile::Kind::Reopen && outcome.error == 0);
  }
  LogFile::Outcome outcome = outcomes.next();
  EXPECT(outcome.kind == LogFile::Kind::Close && outcome.error == 0);
  EXPECT(!log->write("late\n") && log->state().dropped == 1);
  std::string all;
  for (size_t i = 0; i < cuts.size(); i++) {
    all += folder.read("log." + std::to_string(i));
    EXPECT(count_lines(all, 1) == std::vector<size_t>{cuts[i]});
  }
  EXPECT(cuts.size() == kFiles - 1);
  EXPECT(count_lines(all + folder.read("log"), 1) == std::vector<size_t>{kLines});
}

TEST("a log that cannot be reopened goes on where it was") {
  TempFolder folder;
  EXPECT(::mkdir(folder.at("inner").c_str(), 0755) == 0);
  std::unique_ptr<LogFile> log = open_log({.path = folder.at("inner/log")});
  Outcomes outcomes(*log);
  EXPECT(log->write("one\n"));
  EXPECT(log->flush(kLong));
  EXPECT(::rename(folder.at("inner").c_str(), folder.at("other").c_str()) == 0);
  log->reopen();
  EXPECT(outcomes.next().error == ENOENT && log->state().error == ENOENT);
  EXPECT(log->write("two\n"));
  EXPECT(log->finish(kLong));
  EXPECT(folder.read("other/log") == "one\ntwo\n");
}

TEST("what a full disk does not take is dropped and counted; a torn line is ended by the next") {
  TempFolder folder;
  rlimit before;
  EXPECT(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit low = {10, before.rlim_max};
  std::unique_ptr<LogFile> log = open_log({.path = folder.at("log")});
  EXPECT(::setrlimit(RLIMIT_FSIZE, &low) == 0);
  EXPECT(log->write("12345\n"));
  EXPECT(log->flush(kLong));
  EXPECT(log->write("67890\n"));
  EXPECT(log->write("lost\n"));
  EXPECT(log->flush(kLong));
  EXPECT(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  EXPECT(log->state().dropped == 2 && log->state().error == EFBIG && log->state().waiting == 0);
  EXPECT(log->write("again\n"));
  EXPECT(log->finish(kLong));
  EXPECT(folder.read("log") == "12345\n6789\nagain\n");
}

TEST("a pipe gets everything, however slowly it is read, and its descriptor stays open") {
  constexpr size_t kLines = 5'000;
  Pipe pipe;
  std::string bytes;
  {
    std::unique_ptr<LogFile> log = open_log({.fd = pipe.writer.get(), .bytes_max = 16 << 20});
    for (size_t n = 0; n < kLines; n++) EXPECT(log->write(line_of(0, n)));
    Outcomes outcomes(*log);
    std::thread reader([&] { bytes = pipe.read(true); });
    log->reopen();  // of a descriptor: nothing
    log->close();
    EXPECT(outcomes.next().error == 0 && outcomes.next().error == 0);
    EXPECT(::fcntl(pipe.writer.get(), F_GETFD) >= 0);
    pipe.writer.reset();
    reader.join();
  }
  EXPECT(count_lines(bytes, 1) == std::vector<size_t>{kLines});
}

TEST("a full pipe holds up nobody: not who logs, not the end") {
  int before = test::open_descriptors();
  {
    Pipe pipe;
    std::unique_ptr<LogFile> log = open_log({.fd = pipe.writer.get(), .bytes_max = 1 << 20});
    size_t taken = 0;
    while (log->write(std::string(1000, 'x'))) taken++;
    EXPECT(taken >= (1 << 20) / 1064);  // with what each costs besides
    EXPECT(!log->flush(1));
    EXPECT(!log->finish(1));  // and joins, or the descriptor would stay
    log.reset();
  }
  EXPECT(test::open_descriptors() == before);
}

TEST("close() of a full pipe drops in the end what is not read, and says so") {
  Pipe pipe;
  std::unique_ptr<LogFile> log = open_log({.fd = pipe.writer.get(), .bytes_max = 1 << 20});
  Outcomes outcomes(*log);
  for (int i = 0; i < 300; i++) EXPECT(log->write(std::string(1000, 'x')));
  log->close();
  EXPECT(outcomes.next().error == EAGAIN);
  EXPECT(log->state().dropped > 0 && log->state().waiting == 0);
}

TEST("nobody at the other end is EPIPE, and neither a signal nor the end") {
  Pipe pipe;
  pipe.reader.reset();
  std::unique_ptr<LogFile> log = open_log({.fd = pipe.writer.get()});
  EXPECT(log->write("lost\n"));
  EXPECT(log->flush(kLong));
  EXPECT(log->state().dropped == 1 && log->state().error == EPIPE);
  EXPECT(log->write("lost\n"));
  static_cast<void>(log->finish(kLong));
}

TEST("a log that nobody wrote to has no thread and can be closed, ordered and dropped") {
  TempFolder folder;
  int before = test::open_descriptors();
  { std::unique_ptr<LogFile> log = open_log({.path = folder.at("a")}); }
  std::unique_ptr<LogFile> log = open_log({.path = folder.at("b")});
  Outcomes outcomes(*log);
  EXPECT(log->flush(0));
  log->close();
  log->close();
  log->reopen();
  EXPECT(outcomes.next().kind == LogFile::Kind::Close);
  EXPECT(log->finish(kLong) && log->finish(0));
  EXPECT(test::open_descriptors() == before);
}

TEST("the logs of the process are flushed together, a full pipe among them") {
  TempFolder folder;
  Pipe pipe;
  std::unique_ptr<LogFile> full = open_log({.fd = pipe.writer.get(), .bytes_max = 1 << 20});
  std::unique_ptr<LogFile> first = open_log({.path = folder.at("first")});
  std::unique_ptr<LogFile> second = open_log({.path = folder.at("second")});
  EXPECT(first->write("1\n") && second->write("2\n"));
  LogFile::flush_all(kLong);
  EXPECT(folder.read("first") == "1\n" && folder.read("second") == "2\n");
  while (full->write(std::string(1000, 'x'))) {}
  EXPECT(second->finish(kLong));
  LogFile::flush_all(1);
  EXPECT(first->write("3\n") && first->finish(kLong));
  EXPECT(folder.read("first") == "1\n3\n");
}

TEST("texts of more than one call are written whole") {
  TempFolder folder;
  std::unique_ptr<LogFile> log = open_log({.path = folder.at("log"), .bytes_max = 32 << 20});
  std::string expected;
  for (size_t size : {size_t{0}, size_t{1}, size_t{256 * 1024}, size_t{256 * 1024 + 1}, size_t{5},
                      size_t{3 << 20}, size_t{9}}) {
    std::string text(size, static_cast<char>('a' + expected.size() % 26));
    EXPECT(log->write(text));
    expected += text;
  }
  EXPECT(log->finish(kLong));
  EXPECT(folder.read("log") == expected);
}

}  // namespace
}  // namespace millrace
