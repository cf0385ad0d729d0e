// floor: what a request costs without Node: the least that any handler could cost on this machine.
//
//   floor [--loops 1] [--port 0] [--body-bytes 13] [--inline] [--static] [--bare]
//
// Prints {"port":N}, then serves until stdin ends or SIGTERM comes. For each line "cpu" on stdin,
// and at the end, it prints one line of JSON: CPU time of the process and what was counted so far.
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "bench/clocks.h"
#include "bench/floor_bare.h"
#include "bench/floor_core.h"
#include "bench/floor_server.h"
#include "bench/program.h"

namespace millrace::bench {
namespace {

FloorOptions read_options(int count, char** words) {
  FloorOptions options;
  Arguments arguments("floor", count, words);
  while (arguments.next()) {
    if (arguments.is("--loops")) {
      options.loops = static_cast<uint32_t>(arguments.whole(1, 64));
    } else if (arguments.is("--port")) {
      options.port = static_cast<uint16_t>(arguments.whole(0, 65535));
    } else if (arguments.is("--body-bytes")) {
      options.body_bytes = static_cast<size_t>(arguments.whole(0, 1 << 20));
    } else if (arguments.is("--inline")) {
      options.is_inline = true;
    } else if (arguments.is("--static")) {
      options.is_static = true;
    } else if (arguments.is("--bare")) {
      options.is_bare = true;
    } else {
      arguments.refuse();
    }
  }
  if (options.is_bare && (options.is_inline || options.is_static))
    fail("--bare goes with neither --inline nor --static");
  if (options.is_inline && options.loops != 1) fail("--inline has one loop");
  return options;
}

void report(const FloorServer& server) {
  CpuTime cpu = cpu_time();
  FloorCounts counts = server.counts();
  std::printf(
      "{\"user_us\":%lld,\"system_us\":%lld,\"requests\":%lld,\"turns\":%lld,\"batches\":%lld,"
      "\"events\":%lld,\"switches\":%lld}\n",
      static_cast<long long>(cpu.user_us), static_cast<long long>(cpu.system_us),
      static_cast<long long>(counts.requests), static_cast<long long>(counts.turns),
      static_cast<long long>(counts.batches), static_cast<long long>(counts.events),
      static_cast<long long>(cpu.switches));
  std::fflush(stdout);
}

// Blocked in all threads, so that only descriptor `stop` tells of them.
int block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  int stop = signalfd(-1, &signals, SFD_CLOEXEC);
  if (stop < 0) fail_call("signalfd");
  return stop;
}

void serve_commands(const FloorServer& server, int stop) {
  std::array<char, 256> input;
  for (;;) {
    std::array<pollfd, 2> waits{pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{stop, POLLIN, 0}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) fail_call("poll");
    if (waits[1].revents != 0) return;
    if (waits[0].revents == 0) continue;
    ssize_t got = ::read(STDIN_FILENO, input.data(), input.size());
    if (got <= 0) return;
    // Any line asks for the figures.
    auto lines = std::count(input.begin(), input.begin() + got, '\n');
    for (; lines > 0; lines--) report(server);
  }
}

}  // namespace
}  // namespace millrace::bench

int main(int count, char** words) {
  using namespace millrace::bench;  // NOLINT: the whole program is of that namespace
  FloorOptions options = read_options(count, words);
  int stop = block_signals();
  std::unique_ptr<FloorServer> server;
  if (options.is_bare) {
    server = std::make_unique<BareFloor>(options);
  } else {
    server = std::make_unique<CoreFloor>(options);
  }
  std::printf("{\"port\":%d}\n", server->port());
  std::fflush(stdout);
  serve_commands(*server, stop);
  server->stop();
  report(*server);
  close(stop);
  return 0;
}
