// Placement: whose an accepted connection is, where several pollers have the same listeners.
#pragma once

#include <cstdint>

#include "core/base/fd.h"
#include "core/model/address.h"

namespace millrace {

using ListenerId = uint16_t;
constexpr ListenerId kNoListener = UINT16_MAX;  // of a connection of our own

enum class Place : uint8_t {
  Here,
  Elsewhere,
  None,  // nobody has room: it stays in the backlog
};

// Owned by: loop thread.
class Placement {
 public:
  virtual ~Placement() = default;

  // Before one is accepted. The place is taken at once: by a connection here, by hand_over(), or it
  // is given back.
  [[nodiscard]] virtual Place reserve() { return Place::Here; }
  virtual void give_back() {}
  // False: it is a place here now, because the other takes none any more; `socket` stays open.
  [[nodiscard]] virtual bool hand_over(ListenerId, Fd&, const Address&) { return false; }
  // Whether others wait for the same connections to whom nothing can be handed: then one is
  // accepted per wait, and the next is theirs.
  [[nodiscard]] virtual bool takes_turns() const { return false; }
};

}  // namespace millrace
