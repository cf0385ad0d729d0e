// Topics: the subscribers of one loop, by topic, and the topics of each. Subscribing, unsubscribing
// and dropping a socket cost no more than its own topics; a topic without subscribers is gone, and
// a socket without topics takes no memory.
// Owned by: loop thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/bytes.h"
#include "core/model/exchange.h"

namespace millrace {

class Topics final {
 public:
  Topics() = default;
  Topics(const Topics&) = delete;
  Topics& operator=(const Topics&) = delete;

  // False when it was subscribed already.
  bool subscribe(Bytes key, ExchangeId socket);
  // False when it was not subscribed.
  bool unsubscribe(Bytes key, ExchangeId socket);
  void drop(ExchangeId socket);  // the socket is over: out of all topics

  // The subscribers now, in no particular order; valid until the next change. Empty when none.
  [[nodiscard]] const std::vector<ExchangeId>& subscribers(Bytes key) const;
  [[nodiscard]] size_t topic_count() const { return topics_.size(); }
  [[nodiscard]] size_t subscription_count() const { return subscription_count_; }

 private:
  // A subscription is noted twice, and each note knows where the other stands: subscribers[i] has
  // it at places[i] of its own list, which names the topic and i. Removal, on both sides, moves the
  // last into the gap and corrects the one note that names it.
  struct Topic {
    std::vector<ExchangeId> subscribers;  // dense, for sending
    std::vector<uint32_t> places;
    const std::string* key;  // of its node in topics_
  };
  struct Subscription {
    Topic* topic;
    uint32_t index;
  };
  using Subscriptions = std::vector<Subscription>;
  struct Hash {
    size_t operator()(ExchangeId id) const noexcept {
      return id.slot + size_t{id.generation} * 0x9e3779b1;
    }
  };

  [[nodiscard]] static uint32_t place_of(const Topic& topic, const Subscriptions& own,
                                         ExchangeId socket);
  void leave_topic(Subscription subscription);
  void leave_list(Subscriptions& own, uint32_t place);
  void shrink_idle();

  // Ordered, since peers may choose topics, and hashes collide at will. Ids are ours.
  std::map<std::string, Topic, std::less<>> topics_;
  std::unordered_map<ExchangeId, Subscriptions, Hash> sockets_;  // that have any
  size_t subscription_count_ = 0;
  const std::vector<ExchangeId> none_{};
};

}  // namespace millrace
