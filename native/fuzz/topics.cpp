// Fuzzes who gets what is published. Either the subscribers of one loop, or the hub and the
// mailboxes of several: operations as the input asks for, each compared with a naive model.
#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/check.h"
#include "core/lane/hub.h"
#include "core/loop/topics.h"
#include "fuzz/input.h"

namespace millrace {
namespace {

using fuzz::Input;

// --- one loop ---

class TopicsRun final {
 public:
  explicit TopicsRun(Input& input)
      : input_(input), key_count_(1 + input.below(64)), slot_count_(1 + input.below(64)) {}

  void run() {
    while (!input_.empty()) step();
    for (uint32_t i = 0; i < key_count_; i++) check(key_of(i));
    check_counts();
    while (!all_.empty()) {
      auto [slot, generation] = all_.begin()->second;
      drop({slot, generation});
      check_counts();
    }
    MR_CHECK(topics_.topic_count() == 0 && topics_.subscription_count() == 0);
  }

 private:
  using One = std::pair<std::string, std::pair<uint32_t, uint32_t>>;

  static std::string key_of(uint32_t number) {
    return std::string(number % 3 * 20, '\0') + static_cast<char>('a' + number % 64);
  }

  void step() {
    uint32_t choice = input_.below(16);
    std::string key = key_of(input_.below(key_count_));
    uint32_t who = input_.below(2 * slot_count_);
    ExchangeId id{who / 2, who % 2};
    One one{key, {id.slot, id.generation}};
    if (choice < 8) {
      MR_CHECK(topics_.subscribe(key, id) == all_.insert(one).second);
    } else if (choice < 14) {
      MR_CHECK(topics_.unsubscribe(key, id) == (all_.erase(one) > 0));
    } else if (choice == 14) {
      drop(id);
    } else {
      // All sockets at once, so that lists get long from few bytes.
      for (uint32_t slot = 0; slot < slot_count_; slot++) {
        topics_.subscribe(key, {slot, 0});
        all_.insert({key, {slot, 0}});
      }
    }
    check(key);
  }
  void drop(ExchangeId id) {
    topics_.drop(id);
    std::erase_if(all_,
                  [&](const One& one) { return one.second == std::pair(id.slot, id.generation); });
  }
  void check(const std::string& key) const {
    const std::vector<ExchangeId>& found = topics_.subscribers(key);
    size_t count = 0;
    for (auto at = all_.lower_bound({key, {0, 0}}); at != all_.end() && at->first == key; at++)
      count++;
    MR_CHECK(found.size() == count);
    std::set<std::pair<uint32_t, uint32_t>> seen;
    for (ExchangeId id : found) {
      MR_CHECK(all_.count({key, {id.slot, id.generation}}) == 1);
      MR_CHECK(seen.emplace(id.slot, id.generation).second);
    }
  }
  void check_counts() const {
    std::set<std::string> keys;
    for (const One& one : all_) keys.insert(one.first);
    MR_CHECK(topics_.topic_count() == keys.size());
    MR_CHECK(topics_.subscription_count() == all_.size());
  }

  Input& input_;
  const uint32_t key_count_;
  const uint32_t slot_count_;
  Topics topics_;
  std::set<One> all_;
};

// --- several loops ---

class HubRun final {
 public:
  explicit HubRun(Input& input) : input_(input), count_(1 + input.below(kLoops)) {
    for (uint32_t i = 0; i < count_; i++) open(i);
  }

  void run() {
    while (!input_.empty()) step();
    for (uint32_t i = 0; i < count_; i++) {
      take(i);
      end(i);
    }
    for (uint32_t i = 0; i < kTopics; i++) {
      auto [space, topic] = topic_of(i);
      MR_CHECK(hub_.count(space, topic) == 0);
    }
  }

 private:
  static constexpr uint32_t kLoops = 20;  // more than the hub has room for on the stack
  static constexpr uint32_t kTopics = 8;
  struct Loop {
    std::unique_ptr<Mailbox> mailbox;
    std::vector<std::pair<std::string, uint32_t>> expected;  // key, number of the message
    std::array<size_t, kTopics> counts{};
    int wakes = 0;
    int wakes_expected = 0;
  };

  static std::pair<std::string, std::string> topic_of(uint32_t number) {
    std::string topic(number % 4 / 2 * 300, 't');  // short and long
    return {number < 4 ? "" : "space", topic + static_cast<char>('0' + number % 2)};
  }

  void open(uint32_t index) {
    Loop& loop = loops_[index];
    loop = {};
    loop.mailbox = std::make_unique<Mailbox>();
    loop.mailbox->set_wake([](void* who) { static_cast<Loop*>(who)->wakes++; }, &loop);
  }
  void end(uint32_t index) {
    Loop& loop = loops_[index];
    loop.mailbox->close();
    hub_.add("", "late", *loop.mailbox);
    MR_CHECK(hub_.count("", "late") == 0);
    hub_.forget(*loop.mailbox);
    MR_CHECK(loop.wakes == loop.wakes_expected);
    loop.mailbox.reset();
    loop.counts = {};
  }

  void step() {
    uint32_t choice = input_.below(16);
    uint32_t index = input_.below(count_);
    uint32_t number = input_.below(kTopics);
    Loop& loop = loops_[index];
    auto [space, topic] = topic_of(number);
    if (choice < 5) {
      hub_.add(space, topic, *loop.mailbox);
      loop.counts[number]++;
    } else if (choice < 9) {
      hub_.remove(space, topic, *loop.mailbox);
      if (loop.counts[number] > 0) loop.counts[number]--;
    } else if (choice < 13) {
      publish(number);
    } else if (choice < 15) {
      take(index);
    } else {
      end(index);
      open(index);
    }
    MR_CHECK(hub_.count(space, topic) == sum_of(number));
  }

  [[nodiscard]] size_t sum_of(uint32_t number) const {
    size_t sum = 0;
    for (uint32_t i = 0; i < count_; i++) sum += loops_[i].counts[number];
    return sum;
  }
  void publish(uint32_t number) {
    auto [space, topic] = topic_of(number);
    uint32_t message = message_count_++;
    std::array<Mailbox*, 3> own{};
    std::array<bool, 3> interested{true, true, true};
    uint32_t first = input_.below(count_);
    size_t own_count = std::min<size_t>(input_.below(4), count_ - first);
    for (size_t i = 0; i < own_count; i++) own[i] = loops_[first + i].mailbox.get();
    SharedMessageRef made(SharedMessage::make(1, std::to_string(message)));
    size_t sum = hub_.publish(space, topic, made, std::span(own).first(own_count),
                              std::span(interested).first(own_count));
    MR_CHECK(sum == sum_of(number));
    for (uint32_t i = 0; i < count_; i++) {
      Loop& loop = loops_[i];
      bool is_interested = loop.counts[number] > 0;
      if (i >= first && i < first + own_count) {
        MR_CHECK(interested[i - first] == is_interested);
      } else if (is_interested) {
        if (loop.expected.empty()) loop.wakes_expected++;
        loop.expected.emplace_back(space + '\0' + topic, message);
      }
      MR_CHECK(loop.mailbox->is_empty() == loop.expected.empty());
    }
  }
  void take(uint32_t index) {
    Loop& loop = loops_[index];
    std::vector<Post> posts;
    loop.mailbox->take(posts);
    MR_CHECK(loop.mailbox->is_empty() && posts.size() == loop.expected.size());
    for (size_t i = 0; i < posts.size(); i++) {
      MR_CHECK(posts[i].topic == loop.expected[i].first);
      MR_CHECK(posts[i].message.get()->payload() == std::to_string(loop.expected[i].second));
    }
    loop.expected.clear();
    MR_CHECK(loop.wakes == loop.wakes_expected);
  }

  Input& input_;
  const uint32_t count_;
  Hub hub_;
  std::array<Loop, kLoops> loops_;
  uint32_t message_count_ = 0;
};

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3 || size > 4096) return 0;
  millrace::fuzz::Input input(data, size);
  if (input.below(2) == 0) {
    millrace::TopicsRun(input).run();
  } else {
    millrace::HubRun(input).run();
  }
  return 0;
}
