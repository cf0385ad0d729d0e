// lane: how long a request takes from the loop's thread to the consumer's and back, without sockets
// or protocol. Prints one line of JSON; times in nanoseconds.
//
//   lane [--items 5000] [--seconds 1] [--text-bytes 160] [--pause-us 100] [--json-histogram]
//
// Each row takes `seconds`, or less when its `items` are done.
// single/sleeping: one event at a time, both threads asleep when it is put (after a pause).
// single/spinning: the same between two threads that never sleep.
// stream/W:        as many events as there are, W of them unanswered at most.
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>

#include "bench/clocks.h"
#include "bench/histogram.h"
#include "bench/lane_rig.h"
#include "bench/program.h"

namespace millrace::bench {
namespace {

struct Options {
  uint64_t items = 5000;  // of each single row
  double seconds = 1;     // of each row
  size_t text_bytes = 160;
  int64_t pause_us = 100;
  bool histogram = false;
};

Options read_options(int count, char** words) {
  Options options;
  Arguments arguments("lane", count, words);
  while (arguments.next()) {
    if (arguments.is("--items")) {
      options.items = static_cast<uint64_t>(arguments.whole(1, 100'000'000));
    } else if (arguments.is("--seconds")) {
      options.seconds = arguments.seconds();
    } else if (arguments.is("--text-bytes")) {
      options.text_bytes = static_cast<size_t>(arguments.whole(0, 64 * 1024));
    } else if (arguments.is("--pause-us")) {
      options.pause_us = arguments.whole(0, 1'000'000);
    } else if (arguments.is("--json-histogram")) {
      options.histogram = true;
    } else {
      arguments.refuse();
    }
  }
  return options;
}

void print_times(const char* name, const Histogram& times, bool with_buckets) {
  auto at = [&times](double share) {
    return static_cast<unsigned long long>(times.quantile(share));
  };
  std::printf(
      "\"%s\":{\"p50\":%llu,\"p90\":%llu,\"p99\":%llu,\"p999\":%llu,\"max\":%llu,"
      "\"mean\":%.1f",
      name, at(0.5), at(0.9), at(0.99), at(0.999), static_cast<unsigned long long>(times.max()),
      times.mean());
  if (with_buckets) {
    std::printf(",\"histogram\":");
    times.print_buckets(stdout, 1);
  }
  std::printf("}");
}

void print_row(const std::string& name, const LaneRig& rig, const Histogram& round_trip,
               double elapsed, const Options& options) {
  auto items = static_cast<double>(round_trip.count());
  std::printf(
      "{\"name\":\"%s\",\"items\":%.0f,\"seconds\":%.3f,\"per_second\":%.0f,"
      "\"items_per_batch\":%.2f,\"sleeps_per_item\":%.4f,",
      name.c_str(), items, elapsed, items / elapsed, items / static_cast<double>(rig.batches()),
      static_cast<double>(rig.sleeps()) / items);
  print_times("seen", rig.seen(), options.histogram);
  std::printf(",");
  print_times("round_trip", round_trip, options.histogram);
  std::printf("}");
}

// Long enough for the other thread to have gone to sleep.
void pause(int64_t microseconds) {
  timespec span{microseconds / 1'000'000, (microseconds % 1'000'000) * 1000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &span, nullptr);
}

void measure_single(const char* name, Waiting waiting, const Options& options) {
  auto rig = std::make_unique<LaneRig>(waiting, options.text_bytes);
  Histogram round_trip;
  uint64_t start = nanoseconds();
  uint64_t end = start + nanoseconds_of(options.seconds);
  for (uint64_t i = 0; i < options.items && (i == 0 || nanoseconds() < end); i++) {
    if (waiting == Waiting::Sleep) pause(options.pause_us);
    if (!rig->put_event(nanoseconds())) fail("the event ring is full");
    rig->ring();
    while (rig->take_commands(round_trip) == 0) rig->await_command();
  }
  double elapsed = static_cast<double>(nanoseconds() - start) / 1e9;
  rig->finish();
  print_row(name, *rig, round_trip, elapsed, options);
}

// Turns like a loop's: take commands, put events, ring once, sleep when there is nothing to do.
void measure_stream(size_t window, const Options& options) {
  auto rig = std::make_unique<LaneRig>(Waiting::Sleep, options.text_bytes);
  Histogram round_trip;
  uint64_t start = nanoseconds();
  uint64_t end = start + nanoseconds_of(options.seconds);
  size_t unanswered = 0;
  uint64_t now = start;
  while (now < end || unanswered > 0) {
    size_t taken = rig->take_commands(round_trip);
    unanswered -= taken;
    size_t put = 0;
    now = nanoseconds();
    while (now < end && unanswered < window && rig->put_event(now)) {
      unanswered++;
      put++;
    }
    if (put > 0) rig->ring();
    if (put == 0 && taken == 0) rig->await_command();
  }
  double elapsed = static_cast<double>(nanoseconds() - start) / 1e9;
  rig->finish();
  print_row("stream/" + std::to_string(window), *rig, round_trip, elapsed, options);
}

}  // namespace
}  // namespace millrace::bench

int main(int count, char** words) {
  using namespace millrace::bench;  // NOLINT: the whole program is of that namespace
  Options options = read_options(count, words);
  std::printf("{\"program\":\"lane\",\"unit\":\"ns\",\"text_bytes\":%zu,\"rows\":[",
              options.text_bytes);
  measure_single("single/sleeping", Waiting::Sleep, options);
  std::printf(",");
  measure_single("single/spinning", Waiting::Spin, options);
  for (size_t window : {1u, 16u, 256u, 4096u}) {
    std::printf(",");
    measure_stream(window, options);
  }
  std::printf("]}\n");
  return 0;
}
