// PeerCounts: how many connections of one server each peer address has, and whether one more is
// served. Any loop of the server; a mutex guards each shard, nothing else happens under it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace millrace {

// Whom connections are counted by: an IPv4 address, or the first 64 bits of an IPv6 address, of
// which one host has all the others to choose from.
struct PeerKey {
  uint64_t prefix = 0;
  bool is_ipv6 = false;

  bool operator==(const PeerKey&) const = default;
};

enum class PeerStanding : uint8_t {
  Unasked,
  Uncounted,
  Admitted,
  Refused,  // one too many; counted apart, for as long as it takes to tell it
  Excess,   // so many are being told that this one is not
};

class PeerCounts final {
 public:
  // Of one address, that are being told. Without it who is refused could hold descriptors without
  // bound.
  static constexpr uint32_t kRefusedMax = 64;

  explicit PeerCounts(uint32_t connections_max);
  PeerCounts(const PeerCounts&) = delete;
  PeerCounts& operator=(const PeerCounts&) = delete;

  // One more connection: Admitted, Refused or Excess. The first two are given back, once.
  [[nodiscard]] PeerStanding add(const PeerKey& key);
  void give_back(const PeerKey& key, PeerStanding standing);

  // --- for tests ---
  [[nodiscard]] uint32_t count(const PeerKey& key, PeerStanding standing);
  [[nodiscard]] size_t addresses();      // that have any
  [[nodiscard]] uint64_t connections();  // admitted and refused ones

 private:
  struct Counts {
    uint32_t admitted = 0;
    uint32_t refused = 0;
  };
  // Seeded: a peer that chooses its addresses does not choose where they are looked for.
  struct Hash {
    [[nodiscard]] size_t operator()(const PeerKey& key) const;
  };
  struct alignas(64) Shard {
    std::mutex mutex;
    std::unordered_map<PeerKey, Counts, Hash> peers;  // those without any are not in it
  };
  [[nodiscard]] Shard& shard_of(const PeerKey& key);

  const uint32_t connections_max_;
  std::array<Shard, 16> shards_;
};

}  // namespace millrace
