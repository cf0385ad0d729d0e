// Counting by address alone: who is admitted, refused and neither, that all is given back, also
// from several threads at once.
#include "core/lane/peer_counts.h"

#include <thread>
#include <vector>

#include "test/harness.h"

namespace millrace::test {
namespace {

constexpr PeerKey kHome{.prefix = 0x7f000001, .is_ipv6 = false};

TEST("an address has as many connections as the limit says, and gets back what ends") {
  PeerCounts counts(2);
  EXPECT(counts.add(kHome) == PeerStanding::Admitted);
  EXPECT(counts.add(kHome) == PeerStanding::Admitted);
  EXPECT(counts.add(kHome) == PeerStanding::Refused);
  EXPECT(counts.count(kHome, PeerStanding::Admitted) == 2);
  EXPECT(counts.count(kHome, PeerStanding::Refused) == 1);
  counts.give_back(kHome, PeerStanding::Admitted);
  EXPECT(counts.add(kHome) == PeerStanding::Admitted);
  EXPECT(counts.add(kHome) == PeerStanding::Refused);
  EXPECT(counts.connections() == 4 && counts.addresses() == 1);
}

TEST("the refused of one address take no more room than they may") {
  PeerCounts counts(1);
  EXPECT(counts.add(kHome) == PeerStanding::Admitted);
  for (uint32_t i = 0; i < PeerCounts::kRefusedMax; i++)
    EXPECT(counts.add(kHome) == PeerStanding::Refused);
  EXPECT(counts.add(kHome) == PeerStanding::Excess);
  EXPECT(counts.connections() == PeerCounts::kRefusedMax + 1);
  counts.give_back(kHome, PeerStanding::Refused);
  EXPECT(counts.add(kHome) == PeerStanding::Refused);
  EXPECT(counts.add(kHome) == PeerStanding::Excess);
  // Nobody else has anything to do with it.
  EXPECT(counts.add({.prefix = kHome.prefix + 1}) == PeerStanding::Admitted);
}

TEST("an IPv4 address and a prefix of IPv6 of the same bits are two") {
  PeerCounts counts(1);
  EXPECT(counts.add({.prefix = 7, .is_ipv6 = false}) == PeerStanding::Admitted);
  EXPECT(counts.add({.prefix = 7, .is_ipv6 = true}) == PeerStanding::Admitted);
  EXPECT(counts.add({.prefix = 7, .is_ipv6 = true}) == PeerStanding::Refused);
  EXPECT(counts.addresses() == 2);
}

TEST("an address without connections is not remembered") {
  PeerCounts counts(3);
  for (int round = 0; round < 3; round++) {
    for (uint64_t i = 0; i < 5000; i++)
      EXPECT(counts.add({.prefix = i << 40, .is_ipv6 = true}) == PeerStanding::Admitted);
    EXPECT(counts.addresses() == 5000);
    for (uint64_t i = 0; i < 5000; i++)
      counts.give_back({.prefix = i << 40, .is_ipv6 = true}, PeerStanding::Admitted);
    EXPECT(counts.addresses() == 0 && counts.connections() == 0);
  }
}

TEST("loops that count at once lose nothing") {
  PeerCounts counts(5);
  std::vector<std::thread> loops;
  for (uint64_t loop = 0; loop < 4; loop++) {
    loops.emplace_back([&counts, loop] {
      for (uint64_t i = 0; i < 20'000; i++) {
        PeerKey key{.prefix = (i + loop) % 3};
        PeerStanding standing = counts.add(key);
        if (counts.count(key, PeerStanding::Admitted) > 5) return;  // seen by what is left
        if (standing != PeerStanding::Excess) counts.give_back(key, standing);
      }
    });
  }
  for (std::thread& loop : loops) loop.join();
  EXPECT(counts.addresses() == 0);
}

}  // namespace
}  // namespace millrace::test
