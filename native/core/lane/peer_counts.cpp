#include "core/lane/peer_counts.h"

#include "core/base/check.h"
#include "core/base/random.h"

namespace millrace {
namespace {

constexpr size_t kIdleBuckets = 64;  // room that an emptied shard keeps

uint64_t seed_of_process() {
  static const uint64_t seed = [] {
    Random random;
    uint64_t high = random.next();
    return high << 32 | random.next();
  }();
  return seed;
}

}  // namespace

// The finalizer of MurmurHash3.
size_t PeerCounts::Hash::operator()(const PeerKey& key) const {
  uint64_t mixed = key.prefix ^ seed_of_process() ^ (key.is_ipv6 ? ~uint64_t{0} : 0);
  mixed = (mixed ^ mixed >> 33) * 0xff51afd7ed558ccdu;
  mixed = (mixed ^ mixed >> 33) * 0xc4ceb9fe1a85ec53u;
  return static_cast<size_t>(mixed ^ mixed >> 33);
}

PeerCounts::PeerCounts(uint32_t connections_max) : connections_max_(connections_max) {}

// By other bits than those that choose a bucket.
PeerCounts::Shard& PeerCounts::shard_of(const PeerKey& key) {
  return shards_[Hash()(key) >> 20 & (shards_.size() - 1)];
}

PeerStanding PeerCounts::add(const PeerKey& key) {
  Shard& shard = shard_of(key);
  std::lock_guard lock(shard.mutex);
  Counts& counts = shard.peers[key];
  if (counts.admitted < connections_max_) {
    counts.admitted++;
    return PeerStanding::Admitted;
  }
  if (counts.refused == kRefusedMax) return PeerStanding::Excess;
  counts.refused++;
  return PeerStanding::Refused;
}

void PeerCounts::give_back(const PeerKey& key, PeerStanding standing) {
  Shard& shard = shard_of(key);
  std::lock_guard lock(shard.mutex);
  auto found = shard.peers.find(key);
  MR_CHECK(found != shard.peers.end());
  Counts& counts = found->second;
  uint32_t& count = standing == PeerStanding::Admitted ? counts.admitted : counts.refused;
  MR_CHECK(count > 0);
  count--;
  if (counts.admitted > 0 || counts.refused > 0) return;
  shard.peers.erase(found);
  if (shard.peers.empty() && shard.peers.bucket_count() > kIdleBuckets)
    decltype(shard.peers)().swap(shard.peers);
}

uint32_t PeerCounts::count(const PeerKey& key, PeerStanding standing) {
  Shard& shard = shard_of(key);
  std::lock_guard lock(shard.mutex);
  auto found = shard.peers.find(key);
  if (found == shard.peers.end()) return 0;
  return standing == PeerStanding::Admitted ? found->second.admitted : found->second.refused;
}

size_t PeerCounts::addresses() {
  size_t count = 0;
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    count += shard.peers.size();
  }
  return count;
}

uint64_t PeerCounts::connections() {
  uint64_t count = 0;
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    for (const auto& [key, counts] : shard.peers) count += counts.admitted + counts.refused;
  }
  return count;
}

}  // namespace millrace
