// The idle mode of blast: opens many connections, has each answered once, and holds them until
// stdin ends; then each must answer once more. Blocking sockets: nothing is timed here.
#pragma once

#include <sys/time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/blast_options.h"
#include "bench/dial.h"
#include "bench/request_template.h"
#include "bench/response_pattern.h"

namespace millrace::bench {

class IdleCrowd final {
 public:
  IdleCrowd(const BlastOptions& options, const RequestTemplate& request)
      : count_(options.idle),
        dial_(options),
        request_(request),
        pattern_(request, expected_body_of(options)),
        buffer_(64 * 1024) {}

  // The exit code of the program.
  [[nodiscard]] int run() {
    for (size_t begin = 0; begin < count_; begin += kGroup) {
      for (size_t i = begin; i < std::min(begin + kGroup, count_); i++) {
        sockets_.push_back(dial_.connect());
        timeval patience{30, 0};
        setsockopt(sockets_.back(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
      }
      ask(begin);
    }
    if (wrong_ + broken_ > 0) fail("not every connection was answered rightly at first");
    std::printf("{\"idle\":%zu}\n", count_);
    std::fflush(stdout);
    while (std::fgetc(stdin) != EOF) continue;
    answered_ = 0;
    for (size_t begin = 0; begin < count_; begin += kGroup) ask(begin);
    std::printf("{\"idle\":%zu,\"again\":%zu,\"wrong\":%zu,\"broken\":%zu}\n", count_, answered_,
                wrong_, broken_);
    for (int fd : sockets_) close(fd);
    return wrong_ + broken_ == 0 ? 0 : 1;
  }

 private:
  // Fewer than a listen backlog, enough to keep the server busy.
  static constexpr size_t kGroup = 100;

  // One request on each socket of a group, then all their answers.
  void ask(size_t begin) {
    size_t end = std::min(begin + kGroup, count_);
    uint64_t first_number = number_;
    std::vector<bool> asked(end - begin);
    for (size_t i = begin; i < end; i++) {
      std::string text;
      request_.append_to(text, number_++);
      ssize_t sent = send(sockets_[i], text.data(), text.size(), MSG_NOSIGNAL);
      asked[i - begin] = sent == static_cast<ssize_t>(text.size());
    }
    for (size_t i = begin; i < end; i++) {
      if (!asked[i - begin] || !read_answer(sockets_[i], first_number + i - begin)) broken_++;
    }
  }

  [[nodiscard]] bool read_answer(int fd, uint64_t number) {
    std::string input;
    for (;;) {
      ssize_t got = recv(fd, buffer_.data(), buffer_.size(), 0);
      if (got <= 0) return false;
      input.append(buffer_.data(), static_cast<size_t>(got));
      bool right = false;
      size_t length = pattern_.match(input, number, right);
      if (length == 0) continue;
      if (!right || length != input.size()) wrong_++;
      answered_++;
      return true;
    }
  }

  const size_t count_;
  Dial dial_;
  const RequestTemplate& request_;
  ResponsePattern pattern_;
  std::vector<char> buffer_;
  std::vector<int> sockets_;
  uint64_t number_ = RequestTemplate::kFirstNumber;
  size_t answered_ = 0;
  size_t wrong_ = 0;
  size_t broken_ = 0;
};

}  // namespace millrace::bench
