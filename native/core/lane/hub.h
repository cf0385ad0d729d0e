// Hub: which loops of this process have subscribers of a topic. Topics are one space for all
// servers of the process, or one for each name given to `topicSpace`. Counts are kept by the JS
// threads at the moment they subscribe; the loops keep the lists (loop/topics.h). Any thread;
// guarded by a mutex, which is held for a lookup and never while anything is sent.
//
// A mailbox may end while others publish: each publication that posts is in a list meanwhile, with
// the mailboxes it posts to, and forget() waits until none of them is the forgotten one.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/lane/mailbox.h"

namespace millrace {

class Hub final {
 public:
  [[nodiscard]] static Hub& of_process();  // never destroyed

  // One more or one less subscriber behind `mailbox`. Nothing is added for a mailbox that is
  // closed, and nothing removed that was not added.
  void add(Bytes space, Bytes topic, Mailbox& mailbox);
  void remove(Bytes space, Bytes topic, Mailbox& mailbox);
  // All counts of a mailbox, which was closed before so that no new ones come. Afterwards nobody
  // posts to it. Waits for publishers that do now; so not from within a wake-up, and not with a
  // lock that a wake-up needs.
  void forget(Mailbox& mailbox);

  [[nodiscard]] size_t count(Bytes space, Bytes topic);

  // Posts the message to every mailbox with subscribers but those in `own`; of these it fills in
  // `interested` (as many as `own`, true where the caller must see to it by its own lane, so that
  // what it sent and published stays in order). Returns the number of all subscribers.
  [[nodiscard]] size_t publish(Bytes space, Bytes topic, const SharedMessageRef& message,
                               std::span<Mailbox* const> own, std::span<bool> interested);

 private:
  struct Interest {
    Mailbox* mailbox;
    size_t count;
  };
  // Stands on the publisher's stack.
  struct Publication {
    std::span<Mailbox* const> targets;
    Publication* previous = nullptr;
    Publication* next = nullptr;
  };
  class Targets;
  void begin(Publication& publication);
  void end(Publication& publication);
  [[nodiscard]] bool is_posting_to(const Mailbox& mailbox) const;

  std::mutex mutex_;  // guards all below
  // Key: space, NUL, topic. Ordered, since peers may choose topics, and hashes collide at will.
  std::map<std::string, std::vector<Interest>, std::less<>> topics_;
  Publication* publications_ = nullptr;  // that post now
  size_t forgetters_ = 0;
  std::condition_variable has_ended_;  // a publication, while somebody forgets
};

}  // namespace millrace
