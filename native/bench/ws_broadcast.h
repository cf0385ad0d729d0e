// The broadcast mode of blast: one WebSocket publishes what all others must receive, in order, once
// and unharmed. `depth` messages are on their way at most; the next one leaves when the oldest has
// reached everybody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "bench/clocks.h"
#include "bench/ws_crowd.h"
#include "bench/ws_payload.h"
#include "bench/ws_report.h"

namespace millrace::bench {

class WsBroadcast final {
 public:
  explicit WsBroadcast(const BlastOptions& options)
      : options_(options),
        payload_(options),
        crowd_(options, options.connections + 1),
        publisher_(options.connections),
        next_of_(options.connections),
        rounds_(options.depth) {}

  // The exit code of the program.
  [[nodiscard]] int run() {
    WsHandshake subscribe(options_, options_.path);
    for (size_t i = 0; i < publisher_; i++) crowd_.open(subscribe);
    crowd_.open(WsHandshake(options_, options_.publish_path));
    wait_for_all();
    wait_at_gate(options_);
    uint64_t start = nanoseconds();
    for (size_t k = 0; k < options_.depth; k++) publish(start);
    crowd_.flush(publisher_);
    if (options_.warmup > 0) {
      start = serve_until(start + nanoseconds_of(options_.warmup));
      tally_.latency.clear();
      tally_.published = 0;
      crowd_.forget_counts();
    }
    uint64_t end = serve_until(start + nanoseconds_of(options_.seconds));
    is_ending_ = true;
    uint64_t patience = end + kWsPatience;
    while (complete_ < published_ && crowd_.broken() == 0 && end < patience) end = turn();
    for (uint64_t next : next_of_) tally_.lost += published_ - next;
    tally_.broken = crowd_.broken();
    tally_.compressed = crowd_.compressed();
    tally_.seconds = static_cast<double>(end - start) / 1e9;
    int code = tally_.report(options_);
    wait_for_leave(options_);
    return code;
  }

 private:
  // A published message until everybody has it.
  struct Round {
    uint64_t at = 0;
    size_t taken = 0;
  };

  // The server says "ready" on each that has subscribed, and nothing is published before.
  void wait_for_all() {
    size_t ready = 0;
    uint64_t now = nanoseconds();
    uint64_t patience = now + kWsPatience;
    while (ready < publisher_) {
      if (crowd_.broken() > 0 || now > patience) fail("not every subscriber was told \"ready\"");
      now = crowd_.turn([&ready](size_t, std::string_view message, uint64_t) {
        if (message != "ready") fail("something came before \"ready\"");
        ready++;
      });
    }
    crowd_.forget_counts();
  }

  // Returns when it ended.
  uint64_t serve_until(uint64_t end) {
    uint64_t now = nanoseconds();
    while (now < end && crowd_.broken() == 0) now = turn();
    return now;
  }

  uint64_t turn() {
    uint64_t now = crowd_.turn([this](size_t index, std::string_view message, uint64_t at) {
      if (index == publisher_ || next_of_[index] == published_) {
        tally_.wrong++;  // nobody sent that
        return;
      }
      uint64_t number = next_of_[index]++;
      if (!payload_.is(message, number)) tally_.wrong++;
      Round& round = rounds_[number % rounds_.size()];
      tally_.latency.add(at - round.at);
      round.taken++;
    });
    size_t finished = 0;
    for (; complete_ < published_ && oldest().taken == publisher_; complete_++) {
      oldest().taken = 0;
      finished++;
    }
    if (is_ending_ || finished == 0) return now;
    now = nanoseconds();
    for (; finished > 0; finished--) publish(now);
    crowd_.flush(publisher_);
    return now;
  }

  [[nodiscard]] Round& oldest() { return rounds_[complete_ % rounds_.size()]; }

  void publish(uint64_t now) {
    rounds_[published_ % rounds_.size()].at = now;
    crowd_.send(publisher_, payload_.opcode(), payload_.of(published_));
    published_++;
    tally_.published++;
  }

  const BlastOptions& options_;
  Payload payload_;
  WsCrowd crowd_;
  const size_t publisher_;         // index of its link; the others subscribe
  std::vector<uint64_t> next_of_;  // by subscriber: the number that must come next
  std::vector<Round> rounds_;      // ring of `depth`
  uint64_t published_ = 0;
  uint64_t complete_ = 0;  // rounds that everybody has
  WsTally tally_;
  bool is_ending_ = false;
};

}  // namespace millrace::bench
