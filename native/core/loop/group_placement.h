// GroupPlacement: a loop's place in its group, as its poller asks for it. Owned by: loop thread.
#pragma once

#include <cstdint>
#include <vector>

#include "core/lane/group.h"
#include "core/poll/placement.h"

namespace millrace {

class GroupPlacement final : public Placement {
 public:
  // The group outlives it.
  GroupPlacement(Group& group, uint32_t self) : group_(group), self_(self) {}

  [[nodiscard]] Place reserve() override;
  void give_back() override { group_.give_back(chosen_); }
  [[nodiscard]] bool hand_over(ListenerId listener, Fd& socket, const Address& peer) override;
  [[nodiscard]] bool takes_turns() const override { return Group::is_any_shared(); }

  void opened() { group_.add(self_); }  // one that the poller did not ask for
  void closed() { group_.give_back(self_); }
  void set_taking(bool taking) { group_.set_taking(self_, taking); }
  [[nodiscard]] bool has_any() const { return group_.has_any(self_); }
  void take(std::vector<Handed>& into) { group_.take(self_, into); }
  // Nothing comes from others any more, and what is accepted stays here.
  void close(std::vector<Handed>& into);

 private:
  Group& group_;
  const uint32_t self_;
  uint32_t chosen_ = 0;
  bool is_closed_ = false;
};

}  // namespace millrace
