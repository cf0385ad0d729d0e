#include "core/lane/hub.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/base/check.h"

namespace millrace {

namespace {

// The key of a topic, on the stack unless it is long.
class Key final {
 public:
  Key(Bytes space, Bytes topic) : size_(space.size() + 1 + topic.size()) {
    if (size_ > sizeof(short_)) long_.resize(size_);
    char* to = size_ > sizeof(short_) ? long_.data() : short_;
    std::copy(space.begin(), space.end(), to);
    to[space.size()] = '\0';
    std::copy(topic.begin(), topic.end(), to + space.size() + 1);
  }
  [[nodiscard]] Bytes bytes() const {
    return size_ > sizeof(short_) ? Bytes(long_) : Bytes(short_, size_);
  }

 private:
  size_t size_;
  char short_[256];
  std::string long_;
};

}  // namespace

// Up to 16 mailboxes without an allocation.
class Hub::Targets final {
 public:
  void add(Mailbox* mailbox) {
    if (count_ < few_.size()) {
      few_[count_++] = mailbox;
      return;
    }
    if (many_.empty()) many_.assign(few_.begin(), few_.end());
    many_.push_back(mailbox);
  }
  [[nodiscard]] std::span<Mailbox* const> all() const {
    if (!many_.empty()) return many_;
    return std::span(few_).first(count_);
  }

 private:
  std::array<Mailbox*, 16> few_;
  size_t count_ = 0;  // of few_
  std::vector<Mailbox*> many_;
};

Hub& Hub::of_process() {
  static Hub& hub = *new Hub();
  return hub;
}

// --- counts ---

void Hub::add(Bytes space, Bytes topic, Mailbox& mailbox) {
  Key key(space, topic);
  std::lock_guard lock(mutex_);
  // Under the lock: a mailbox is closed first and forgotten then, so what is added here is
  // forgotten too.
  if (mailbox.is_closed()) return;
  auto found = topics_.find(key.bytes());
  if (found == topics_.end()) found = topics_.try_emplace(std::string(key.bytes())).first;
  for (Interest& interest : found->second) {
    if (interest.mailbox != &mailbox) continue;
    interest.count++;
    return;
  }
  found->second.push_back({&mailbox, 1});
}

void Hub::remove(Bytes space, Bytes topic, Mailbox& mailbox) {
  Key key(space, topic);
  std::lock_guard lock(mutex_);
  auto found = topics_.find(key.bytes());
  if (found == topics_.end()) return;
  std::vector<Interest>& interests = found->second;
  for (Interest& interest : interests) {
    if (interest.mailbox != &mailbox) continue;
    if (--interest.count > 0) return;
    interest = interests.back();
    interests.pop_back();
    break;
  }
  if (interests.empty()) topics_.erase(found);
}

void Hub::forget(Mailbox& mailbox) {
  std::unique_lock lock(mutex_);
  for (auto at = topics_.begin(); at != topics_.end();) {
    std::erase_if(at->second, [&](const Interest& one) { return one.mailbox == &mailbox; });
    at = at->second.empty() ? topics_.erase(at) : std::next(at);
  }
  forgetters_++;
  while (is_posting_to(mailbox)) has_ended_.wait(lock);
  forgetters_--;
}

size_t Hub::count(Bytes space, Bytes topic) {
  Key key(space, topic);
  std::lock_guard lock(mutex_);
  auto found = topics_.find(key.bytes());
  if (found == topics_.end()) return 0;
  size_t sum = 0;
  for (const Interest& interest : found->second) sum += interest.count;
  return sum;
}

// --- publishing ---

size_t Hub::publish(Bytes space, Bytes topic, const SharedMessageRef& message,
                    std::span<Mailbox* const> own, std::span<bool> interested) {
  MR_CHECK(own.size() == interested.size());
  std::fill(interested.begin(), interested.end(), false);
  Key key(space, topic);
  Targets targets;
  Publication publication;
  size_t sum = 0;
  {
    std::lock_guard lock(mutex_);
    auto found = topics_.find(key.bytes());
    if (found == topics_.end()) return 0;
    for (const Interest& interest : found->second) {
      sum += interest.count;
      auto mine = std::find(own.begin(), own.end(), interest.mailbox);
      if (mine == own.end()) {
        targets.add(interest.mailbox);
      } else {
        interested[static_cast<size_t>(mine - own.begin())] = true;
      }
    }
    if (targets.all().empty()) return sum;
    publication.targets = targets.all();
    begin(publication);
  }
  for (Mailbox* mailbox : publication.targets) mailbox->post(key.bytes(), message.copy());
  end(publication);
  return sum;
}

// With the lock.
void Hub::begin(Publication& publication) {
  publication.next = publications_;
  if (publications_ != nullptr) publications_->previous = &publication;
  publications_ = &publication;
}

void Hub::end(Publication& publication) {
  std::lock_guard lock(mutex_);
  if (publication.next != nullptr) publication.next->previous = publication.previous;
  (publication.previous != nullptr ? publication.previous->next : publications_) = publication.next;
  if (forgetters_ > 0) has_ended_.notify_all();
}

bool Hub::is_posting_to(const Mailbox& mailbox) const {
  for (const Publication* one = publications_; one != nullptr; one = one->next) {
    for (const Mailbox* target : one->targets) {
      if (target == &mailbox) return true;
    }
  }
  return false;
}

}  // namespace millrace
