// Group: the loops of one server. How many connections each has, and an inbox each for those that
// another one has accepted for it. Any loop of the group; a mutex guards each inbox, and no wake-up
// is made under it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/base/fd.h"
#include "core/model/address.h"

namespace millrace {

// A connection that was accepted for another loop. Its place there is taken.
struct Handed {
  uint16_t listener = 0;
  Fd socket;
  Address peer;
};

class Group final {
 public:
  static constexpr uint32_t kNobody = UINT32_MAX;

  explicit Group(size_t loops) : seats_(loops) {}
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  // Each loop, before any of them turns: how many connections it may have, the same number for
  // all. `wake` is called, from the thread that hands over, each time the inbox stops being empty.
  void join(uint32_t loop, uint32_t connections_max, void (*wake)(void*), void* who);

  // --- any loop ---
  // Takes a place at the loop that has the fewest connections of those that take any; at `self`
  // where that has no more. kNobody: all of them are full.
  [[nodiscard]] uint32_t reserve(uint32_t self);
  // One more, unasked.
  void add(uint32_t loop);
  void give_back(uint32_t loop);
  // Into a place that reserve() has taken. False: that loop has closed its inbox, and `handed` is
  // as it was; its place has been given back.
  [[nodiscard]] bool hand_over(uint32_t to, Handed& handed);
  [[nodiscard]] uint32_t connections(uint32_t loop) const;

  // --- the loop itself ---
  // Whether others may choose it. What they chose before still comes.
  void set_taking(uint32_t loop, bool taking);
  [[nodiscard]] bool has_any(uint32_t loop) const;
  // Appends what is there.
  void take(uint32_t loop, std::vector<Handed>& into);
  // The same, and nothing comes afterwards.
  void close(uint32_t loop, std::vector<Handed>& into);

  // Servers of this process that listen on a socket of another one. Any thread.
  static void count_sharing(int change);
  [[nodiscard]] static bool is_any_shared();

 private:
  struct alignas(64) Seat {
    // Open ones, and those on their way here. Relaxed: a figure to choose by, and a bound that
    // compare-and-swap keeps; no other memory depends on it.
    std::atomic<uint32_t> connections{0};
    std::atomic<bool> taking{true};
    std::atomic<bool> has_any{false};  // written under mutex
    uint32_t connections_max = 0;
    void (*wake)(void*) = nullptr;
    void* who = nullptr;
    std::mutex mutex;  // guards inbox, closed
    std::vector<Handed> inbox;
    bool closed = false;
  };
  std::vector<Seat> seats_;
};

}  // namespace millrace
