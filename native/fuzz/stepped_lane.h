// The ring, the bell and the lane compiled over atomics of our own: at every access the input may
// let the other side go on first, and stores stay behind in a buffer of their side as processors
// keep them, until a fence or the input lets them out. One thread plays both sides. Nothing else of
// the core may be linked to a program that includes this: its lane is another.
#pragma once

// All that the headers below include, so that only their own text meets the macro.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include "core/base/blob.h"
#include "core/base/check.h"
#include "core/base/counter.h"  // brings <atomic>
#include "core/base/fd.h"
#include "core/lane/meters.h"  // figures, on which no order rests: theirs stay what they are
#include "core/model/command.h"
#include "core/model/event.h"
#include "core/model/exchange.h"
#include "core/model/shared_message.h"
#include "fuzz/input.h"

namespace stepped {

using namespace std;  // what is not replaced below means what it always does

class Machine final {
 public:
  using Step = void (*)(void* who, int side);

  // Until the next call; the input outlives it.
  void begin(millrace::fuzz::Input& input, Step step, void* who) {
    *this = Machine();
    input_ = &input;
    step_ = step;
    who_ = who;
    is_lazy_ = input.below(2) == 1;
  }
  // One step of a side, with the other side's nested in it as the input says.
  void run(int side) {
    side_ = side;
    step_(who_, side);
  }
  // Accesses outside of steps are this side's.
  void become(int side) { side_ = side; }
  void settle_all() {
    settle(0);
    settle(1);
  }
  // Within a step of the other side.
  [[nodiscard]] bool is_nested() const { return is_nested_; }
  // Stores of a side that its other side sees.
  [[nodiscard]] size_t settled(int side) const { return settled_[side]; }

  // --- for the atomics ---

  void point() {
    if (input_ == nullptr || input_->empty()) return;
    uint8_t choice = input_->byte();
    drain(choice);
    if (is_nested_) return;
    is_nested_ = true;
    side_ = 1 - side_;
    for (int i = choice & 3; i > 0; i--) step_(who_, side_);
    side_ = 1 - side_;
    is_nested_ = false;
  }
  [[nodiscard]] uint64_t read(const uint64_t* at) const {
    const std::vector<Store>& own = stores_[side_];
    for (size_t i = own.size(); i > 0; i--) {
      if (own[i - 1].at == at) return own[i - 1].value;
    }
    return *at;
  }
  void write(uint64_t* at, uint64_t value, bool is_release) {
    if (input_ == nullptr) {
      *at = value;
    } else {
      stores_[side_].push_back({at, value, is_release});
    }
  }
  void settle_own(const uint64_t* at) {
    for (size_t i = 0; i < stores_[side_].size();) {
      if (stores_[side_][i].at != at) {
        i++;
      } else if (stores_[side_][i].is_release) {
        return settle(side_);
      } else {
        settle_at(side_, i);
      }
    }
  }
  void settle_own() { settle(side_); }

 private:
  struct Store {
    uint64_t* at;
    uint64_t value;
    bool is_release;
  };

  // What goes wrong only while stores stay behind for long needs a machine that lets few out.
  void drain(uint8_t choice) {
    if (is_lazy_ && choice < 240) return;
    uint8_t what = choice >> 2 & 7;
    if (what == 4 || what == 7) settle_one(side_, 0);
    if (what == 5 || what == 7) settle_one(1 - side_, 0);
    if (what == 6) settle_one((choice & 64) != 0 ? side_ : 1 - side_, 1 + (choice >> 7));
  }
  void settle(int side) {
    while (!stores_[side].empty()) settle_at(side, 0);
  }
  void settle_at(int side, size_t index) {
    std::vector<Store>& own = stores_[side];
    *own[index].at = own[index].value;
    own.erase(own.begin() + static_cast<std::ptrdiff_t>(index));
    settled_[side]++;
  }
  // The one named, when nothing keeps it behind those before it.
  void settle_one(int side, size_t index) {
    std::vector<Store>& own = stores_[side];
    if (own.empty()) return;
    if (index >= own.size() || own[index].is_release) index = 0;
    for (size_t i = 0; i < index; i++) {
      if (own[i].at == own[index].at) return settle_at(side, 0);
    }
    settle_at(side, index);
  }

  millrace::fuzz::Input* input_ = nullptr;
  Step step_ = nullptr;
  void* who_ = nullptr;
  int side_ = 0;
  bool is_nested_ = false;
  bool is_lazy_ = false;
  std::vector<Store> stores_[2];
  size_t settled_[2] = {0, 0};
};

inline Machine machine;

template <typename T>
class atomic final {
 public:
  constexpr atomic(T value) : value_(static_cast<uint64_t>(value)) {}
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  [[nodiscard]] T load(memory_order) const {
    machine.point();
    return static_cast<T>(machine.read(&value_));
  }
  void store(T value, memory_order order) {
    machine.write(&value_, static_cast<uint64_t>(value), order != memory_order_relaxed);
    machine.point();
  }
  T exchange(T value, memory_order) {
    return change([value](T) { return value; });
  }
  T fetch_add(T value, memory_order) {
    return change([value](T before) { return static_cast<T>(before + value); });
  }
  T fetch_sub(T value, memory_order) {
    return change([value](T before) { return static_cast<T>(before - value); });
  }

 private:
  template <typename Next>
  T change(Next next) {
    machine.point();
    machine.settle_own(&value_);
    T before = static_cast<T>(value_);
    value_ = static_cast<uint64_t>(next(before));
    return before;
  }

  uint64_t value_;
};

// Sequentially consistent ones only: what the lane has.
inline void atomic_thread_fence(memory_order) {
  machine.point();
  machine.settle_own();
}

}  // namespace stepped

#define std stepped
#include "core/lane/bell.h"
#include "core/lane/ring.h"
//
#include "core/lane/lane.h"
//
#include "core/lane/lane.cpp"
#undef std
