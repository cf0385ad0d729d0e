// The echo modes of blast over WebSockets: `depth` messages on their way on each connection, and
// --idle, which opens many, has each answered once, and again when stdin ends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <vector>

#include "bench/clocks.h"
#include "bench/ws_crowd.h"
#include "bench/ws_payload.h"
#include "bench/ws_report.h"

namespace millrace::bench {

// Which message it is: no two of a run have the same number, on whatever connection.
inline uint64_t ws_number_of(size_t index, uint64_t sequence) {
  return static_cast<uint64_t>(index) << 40 | sequence;
}

class WsEcho final {
 public:
  explicit WsEcho(const BlastOptions& options)
      : options_(options),
        payload_(options),
        crowd_(options, options.connections),
        peers_(options.connections) {}

  // The exit code of the program.
  [[nodiscard]] int run() {
    WsHandshake handshake(options_, options_.path);
    for (Peer& peer : peers_) {
      crowd_.open(handshake);
      peer.sent_at.resize(options_.depth);
    }
    wait_at_gate(options_);
    uint64_t start = nanoseconds();
    for (size_t i = 0; i < peers_.size(); i++) {
      for (size_t k = 0; k < options_.depth; k++) send(i, start);
      crowd_.flush(i);
    }
    if (options_.warmup > 0) {
      start = serve_until(start + nanoseconds_of(options_.warmup));
      tally_.latency.clear();
      crowd_.forget_counts();
    }
    uint64_t end = serve_until(start + nanoseconds_of(options_.seconds));
    is_ending_ = true;
    uint64_t patience = end + kWsPatience;
    while (under_way_ > 0 && crowd_.live() > 0 && end < patience) end = turn();
    tally_.lost = under_way_;
    tally_.broken = crowd_.broken();
    tally_.compressed = crowd_.compressed();
    tally_.seconds = static_cast<double>(end - start) / 1e9;
    int code = tally_.report(options_);
    wait_for_leave(options_);
    return code;
  }

 private:
  struct Peer {
    std::vector<uint64_t> sent_at;  // ring of `depth`
    uint64_t sent = 0;              // also the number of the next one
    uint64_t answered = 0;
  };

  // Returns when it ended.
  uint64_t serve_until(uint64_t end) {
    uint64_t now = nanoseconds();
    while (now < end && crowd_.live() > 0) now = turn();
    return now;
  }

  uint64_t turn() {
    return crowd_.turn([this](size_t index, std::string_view message, uint64_t now) {
      Peer& peer = peers_[index];
      if (peer.answered == peer.sent) {
        tally_.wrong++;  // more was answered than asked
        return;
      }
      if (!payload_.is(message, ws_number_of(index, peer.answered))) tally_.wrong++;
      tally_.latency.add(now - peer.sent_at[peer.answered % options_.depth]);
      peer.answered++;
      under_way_--;
      if (!is_ending_) send(index, now);
    });
  }

  void send(size_t index, uint64_t now) {
    Peer& peer = peers_[index];
    peer.sent_at[peer.sent % options_.depth] = now;
    crowd_.send(index, payload_.opcode(), payload_.of(ws_number_of(index, peer.sent)));
    peer.sent++;
    under_way_++;
  }

  const BlastOptions& options_;
  Payload payload_;
  WsCrowd crowd_;
  std::vector<Peer> peers_;
  WsTally tally_;
  uint64_t under_way_ = 0;
  bool is_ending_ = false;
};

class WsIdle final {
 public:
  explicit WsIdle(const BlastOptions& options)
      : options_(options), payload_(options), crowd_(options, options.idle) {}

  // The exit code of the program.
  [[nodiscard]] int run() {
    WsHandshake handshake(options_, options_.path);
    size_t count = options_.idle;
    for (size_t begin = 0; begin < count; begin += kGroup) {
      size_t end = std::min(begin + kGroup, count);
      for (size_t i = begin; i < end; i++) crowd_.open(handshake);
      ask(begin, end);
    }
    if (answered_ != count || wrong_ + crowd_.broken() > 0)
      fail("not every connection was answered rightly at first");
    std::printf("{\"idle\":%zu,\"compressed\":%llu}\n", count,
                static_cast<unsigned long long>(crowd_.compressed()));
    std::fflush(stdout);
    while (std::fgetc(stdin) != EOF) continue;
    answered_ = 0;
    round_++;
    for (size_t begin = 0; begin < count; begin += kGroup)
      ask(begin, std::min(begin + kGroup, count));
    auto broken = static_cast<size_t>(crowd_.broken());
    std::printf("{\"idle\":%zu,\"again\":%zu,\"wrong\":%zu,\"broken\":%zu}\n", count, answered_,
                wrong_, broken);
    return wrong_ + broken == 0 && answered_ == count ? 0 : 1;
  }

 private:
  // Fewer than a listen backlog, enough to keep the server busy.
  static constexpr size_t kGroup = 100;

  // One message on each of a group, then all their answers.
  void ask(size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
      crowd_.send(i, payload_.opcode(), payload_.of(ws_number_of(i, round_)));
      crowd_.flush(i);
    }
    size_t wanted = answered_ + end - begin;
    uint64_t now = nanoseconds();
    uint64_t patience = now + kWsPatience;
    while (answered_ < wanted && now < patience && crowd_.broken() == 0) {
      now = crowd_.turn([this](size_t index, std::string_view message, uint64_t) {
        answered_++;
        if (!payload_.is(message, ws_number_of(index, round_))) wrong_++;
      });
    }
  }

  const BlastOptions& options_;
  Payload payload_;
  WsCrowd crowd_;
  uint64_t round_ = 0;
  size_t answered_ = 0;
  size_t wrong_ = 0;
};

}  // namespace millrace::bench
