// What every bench program begins with: its name in messages, its way to fail, its options.
// Exit codes: 0 all is well, 1 measured but with wrong or broken answers, 2 could not measure.
#pragma once

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace millrace::bench {

inline const char* program_name = "bench";

[[noreturn]] inline void fail(const char* sentence, const char* what = "") {
  std::fprintf(stderr, "%s: %s%s\n", program_name, sentence, what);
  std::exit(2);
}

// After a system call: its name and what errno says.
[[noreturn]] inline void fail_call(const char* call) {
  std::fprintf(stderr, "%s: %s: %s\n", program_name, call, std::strerror(errno));
  std::exit(2);
}

// Reads "--name value" and "--switch". Every value that is asked for is checked.
class Arguments final {
 public:
  Arguments(const char* program, int count, char** words) : words_(words), count_(count) {
    program_name = program;
  }

  // Moves to the next option; false when there is none.
  [[nodiscard]] bool next() { return ++at_ < count_; }
  [[nodiscard]] bool is(std::string_view name) const { return name == words_[at_]; }

  [[nodiscard]] const char* text() {
    if (at_ + 1 >= count_) fail("a value is missing after ", words_[at_]);
    return words_[++at_];
  }
  [[nodiscard]] int64_t whole(int64_t least, int64_t most) {
    const char* name = words_[at_];
    const char* value = text();
    char* end = nullptr;
    errno = 0;
    int64_t number = std::strtoll(value, &end, 10);
    if (end == value || *end != '\0' || errno != 0 || number < least || number > most)
      fail("not a number in its range: ", name);
    return number;
  }
  [[nodiscard]] double seconds() {
    const char* name = words_[at_];
    const char* value = text();
    char* end = nullptr;
    double number = std::strtod(value, &end);
    if (end == value || *end != '\0' || !std::isfinite(number) || number < 0 || number > 86400)
      fail("not a number of seconds: ", name);
    return number;
  }
  [[noreturn]] void refuse() const { fail("unknown option ", words_[at_]); }

 private:
  char** words_;
  int count_;
  int at_ = 0;
};

}  // namespace millrace::bench
