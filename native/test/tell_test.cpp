// What JavaScript is told of answers that it has asked about.
#include "test/loop_rig.h"

namespace millrace::test {
namespace {

void tell(Rig& rig, ExchangeId id) {
  Command command;
  command.kind = static_cast<uint16_t>(CommandKind::Tell);
  command.exchange = id;
  EXPECT(put_command(rig.lane(), command));
}

bool is_left(const Taken& taken, ExchangeId id, uint16_t status) {
  return taken.kind == EventKind::Left && taken.id == id && taken.status == status;
}

TEST("an answer that is asked about is told of when it has left") {
  Rig rig;
  SimPeer peer = rig.connect(get("/one"));
  ExchangeId id = rig.take_one().id;
  tell(rig, id);
  rig.turn();
  EXPECT(rig.take().empty());
  EXPECT(put_response(rig.lane(), id, "answer"));
  rig.turn();
  EXPECT(is_left(rig.take_one(), id, 1));
  EXPECT(rig.sim().read(peer).ends_with("answer"));
  // Nobody has asked about the next one.
  rig.sim().write(peer, get("/two"));
  rig.turn();
  EXPECT(put_response(rig.lane(), rig.take_one().id, "other"));
  rig.turn();
  EXPECT(rig.take().empty());
}

TEST("an answer that never comes, or is over already, is told of as lost") {
  Rig rig;
  SimPeer peer = rig.connect(get("/one"));
  ExchangeId id = rig.take_one().id;
  tell(rig, id);
  rig.turn();
  rig.sim().reset(peer);
  rig.turn(3);
  bool is_told = false;
  for (const Taken& taken : rig.take()) is_told = is_told || is_left(taken, id, 0);
  EXPECT(is_told);
  tell(rig, id);
  rig.turn();
  EXPECT(is_left(rig.take_one(), id, 0));
}

}  // namespace
}  // namespace millrace::test
