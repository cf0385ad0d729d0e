// LogFile: texts appended to a file, or to a descriptor such as stderr, from a thread of its own,
// so that who logs never waits for a disk or a full pipe. Knows nothing of what the texts say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/base/result.h"

namespace millrace {

struct LogFileOptions {
  std::string path = {};       // empty: `fd`
  int fd = -1;                 // duplicated; never closed for others
  size_t bytes_max = 4 << 20;  // of texts that wait, and 16 for each of them
};

// Texts leave in the order in which they came, whole ones in each write(2), so that what several
// processes append to one file does not mix within a line (to a pipe: up to PIPE_BUF bytes). A text
// that can't be written is dropped and counted; the next is tried again.
// Any thread may write and order; the last call is finish() or the destructor's.
class LogFile final {
 public:
  enum class Kind : uint8_t { Reopen, Close };
  struct Outcome {
    Kind kind;
    int error;  // errno, 0 for success
  };
  struct State {
    uint64_t dropped;  // texts
    size_t waiting;    // bytes
    int error;         // the last errno, 0 when nothing has failed
  };

  // Opens the file, makes it (0644) where there is none. The thread begins with the first text.
  [[nodiscard]] static Result<std::unique_ptr<LogFile>> open(const LogFileOptions& options);
  ~LogFile() { static_cast<void>(finish(0)); }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // Called when an outcome is there: on the writer's thread, or from within reopen() or close()
  // when the system has no thread; with a mutex held that all calls here take. Set before the first
  // order.
  void set_notify(void (*notify)(void*), void* who);

  // Never waits. False: no room (or no thread), the text was dropped and counted.
  [[nodiscard]] bool write(Bytes text);
  // Waits until what was written before is with the system. False: that took longer than `ms`.
  [[nodiscard]] bool flush(int64_t ms);
  // Opens the path anew behind what was written before. When that fails, the old file is kept.
  void reopen();
  // Writes all, then closes; what a full pipe does not take within kCloseWaitMs is dropped. Nothing
  // is written or ordered any more.
  void close();
  // What has become of the orders, in their order.
  [[nodiscard]] std::vector<Outcome> take_outcomes();
  [[nodiscard]] State state() const;

  // Waits for what is queued for at most `ms`, drops the rest and ends the thread; one that the
  // system holds in a write is left to itself. False when that dropped something. Idempotent.
  [[nodiscard]] bool finish(int64_t ms);

  // flush() of all logs of the process that are open, for at most `ms` together. Any thread.
  static void flush_all(int64_t ms);

  static constexpr int64_t kCloseWaitMs = 2000;

 private:
  struct Writer;
  explicit LogFile(Writer* writer) : writer_(writer) {}

  Writer* writer_;  // null after finish(); shared with the thread, which may outlive us
};

}  // namespace millrace
