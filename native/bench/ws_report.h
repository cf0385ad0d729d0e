// What a WebSocket mode of blast prints at its end: one line of JSON.
#pragma once

#include <cstdint>
#include <cstdio>

#include "bench/blast_options.h"
#include "bench/histogram.h"

namespace millrace::bench {

struct WsTally {
  Histogram latency;
  uint64_t wrong = 0;       // not what should have come next
  uint64_t broken = 0;      // connections
  uint64_t lost = 0;        // what never came
  uint64_t compressed = 0;  // of the messages that came
  uint64_t published = 0;
  double seconds = 0;

  // The exit code of the program.
  [[nodiscard]] int report(const BlastOptions& options) const {
    auto whole = [](uint64_t number) { return static_cast<unsigned long long>(number); };
    auto microseconds = [this](double share) {
      return static_cast<double>(latency.quantile(share)) / 1e3;
    };
    std::printf(
        "{\"messages\":%llu,\"wrong\":%llu,\"broken\":%llu,\"lost\":%llu,\"compressed\":%llu",
        whole(latency.count()), whole(wrong), whole(broken), whole(lost), whole(compressed));
    if (options.ws == "broadcast") std::printf(",\"published\":%llu", whole(published));
    std::printf(
        ",\"seconds\":%.3f,\"messages_per_s\":%.0f,\"p50_us\":%.1f,\"p90_us\":%.1f,"
        "\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"mean_us\":%.1f",
        seconds, static_cast<double>(latency.count()) / seconds, microseconds(0.5),
        microseconds(0.9), microseconds(0.99), microseconds(0.999),
        static_cast<double>(latency.max()) / 1e3, latency.mean() / 1e3);
    if (options.histogram) {
      std::printf(",\"histogram_us\":");
      latency.print_buckets(stdout, 1e3);
    }
    std::printf("}\n");
    return wrong + broken + lost == 0 && latency.count() > 0 ? 0 : 1;
  }
};

// Where opening connections ends and the load begins.
inline void wait_at_gate(const BlastOptions& options) {
  if (!options.gated) return;
  std::printf("{\"connected\":%zu}\n", options.connections);
  std::fflush(stdout);
  int byte = std::fgetc(stdin);
  while (byte != '\n' && byte != EOF) byte = std::fgetc(stdin);
}

// Where it has ended and they are closed.
inline void wait_for_leave(const BlastOptions& options) {
  if (!options.gated) return;
  std::fflush(stdout);
  while (std::fgetc(stdin) != EOF) continue;
}

// What is under way at the end may take so long to arrive, in nanoseconds.
inline constexpr uint64_t kWsPatience = 10'000'000'000;

}  // namespace millrace::bench
