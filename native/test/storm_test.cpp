// Storms in the ordinary run: a few seeds, the same ones every time. MILLRACE_STORM_SEED=n replays
// one; MILLRACE_STORM_SEEDS=n runs n of them, from that one on if both are given. The checker of
// responses has its own tests at the end.
#include "test/storm.h"

#include <cinttypes>
#include <cstdlib>

#include "test/harness.h"

namespace millrace::test {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t value = 0;
  return text != nullptr && parse_decimal(text, value) ? value : otherwise;
}

StormResult run_storm(uint64_t seed) {
  Storm storm(Dice(seed), StormSize{});
  return storm.run();
}

bool is_calm(uint64_t seed, const StormResult& result) {
  if (result.fault.empty()) return true;
  std::printf("  MILLRACE_STORM_SEED=%llu turn %llu: %s\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(result.turn), result.fault.c_str());
  return false;
}

TEST("a storm of peers and faults leaves every gauge right and every request answered or aborted") {
  uint64_t first = from_environment("MILLRACE_STORM_SEED", 0);
  uint64_t count = from_environment("MILLRACE_STORM_SEEDS", first != 0 ? 1 : 12);
  first = first != 0 ? first : 1;
  StormResult sum;
  for (uint64_t seed = first; seed < first + count; seed++) {
    StormResult result = run_storm(seed);
    EXPECT(is_calm(seed, result));
    sum.connections += result.connections;
    sum.requests += result.requests;
    sum.aborts += result.aborts;
    sum.refusals += result.refusals;
    sum.starved_turns += result.starved_turns;
    sum.full_turns += result.full_turns;
    sum.commands_refused += result.commands_refused;
    sum.turn += result.turn;
  }
  std::printf("  %" PRIu64 " connections, %" PRIu64 " events, %" PRIu64 " aborts, %" PRIu64
              " refusals, %" PRIu64 " turns (%" PRIu64 " starved, %" PRIu64
              " with a full ring), %" PRIu64 " commands refused\n",
              sum.connections, sum.requests, sum.aborts, sum.refusals, sum.turn, sum.starved_turns,
              sum.full_turns, sum.commands_refused);
  // What the ordinary seeds must have been through, or they test less than they say.
  if (std::getenv("MILLRACE_STORM_SEED") != nullptr || count < 12) return;
  EXPECT(sum.connections > 10'000 && sum.refusals > 1000 && sum.aborts > 1000);
  EXPECT(sum.starved_turns > 0 && sum.full_turns > 0 && sum.commands_refused > 0);
}

TEST("the same seed gives the same storm") {
  StormResult first = run_storm(3);
  StormResult again = run_storm(3);
  EXPECT(first.trace == again.trace);
  EXPECT(first.turn == again.turn);
  EXPECT(first.trace != run_storm(4).trace);
}

}  // namespace
}  // namespace millrace::test
