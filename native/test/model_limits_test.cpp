// The table of limits: each default is valid, and so are its floor and ceiling, but nothing
// outside.
#include "core/model/limits.h"

#include <set>
#include <string>

#include "test/harness.h"

namespace millrace {
namespace {

TEST("defaults are valid") { EXPECT(limits_are_valid(Limits())); }

TEST("every limit is valid at its floor and its ceiling, and not beyond them") {
  size_t count = 0;
  const LimitRow* rows = limit_rows(count);
  EXPECT(count >= 19);
  for (size_t i = 0; i < count; i++) {
    const LimitRow& row = rows[i];
    test::context = row.public_name;
    EXPECT(row.floor <= row.ceiling);
    for (int64_t value : {row.floor, row.ceiling}) {
      Limits limits;
      limits.*row.field = value;
      EXPECT(limits_are_valid(limits));
    }
    for (int64_t value : {row.floor - 1, row.ceiling + 1}) {
      Limits limits;
      limits.*row.field = value;
      EXPECT(!limits_are_valid(limits));
    }
  }
}

TEST("no two limits share a name or a field") {
  size_t count = 0;
  const LimitRow* rows = limit_rows(count);
  std::set<std::string> names;
  for (size_t i = 0; i < count; i++) names.insert(rows[i].public_name);
  EXPECT(names.size() == count);
  for (size_t i = 0; i < count; i++) {
    Limits limits;
    limits.*rows[i].field = -77;
    size_t changed = 0;
    for (size_t k = 0; k < count; k++) changed += limits.*rows[k].field == -77 ? 1 : 0;
    EXPECT(changed == 1);
  }
}

}  // namespace
}  // namespace millrace
