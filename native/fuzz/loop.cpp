// Fuzzes a loop over sim: the input is the stream of decisions about limits, faults, peers,
// consumer and time of a small storm. What a storm checks after every turn aborts here.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "test/storm.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4096) return 0;
  using millrace::test::Dice;
  const millrace::Bytes decisions(reinterpret_cast<const char*>(data), size);
  millrace::test::Storm storm(
      Dice(decisions),
      {.peers = 24, .peers_at_once = 6, .turns_max = 500, .turns_between_rests = 60});
  const millrace::test::StormResult result = storm.run();
  if (result.fault.empty()) return 0;
  std::fprintf(stderr, "turn %llu: %s\n", static_cast<unsigned long long>(result.turn),
               result.fault.c_str());
  std::abort();
}
