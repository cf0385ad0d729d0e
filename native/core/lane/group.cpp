#include "core/lane/group.h"

#include <iterator>
#include <utility>

namespace millrace {
namespace {

constexpr size_t kIdleInbox = 256;  // room that an emptied inbox keeps

// Relaxed everywhere: a hint, which may come late.
std::atomic<int> sharing{0};

}  // namespace

void Group::join(uint32_t loop, uint32_t connections_max, void (*wake)(void*), void* who) {
  Seat& seat = seats_[loop];
  seat.connections_max = connections_max;
  seat.wake = wake;
  seat.who = who;
}

uint32_t Group::reserve(uint32_t self) {
  while (true) {
    uint32_t chosen = self;
    uint32_t fewest = connections(self);
    for (uint32_t i = 0; i < seats_.size(); i++) {
      uint32_t count = connections(i);
      if (count >= fewest || !seats_[i].taking.load(std::memory_order_relaxed)) continue;
      chosen = i;
      fewest = count;
    }
    if (fewest >= seats_[chosen].connections_max) return kNobody;
    // Fails where another loop has taken a place there meanwhile: this may be the last one.
    if (seats_[chosen].connections.compare_exchange_weak(fewest, fewest + 1,
                                                         std::memory_order_relaxed))
      return chosen;
  }
}

void Group::add(uint32_t loop) { seats_[loop].connections.fetch_add(1, std::memory_order_relaxed); }

void Group::give_back(uint32_t loop) {
  seats_[loop].connections.fetch_sub(1, std::memory_order_relaxed);
}

uint32_t Group::connections(uint32_t loop) const {
  return seats_[loop].connections.load(std::memory_order_relaxed);
}

bool Group::hand_over(uint32_t to, Handed& handed) {
  Seat& seat = seats_[to];
  bool was_empty = false;
  {
    std::lock_guard lock(seat.mutex);
    if (seat.closed) {
      give_back(to);
      return false;
    }
    was_empty = seat.inbox.empty();
    seat.inbox.push_back(std::move(handed));
    // Pairs with has_any(): who sees that there is something also finds it.
    seat.has_any.store(true, std::memory_order_release);
  }
  if (was_empty) seat.wake(seat.who);
  return true;
}

// Relaxed: who has not seen it yet hands over all the same.
void Group::set_taking(uint32_t loop, bool taking) {
  seats_[loop].taking.store(taking, std::memory_order_relaxed);
}

// Acquire: pairs with the release stores of hand_over() and take().
bool Group::has_any(uint32_t loop) const {
  return seats_[loop].has_any.load(std::memory_order_acquire);
}

void Group::take(uint32_t loop, std::vector<Handed>& into) {
  Seat& seat = seats_[loop];
  std::lock_guard lock(seat.mutex);
  into.insert(into.end(), std::make_move_iterator(seat.inbox.begin()),
              std::make_move_iterator(seat.inbox.end()));
  seat.inbox.clear();
  if (seat.inbox.capacity() > kIdleInbox) std::vector<Handed>().swap(seat.inbox);
  seat.has_any.store(false, std::memory_order_release);  // pairs with has_any()
}

void Group::close(uint32_t loop, std::vector<Handed>& into) {
  set_taking(loop, false);
  {
    std::lock_guard lock(seats_[loop].mutex);
    seats_[loop].closed = true;
  }
  take(loop, into);
}

void Group::count_sharing(int change) { sharing.fetch_add(change, std::memory_order_relaxed); }

bool Group::is_any_shared() { return sharing.load(std::memory_order_relaxed) > 0; }

}  // namespace millrace
