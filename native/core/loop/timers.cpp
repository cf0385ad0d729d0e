#include "core/loop/timers.h"

#include <algorithm>
#include <bit>

#include "core/base/check.h"

namespace millrace {

void Timers::set(uint32_t index, Milliseconds at) {
  if (index >= entries_.size()) {
    if (at == kNever) return;
    entries_.resize(std::max<size_t>(index + 1, entries_.size() * 2));
  }
  Entry& entry = entries_[index];
  if (at == kNever) {
    if (entry.at != kNever) armed_--;
    entry.at = kNever;
    return;  // stays linked until its slot comes round, or until it is armed again
  }
  if (entry.at == kNever) armed_++;
  entry.at = at;
  // Rounded up: a deadline never fires early. Never behind the hand, or it would wait a whole
  // round.
  int64_t tick = std::max((at + kTick - 1) / kTick, tick_);
  if (entry.tick >= 0 && entry.tick <= tick) return;  // seen earlier and moved on then
  if (entry.tick >= 0) unlink(index);
  link(index, tick);
}

void Timers::expire(Milliseconds now, std::vector<uint32_t>& expired) {
  int64_t until = now / kTick;
  // After a long sleep every slot is due once; going round twice would find nothing new.
  int64_t first = std::max(tick_, until - static_cast<int64_t>(kSlots) + 1);
  tick_ = std::max(tick_, until + 1);
  if (linked_ == 0) return;
  for (int64_t tick = first; tick <= until; tick++) {
    uint32_t index = slots_[static_cast<size_t>(tick) % kSlots];
    while (index != kNone) {
      Entry& entry = entries_[index];
      uint32_t next = entry.next;
      if (entry.tick <= until) {
        unlink(index);
        if (entry.at != kNever && entry.at <= now) {
          entry.at = kNever;
          armed_--;
          expired.push_back(index);
        } else if (entry.at != kNever) {
          link(index, std::max((entry.at + kTick - 1) / kTick, tick_));
        }
      }
      index = next;
    }
  }
}

Milliseconds Timers::until_next(Milliseconds now) const {
  if (linked_ == 0) return kNever;
  size_t hand = static_cast<size_t>(tick_) % kSlots;
  uint64_t from_hand = ~uint64_t{0} << (hand % 64);
  // The hand's word is looked at twice: first what lies ahead in it, at last what lies a round
  // ahead.
  for (size_t i = 0; i <= kWords; i++) {
    size_t word = (hand / 64 + i) % kWords;
    uint64_t slots = occupied_[word];
    if (i == 0) slots &= from_hand;
    if (i == kWords) slots &= ~from_hand;
    if (slots == 0) continue;
    size_t slot = word * 64 + static_cast<size_t>(std::countr_zero(slots));
    auto ahead = static_cast<int64_t>((slot + kSlots - hand) % kSlots);
    return std::max<Milliseconds>((tick_ + ahead) * kTick - now, 0);
  }
  return kNever;
}

void Timers::link(uint32_t index, int64_t tick) {
  Entry& entry = entries_[index];
  size_t number = static_cast<size_t>(tick) % kSlots;
  uint32_t& slot = slots_[number];
  entry.tick = tick;
  entry.previous = kNone;
  entry.next = slot;
  if (slot != kNone) entries_[slot].previous = index;
  slot = index;
  occupied_[number / 64] |= uint64_t{1} << (number % 64);
  linked_++;
}

void Timers::unlink(uint32_t index) {
  Entry& entry = entries_[index];
  MR_DCHECK(entry.tick >= 0);
  size_t number = static_cast<size_t>(entry.tick) % kSlots;
  if (entry.previous == kNone) {
    slots_[number] = entry.next;
    if (entry.next == kNone) occupied_[number / 64] &= ~(uint64_t{1} << (number % 64));
  } else {
    entries_[entry.previous].next = entry.next;
  }
  if (entry.next != kNone) entries_[entry.next].previous = entry.previous;
  entry.tick = -1;
  linked_--;
}

}  // namespace millrace
