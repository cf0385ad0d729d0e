// The subscribers of one loop, against a naive model and at its edges.
#include "core/loop/topics.h"

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "test/harness.h"

namespace millrace {
namespace {

using Ids = std::vector<std::pair<uint32_t, uint32_t>>;

Ids sorted(const std::vector<ExchangeId>& subscribers) {
  Ids ids;
  for (ExchangeId id : subscribers) ids.emplace_back(id.slot, id.generation);
  std::sort(ids.begin(), ids.end());
  return ids;
}

TEST("a socket is subscribed once, unsubscribed once, and a topic without any is gone") {
  Topics topics;
  EXPECT(topics.subscribers("a").empty());
  EXPECT(!topics.unsubscribe("a", {1, 1}));
  EXPECT(topics.subscribe("a", {1, 1}));
  EXPECT(!topics.subscribe("a", {1, 1}));
  EXPECT(topics.subscribe("a", {2, 1}));
  EXPECT(!topics.unsubscribe("a", {3, 1}));
  EXPECT(!topics.unsubscribe("b", {1, 1}));
  EXPECT((sorted(topics.subscribers("a")) == Ids{{1, 1}, {2, 1}}));
  EXPECT(topics.topic_count() == 1 && topics.subscription_count() == 2);
  EXPECT(topics.unsubscribe("a", {1, 1}));
  EXPECT(!topics.unsubscribe("a", {1, 1}));
  EXPECT((sorted(topics.subscribers("a")) == Ids{{2, 1}}));
  EXPECT(topics.unsubscribe("a", {2, 1}));
  EXPECT(topics.subscribers("a").empty());
  EXPECT(topics.topic_count() == 0 && topics.subscription_count() == 0);
}

TEST("topics are told apart by all of their bytes") {
  Topics topics;
  std::vector<std::string> keys = {"",  std::string("\0", 1),  std::string("\0a", 2),
                                   "a", std::string("a\0", 2), std::string(100'000, 'a')};
  for (uint32_t i = 0; i < keys.size(); i++) EXPECT(topics.subscribe(keys[i], {i, 7}));
  EXPECT(topics.topic_count() == keys.size());
  for (uint32_t i = 0; i < keys.size(); i++)
    EXPECT((sorted(topics.subscribers(keys[i])) == Ids{{i, 7}}));
}

TEST("a socket that is over leaves all its topics, and its slot's next one has none") {
  Topics topics;
  topics.drop({5, 1});
  for (const char* key : {"a", "b", "c"}) {
    topics.subscribe(key, {4, 1});
    topics.subscribe(key, {5, 1});
    topics.subscribe(key, {6, 1});
  }
  topics.subscribe("alone", {5, 1});
  topics.drop({5, 1});
  EXPECT(topics.topic_count() == 3 && topics.subscription_count() == 6);
  for (const char* key : {"a", "b", "c"})
    EXPECT((sorted(topics.subscribers(key)) == Ids{{4, 1}, {6, 1}}));
  EXPECT(topics.subscribe("a", {5, 2}));
  topics.drop({5, 1});  // stale
  EXPECT(!topics.unsubscribe("a", {5, 1}));
  EXPECT((sorted(topics.subscribers("a")) == Ids{{4, 1}, {5, 2}, {6, 1}}));
}

// The same rules, written so that nothing can be wrong with them.
class Model final {
 public:
  bool subscribe(const std::string& key, ExchangeId id) { return all_.insert(of(key, id)).second; }
  bool unsubscribe(const std::string& key, ExchangeId id) { return all_.erase(of(key, id)) > 0; }
  void drop(ExchangeId id) {
    std::erase_if(all_, [&](const One& one) {
      return one.second.first == id.slot && one.second.second == id.generation;
    });
  }
  void compare(const Topics& topics, const std::string& key) const {
    Ids ids;
    for (auto at = all_.lower_bound({key, {0, 0}}); at != all_.end() && at->first == key; at++)
      ids.push_back(at->second);
    EXPECT(sorted(topics.subscribers(key)) == ids);
  }
  void compare_counts(const Topics& topics) const {
    std::set<std::string> keys;
    for (const One& one : all_) keys.insert(one.first);
    EXPECT(topics.topic_count() == keys.size());
    EXPECT(topics.subscription_count() == all_.size());
  }

 private:
  using One = std::pair<std::string, std::pair<uint32_t, uint32_t>>;
  static One of(const std::string& key, ExchangeId id) { return {key, {id.slot, id.generation}}; }
  std::set<One> all_;
};

// Few topics with many sockets, many topics of few sockets, and both few.
void run_random(uint32_t seed, uint32_t topic_count, uint32_t socket_count, int steps) {
  std::mt19937 dice(seed);
  auto below = [&](uint32_t bound) { return static_cast<uint32_t>(dice() % bound); };
  Topics topics;
  Model model;
  for (int step = 0; step < steps; step++) {
    test::context = "seed " + std::to_string(seed) + ", step " + std::to_string(step);
    std::string key = "topic " + std::to_string(below(topic_count));
    ExchangeId id{below(socket_count), 1 + below(2)};
    // By turns it grows and shrinks.
    bool is_growing = step / 1000 % 2 == 0;
    uint32_t choice = below(32);
    if (choice == 0) {
      topics.drop(id);
      model.drop(id);
    } else if ((choice < 24) == is_growing) {
      EXPECT(topics.subscribe(key, id) == model.subscribe(key, id));
    } else {
      EXPECT(topics.unsubscribe(key, id) == model.unsubscribe(key, id));
    }
    if (step % 16 == 0) model.compare(topics, key);
    if (step % 512 == 0) model.compare_counts(topics);
  }
  for (uint32_t i = 0; i < topic_count; i++) model.compare(topics, "topic " + std::to_string(i));
  for (uint32_t slot = 0; slot < socket_count; slot++) {
    for (uint32_t generation : {1u, 2u}) topics.drop({slot, generation});
  }
  EXPECT(topics.topic_count() == 0 && topics.subscription_count() == 0);
}

TEST("random subscribing, unsubscribing and dropping leaves what a naive model has") {
  for (uint32_t seed = 1; seed <= 5; seed++) {
    run_random(seed, 2, 300, 8000);
    run_random(seed, 300, 3, 8000);
    run_random(seed, 6, 6, 8000);
  }
}

TEST("a topic of thousands empties and fills again") {
  Topics topics;
  constexpr uint32_t kSockets = 5000;
  for (int round = 0; round < 3; round++) {
    for (uint32_t i = 0; i < kSockets; i++) {
      topics.subscribe("all", {i, 1});
      topics.subscribe("own " + std::to_string(i), {i, 1});
    }
    EXPECT(topics.subscribers("all").size() == kSockets);
    EXPECT(topics.topic_count() == kSockets + 1);
    for (uint32_t i = 0; i < kSockets; i += 2) EXPECT(topics.unsubscribe("all", {i, 1}));
    EXPECT(topics.subscribers("all").size() == kSockets / 2);
    for (uint32_t i = 0; i < kSockets; i++) topics.drop({i, 1});
    EXPECT(topics.topic_count() == 0 && topics.subscription_count() == 0);
  }
}

}  // namespace
}  // namespace millrace
