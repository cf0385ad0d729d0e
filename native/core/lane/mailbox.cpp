#include "core/lane/mailbox.h"

#include <iterator>
#include <utility>

#include "core/base/check.h"

namespace millrace {

bool Mailbox::post(Bytes key, SharedMessageRef message) {
  MR_DCHECK(message.get() != nullptr);
  size_t size = key.size() + message.get()->payload().size();
  Post made{std::string(key), std::move(message)};  // freed, when refused, without the lock
  bool was_empty = false;
  {
    std::lock_guard lock(mutex_);
    if (closed_) return false;
    if (posts_.size() >= kPostsMax || bytes_ >= kBytesMax) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    was_empty = posts_.empty();
    posts_.push_back(std::move(made));
    bytes_ += size;
    // Pairs with is_empty(): who sees that a post is there also finds it.
    is_empty_.store(false, std::memory_order_release);
  }
  if (was_empty && wake_ != nullptr) wake_(who_);
  return true;
}

// Acquire: pairs with the release stores of post(), take() and close().
bool Mailbox::is_empty() const { return is_empty_.load(std::memory_order_acquire); }

void Mailbox::take(std::vector<Post>& into) {
  // A list that has nothing is exchanged for ours, so that both keep their room.
  if (into.empty() && into.capacity() > kIdlePosts) std::vector<Post>().swap(into);
  std::lock_guard lock(mutex_);
  if (into.empty()) {
    posts_.swap(into);
  } else {
    into.insert(into.end(), std::make_move_iterator(posts_.begin()),
                std::make_move_iterator(posts_.end()));
    posts_.clear();
  }
  bytes_ = 0;
  is_empty_.store(true, std::memory_order_release);  // pairs with is_empty()
}

void Mailbox::close() {
  std::vector<Post> dropped;  // freed without the lock
  std::lock_guard lock(mutex_);
  closed_ = true;
  dropped.swap(posts_);
  bytes_ = 0;
  is_empty_.store(true, std::memory_order_release);  // pairs with is_empty()
}

bool Mailbox::is_closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace millrace
