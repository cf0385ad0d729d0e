#include "core/loop/group_placement.h"

#include <utility>

namespace millrace {

Place GroupPlacement::reserve() {
  if (is_closed_) {
    // The last ones of a backlog, within the poller's own bound.
    chosen_ = self_;
    opened();
    return Place::Here;
  }
  chosen_ = group_.reserve(self_);
  if (chosen_ == Group::kNobody) return Place::None;
  return chosen_ == self_ ? Place::Here : Place::Elsewhere;
}

bool GroupPlacement::hand_over(ListenerId listener, Fd& socket, const Address& peer) {
  Handed handed{.listener = listener, .socket = std::move(socket), .peer = peer};
  if (group_.hand_over(chosen_, handed)) return true;
  socket = std::move(handed.socket);
  chosen_ = self_;
  opened();
  return false;
}

void GroupPlacement::close(std::vector<Handed>& into) {
  if (is_closed_) return;
  is_closed_ = true;
  group_.close(self_, into);
}

}  // namespace millrace
