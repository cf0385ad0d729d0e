#include "core/loop/topics.h"

#include <algorithm>

#include "core/base/check.h"

namespace millrace {

namespace {

constexpr uint32_t kNowhere = UINT32_MAX;
constexpr size_t kIdleRoom = 64;       // that a list keeps although it needs less
constexpr size_t kIdleBuckets = 4096;  // the same of the table of sockets

// Takes the last off. A list that uses an eighth of its room gives up three quarters of it: what is
// left is half free, so that a list that grows and shrinks by turns does not move each time.
template <typename T>
void pop(std::vector<T>& list) {
  list.pop_back();
  if (list.capacity() <= kIdleRoom || list.size() > list.capacity() / 8) return;
  std::vector<T> smaller;
  smaller.reserve(list.capacity() / 4);
  smaller.assign(list.begin(), list.end());
  list.swap(smaller);
}

}  // namespace

bool Topics::subscribe(Bytes key, ExchangeId socket) {
  MR_DCHECK(socket.is_valid());
  auto at = topics_.find(key);
  Subscriptions& own = sockets_.try_emplace(socket).first->second;
  if (at == topics_.end()) {
    at = topics_.try_emplace(std::string(key)).first;
    at->second.key = &at->first;
  } else if (place_of(at->second, own, socket) != kNowhere) {
    return false;
  }
  Topic& topic = at->second;
  auto index = static_cast<uint32_t>(topic.subscribers.size());
  topic.subscribers.push_back(socket);
  topic.places.push_back(static_cast<uint32_t>(own.size()));
  own.push_back({&topic, index});
  subscription_count_++;
  return true;
}

bool Topics::unsubscribe(Bytes key, ExchangeId socket) {
  auto at = topics_.find(key);
  if (at == topics_.end()) return false;
  auto found = sockets_.find(socket);
  if (found == sockets_.end()) return false;
  Subscriptions& own = found->second;
  uint32_t place = place_of(at->second, own, socket);
  if (place == kNowhere) return false;
  Subscription ended = own[place];
  leave_list(own, place);
  if (own.empty()) {
    sockets_.erase(found);
    shrink_idle();
  }
  leave_topic(ended);
  return true;
}

void Topics::drop(ExchangeId socket) {
  auto found = sockets_.find(socket);
  if (found == sockets_.end()) return;
  Subscriptions own = std::move(found->second);
  sockets_.erase(found);
  shrink_idle();
  for (Subscription subscription : own) leave_topic(subscription);
}

const std::vector<ExchangeId>& Topics::subscribers(Bytes key) const {
  auto at = topics_.find(key);
  return at == topics_.end() ? none_ : at->second.subscribers;
}

// Where `own`, the socket's list, has the topic. Walks the shorter of the two lists.
uint32_t Topics::place_of(const Topic& topic, const Subscriptions& own, ExchangeId socket) {
  if (own.size() <= topic.subscribers.size()) {
    for (size_t i = 0; i < own.size(); i++) {
      if (own[i].topic == &topic) return static_cast<uint32_t>(i);
    }
    return kNowhere;
  }
  auto found = std::find(topic.subscribers.begin(), topic.subscribers.end(), socket);
  if (found == topic.subscribers.end()) return kNowhere;
  return topic.places[static_cast<size_t>(found - topic.subscribers.begin())];
}

// Out of the topic's list; the socket's own has it no more. The topic may be gone afterwards.
void Topics::leave_topic(Subscription subscription) {
  Topic& topic = *subscription.topic;
  uint32_t index = subscription.index;
  if (index + 1 != topic.subscribers.size()) {
    ExchangeId moved = topic.subscribers.back();
    topic.subscribers[index] = moved;
    topic.places[index] = topic.places.back();
    sockets_.find(moved)->second[topic.places[index]].index = index;
  }
  pop(topic.subscribers);
  pop(topic.places);
  subscription_count_--;
  if (topic.subscribers.empty()) topics_.erase(topics_.find(*topic.key));
}

// Out of the socket's own list; the topic's still has it.
void Topics::leave_list(Subscriptions& own, uint32_t place) {
  if (place + 1 != own.size()) {
    own[place] = own.back();
    own[place].topic->places[own[place].index] = place;
  }
  pop(own);
}

void Topics::shrink_idle() {
  if (!sockets_.empty() || sockets_.bucket_count() <= kIdleBuckets) return;
  decltype(sockets_)().swap(sockets_);
}

}  // namespace millrace
