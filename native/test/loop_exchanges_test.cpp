// Exchanges: an id leads to its connection for as long as the exchange is open, and never again.
#include "core/loop/exchanges.h"

#include <vector>

#include "test/harness.h"

namespace millrace {
namespace {

TEST("an id leads to its connection until the exchange is closed") {
  Exchanges exchanges(10);
  ExchangeId id = exchanges.open(7);
  EXPECT(id.is_valid());
  EXPECT(exchanges.connection_of(id) == 7);
  exchanges.close(id);
  EXPECT(exchanges.connection_of(id) == UINT32_MAX);
  EXPECT(exchanges.open_count() == 0);
}

TEST("a slot is used again under another generation") {
  Exchanges exchanges(10);
  ExchangeId old = exchanges.open(1);
  for (int i = 0; i < 1000; i++) {
    exchanges.close(old);
    ExchangeId fresh = exchanges.open(2);
    EXPECT(fresh.slot == old.slot);
    EXPECT(fresh.generation != old.generation);
    EXPECT(exchanges.connection_of(old) == UINT32_MAX);
    EXPECT(exchanges.connection_of(fresh) == 2);
    old = fresh;
  }
}

TEST("ids that never were lead nowhere") {
  Exchanges exchanges(10);
  ExchangeId id = exchanges.open(3);
  EXPECT(exchanges.connection_of({}) == UINT32_MAX);
  EXPECT(exchanges.connection_of({id.slot + 1, 0}) == UINT32_MAX);
  EXPECT(exchanges.connection_of({id.slot, id.generation + 1}) == UINT32_MAX);
  EXPECT(exchanges.connection_of({UINT32_MAX, UINT32_MAX}) == UINT32_MAX);
}

TEST("the limit counts open exchanges only") {
  constexpr uint32_t kMax = 100;
  Exchanges exchanges(kMax);
  std::vector<ExchangeId> ids;
  for (uint32_t i = 0; i < kMax; i++) {
    EXPECT(exchanges.has_room());
    ids.push_back(exchanges.open(i));
  }
  EXPECT(!exchanges.has_room());
  exchanges.close(ids[50]);
  EXPECT(exchanges.has_room());
  EXPECT(exchanges.open(1000).slot == ids[50].slot);
  EXPECT(!exchanges.has_room());
  for (uint32_t i = 0; i < kMax; i++) {
    if (i != 50) EXPECT(exchanges.connection_of(ids[i]) == i);
  }
}

}  // namespace
}  // namespace millrace
