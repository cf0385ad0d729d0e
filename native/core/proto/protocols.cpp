#include "core/proto/protocols.h"

#include "core/proto/http1/session.h"

namespace millrace {
namespace {

struct Row {
  Bytes name;
  ProtocolMaker make;
};

constexpr Row kRows[] = {
    {"http", &http1::make_session},
};

}  // namespace

ProtocolMaker find_protocol(Bytes name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.make;
  }
  return nullptr;
}

}  // namespace millrace
