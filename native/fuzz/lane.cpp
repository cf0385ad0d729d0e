// Fuzzes what two threads share, in every order of their steps that the input asks for. Either a
// small ring: records whole, in order, none lost or twice, room neither lost nor overbooked. Or a
// lane between a loop and its JavaScript: whoever sleeps while there is something for it is woken.
#include <cstring>
#include <deque>
#include <type_traits>
#include <utility>
#include <vector>

#include "fuzz/stepped_lane.h"

namespace millrace {
namespace {

using fuzz::Input;
using stepped::machine;

constexpr int kProducer = 0;
constexpr int kConsumer = 1;

// --- a ring, its producer and its consumer ---

class RingRun final {
 public:
  explicit RingRun(Input& input)
      : input_(input), capacity_(input.below(4) == 0 ? 8192 : 4096), ring_(capacity_) {}

  void run() {
    machine.begin(
        input_,
        [](void* who, int side) {
          auto* self = static_cast<RingRun*>(who);
          side == kProducer ? self->produce() : self->consume();
        },
        this);
    while (!input_.empty()) machine.run(input_.byte() & 1);
    machine.settle_all();
    machine.become(kConsumer);
    while (!records_.empty()) {
      take_front();
      pop();
    }
    take_front();
    MR_CHECK(ring_.is_empty());
    machine.settle_all();
    machine.become(kProducer);
    for (size_t size = 8; size <= capacity_; size += 8)
      MR_CHECK(ring_.has_room(size) == fits(size));
  }

 private:
  struct Record {
    uint64_t number;
    size_t size;
    uint64_t end;
  };

  // --- what must be ---

  [[nodiscard]] uint64_t begin_of(size_t size) const {
    uint64_t to_end = capacity_ - tail_ % capacity_;
    return tail_ + (to_end >= Ring::rounded(size) ? 0 : to_end);
  }
  // By what the producer may know: the pops that have left the consumer's buffer.
  [[nodiscard]] bool fits(size_t size) const {
    size_t pops = machine.settled(kConsumer);
    uint64_t head = pops == 0 ? 0 : heads_[pops - 1];
    return begin_of(size) + Ring::rounded(size) - head <= capacity_;
  }
  [[nodiscard]] bool is_there() const { return machine.settled(kProducer) > popped_; }

  // --- the producer ---

  void produce() {
    switch (input_.below(8)) {
      case 0: {
        size_t size = draw_size();
        judge_room(size, [&] { return ring_.has_room(size); });
        return;
      }
      case 1:
      case 2:
      case 3: return reserve();
      default: return reserved_ == nullptr ? reserve() : commit();
    }
  }
  size_t draw_size() {
    size_t bound = input_.below(4) == 0 ? capacity_ : 256;
    return 8 + input_.below(static_cast<uint32_t>(bound - 7));
  }
  template <typename Ask>
  bool judge_room(size_t size, Ask ask) {
    bool before = fits(size);
    bool has = ask();
    MR_CHECK(has || !before);
    MR_CHECK(!has || fits(size));
    return has;
  }
  void reserve() {
    reserved_size_ = draw_size();
    judge_room(reserved_size_, [this] {
      reserved_ = ring_.reserve(reserved_size_);
      return reserved_ != nullptr;
    });
    // What is unread must not lie here.
    if (reserved_ != nullptr) std::memset(reserved_, 0xee, Ring::rounded(reserved_size_));
  }
  void commit() {
    size_t size = input_.below(2) == 0 ? reserved_size_ : 8 + input_.byte() % (reserved_size_ - 7);
    char* record = std::exchange(reserved_, nullptr);
    auto size_field = static_cast<uint32_t>(size);
    auto kind = static_cast<uint16_t>(1 + number_ % 5);
    std::memset(record, static_cast<int>(number_ * 37 & 0xff), size);
    std::memcpy(record, &size_field, 4);
    std::memcpy(record + 4, &kind, 2);
    tail_ = begin_of(reserved_size_) + Ring::rounded(size);
    records_.push_back({number_++, size, tail_});
    ring_.commit(size);
  }

  // --- the consumer ---

  void consume() {
    switch (input_.below(4)) {
      case 0: {
        bool before = is_there();
        bool is_empty = ring_.is_empty();
        MR_CHECK(!is_empty || !before);
        MR_CHECK(is_empty || is_there());
        return;
      }
      case 1: return take_front();
      default: return shown_ == nullptr ? take_front() : pop();
    }
  }
  void take_front() {
    bool before = is_there();
    const char* record = ring_.front();
    MR_CHECK(record != nullptr || !before);
    MR_CHECK(shown_ == nullptr || record == shown_);
    shown_ = record;
    if (record == nullptr) return;
    MR_CHECK(is_there() && !records_.empty());
    const Record& expected = records_.front();
    uint32_t size = 0;
    uint16_t kind = 0;
    std::memcpy(&size, record, 4);
    std::memcpy(&kind, record + 4, 2);
    MR_CHECK(size == expected.size && kind == 1 + expected.number % 5);
    auto content = static_cast<char>(expected.number * 37 & 0xff);
    for (size_t i = 6; i < size; i++) MR_CHECK(record[i] == content);
  }
  void pop() {
    Record record = records_.front();
    records_.pop_front();
    shown_ = nullptr;
    popped_++;
    heads_.push_back(record.end);
    ring_.pop(record.size);
  }

  Input& input_;
  const size_t capacity_;
  Ring ring_;
  std::deque<Record> records_;   // committed, not popped
  std::vector<uint64_t> heads_;  // by pop: the place up to which all is free
  uint64_t tail_ = 0;
  uint64_t number_ = 0;
  size_t popped_ = 0;
  char* reserved_ = nullptr;
  size_t reserved_size_ = 0;
  const char* shown_ = nullptr;
};

// --- a lane, its loop and its JavaScript: as Loop and the addon's Host and Bridge use it ---

constexpr int kLoop = 0;

struct Sleeper {
  bool asleep = false;
  bool woken = false;
  int wakes = 0;
  int falls = 0;
  static void wake(void* who) {
    auto* self = static_cast<Sleeper*>(who);
    self->woken = true;
    self->wakes++;
    MR_CHECK(self->wakes <= self->falls);
  }
};

// Numbers the records of one direction on both sides.
struct Count {
  uint64_t wanted = 0;
  uint64_t sent = 0;
  uint64_t taken = 0;
};

class LaneRun final {
 public:
  explicit LaneRun(Input& input) : input_(input), record_size_(kSizes[input.below(4)]) {
    lane_.loop_bell.set_wake(&Sleeper::wake, &loop_);
    lane_.js_bell.set_wake(&Sleeper::wake, &js_);
  }

  void run() {
    machine.begin(
        input_,
        [](void* who, int side) {
          auto* self = static_cast<LaneRun*>(who);
          side == kLoop ? self->step_loop() : self->step_js();
        },
        this);
    bool is_cut = input_.below(8) == 0;  // nobody takes what is left
    while (!input_.empty()) machine.run(input_.byte() & 1);
    if (is_cut) return machine.settle_all();
    for (int i = 0; !is_quiet(); i++) {
      MR_CHECK(i < 1'000'000);
      machine.settle_all();
      machine.run(i & 1);
    }
    MR_CHECK(events_.taken == events_.wanted);
    MR_CHECK(commands_.taken == commands_.wanted);
    MR_CHECK(lane_.events.is_empty() && lane_.commands.is_empty());
  }

 private:
  static constexpr size_t kSizes[] = {64, 20'000, 100'000, 300'000};
  // A few fill the lane, although nothing of that size is there.
  static constexpr uint32_t kBlobSays = Lane::kBlobBytesMax / 4 + 1;
  enum class LoopAt { Take, Offer, Ring, Doze, Look, Sleep };
  enum class JsAt { Gather, Taken, Answer, Flush, Doze, Look, Sleep };

  [[nodiscard]] bool is_quiet() const {
    return loop_.asleep && !loop_.woken && js_.asleep && !js_.woken;
  }

  // --- records of one shape for both ways: the number at the end, a blob now and then ---

  template <typename Record>
  bool put(Ring& ring, Count& count, uint16_t blob_flag) {
    char* room = ring.reserve(record_size_);
    if (room == nullptr) return false;
    auto* record = new (room) Record();
    record->size = static_cast<uint32_t>(Ring::rounded(record_size_));
    record->kind = 1;
    if (count.sent % 3 == 2) {
      record->flags = blob_flag;
      record->body_length = kBlobSays;
      if constexpr (std::is_same_v<Record, Event>) lane_.add_blob(kBlobSays);
      record->blob = reinterpret_cast<uint64_t>(Blob::uninitialized(16).release());
    }
    std::memcpy(room + record_size_ - 8, &count.sent, 8);
    count.sent++;
    ring.commit(record_size_);
    return true;
  }
  template <typename Record>
  bool get(Ring& ring, Count& count, uint16_t blob_flag) {
    char* record = ring.front();
    if (record == nullptr) return false;
    uint64_t number = 0;
    std::memcpy(&number, record + record_size_ - 8, 8);
    MR_CHECK(number == count.taken);
    const auto* fields = reinterpret_cast<const Record*>(record);
    if ((fields->flags & blob_flag) != 0) {
      if constexpr (std::is_same_v<Record, Event>) {
        Blob dropped = lane_.take_blob(*fields);
      } else {
        Blob dropped = Blob::adopt(reinterpret_cast<char*>(fields->blob), fields->body_length);
      }
    }
    count.taken++;
    ring.pop(record_size_);
    return true;
  }

  // --- the loop ---

  void step_loop() {
    switch (loop_at_) {
      case LoopAt::Take:
        if (get<Command>(lane_.commands, commands_, kCommandBodyIsBlob)) return;
        loop_at_ = LoopAt::Offer;
        return;
      case LoopAt::Offer: return offer();
      case LoopAt::Ring:
        if (!is_starved_) lane_.loop_waits_for_room.store(false, std::memory_order_relaxed);
        if (std::exchange(has_written_, false)) lane_.js_bell.ring();
        loop_at_ = LoopAt::Doze;
        return;
      case LoopAt::Doze:
        loop_.falls++;
        lane_.loop_bell.fall_asleep();
        loop_at_ = LoopAt::Look;
        return;
      case LoopAt::Look:
        loop_.asleep = lane_.commands.is_empty() && !(is_starved_ && lane_.has_room(record_size_));
        loop_at_ = LoopAt::Sleep;
        return;
      case LoopAt::Sleep: {
        // Peers wake it too, and bring requests; what nobody woke it for would be hidden by that.
        bool is_js_at_rest = !machine.is_nested() && batch_ == 0 && !is_unflushed_;
        if (loop_.asleep && !loop_.woken && is_js_at_rest) {
          MR_CHECK(commands_.sent == commands_.taken);
          MR_CHECK(!is_starved_ || events_.sent > events_.taken);
        }
        uint32_t requests = input_.below(8);
        events_.wanted += requests;
        if (loop_.asleep && !loop_.woken && requests == 0) return;
        loop_.asleep = loop_.woken = false;
        lane_.loop_bell.stay_awake();
        loop_at_ = LoopAt::Take;
        return;
      }
    }
  }
  void offer() {
    is_starved_ = false;
    if (events_.sent < events_.wanted) {
      if (lane_.has_room(record_size_) && put<Event>(lane_.events, events_, kEventBodyIsBlob)) {
        has_written_ = true;
        return;
      }
      is_starved_ = true;
      lane_.loop_waits_for_room.store(true, std::memory_order_relaxed);
    }
    loop_at_ = LoopAt::Ring;
  }

  // --- its JavaScript ---

  void step_js() {
    switch (js_at_) {
      case JsAt::Gather:
        if (batch_ < 4 && get<Event>(lane_.events, events_, kEventBodyIsBlob)) {
          batch_++;
          return;
        }
        js_at_ = batch_ > 0 ? JsAt::Taken : JsAt::Doze;
        return;
      case JsAt::Taken:
        lane_.events_taken();
        // Not every request is answered at once, or ever.
        commands_.wanted += input_.below(std::exchange(batch_, 0u) + 1);
        js_at_ = JsAt::Answer;
        return;
      case JsAt::Answer:
        if (commands_.sent == commands_.wanted) {
          js_at_ = JsAt::Flush;
        } else if (put<Command>(lane_.commands, commands_, kCommandBodyIsBlob)) {
          is_unflushed_ = true;
        } else {
          lane_.loop_bell.ring();  // and again, until there is room
        }
        return;
      case JsAt::Flush:
        if (std::exchange(is_unflushed_, false)) lane_.loop_bell.ring();
        js_at_ = JsAt::Gather;
        return;
      case JsAt::Doze:
        js_.falls++;
        lane_.js_bell.fall_asleep();
        js_at_ = JsAt::Look;
        return;
      case JsAt::Look:
        js_.asleep = lane_.events.is_empty();
        if (!js_.asleep) lane_.js_bell.stay_awake();
        js_at_ = js_.asleep ? JsAt::Sleep : JsAt::Gather;
        return;
      case JsAt::Sleep: {
        if (!js_.woken && !machine.is_nested() && !has_written_)
          MR_CHECK(events_.sent == events_.taken);
        // A timer's answers go out from sleep, with the bell still set.
        uint32_t late = input_.below(8);
        commands_.wanted += late;
        if (!js_.woken && late == 0) return;
        js_.asleep = js_.woken = false;
        js_at_ = JsAt::Answer;
        return;
      }
    }
  }

  Input& input_;
  const size_t record_size_;
  Lane lane_;
  Sleeper loop_;
  Sleeper js_;
  Count events_;
  Count commands_;
  LoopAt loop_at_ = LoopAt::Take;
  JsAt js_at_ = JsAt::Gather;
  uint32_t batch_ = 0;
  bool is_starved_ = false;
  bool has_written_ = false;
  bool is_unflushed_ = false;
};

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > 8192) return 0;
  millrace::fuzz::Input input(data, size);
  if (input.below(2) == 0) {
    millrace::RingRun(input).run();
  } else {
    millrace::LaneRun(input).run();
  }
  return 0;
}
