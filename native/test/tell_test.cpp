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

TEST("what the loop says in place of a handler is not its answer") {
  Limits limits;
  limits.handler_timeout = 5000;
  Rig rig(limits);
  SimPeer peer = rig.connect(get("/one"));
  ExchangeId id = rig.take_one().id;
  tell(rig, id);
  rig.turn();
  // The handler does not know yet when it answers.
  rig.pass(5100);
  EXPECT(put_response(rig.lane(), id, "answer"));
  rig.turn();
  EXPECT(rig.sim().read(peer).starts_with("HTTP/1.1 503"));
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 2);
  EXPECT(is_left(taken[0], id, 0) && taken[1].kind == EventKind::Aborted);
}

TEST("answers that leave together are told of in their order") {
  Limits limits;
  limits.pipeline_max = 1000;
  Rig rig(limits);
  std::string requests;
  for (int i = 0; i < 300; i++) requests += get("/" + std::to_string(i));
  SimPeer peer = rig.connect("");
  rig.sim().limit_window(peer, 0);
  rig.sim().write(peer, requests);
  rig.turn();
  std::vector<ExchangeId> ids;
  for (std::vector<Taken> some = rig.take(); !some.empty(); some = rig.take()) {
    for (const Taken& taken : some) {
      EXPECT(taken.kind == EventKind::Request);
      ids.push_back(taken.id);
      tell(rig, taken.id);
      EXPECT(put_response(rig.lane(), taken.id, "answer"));
    }
    rig.turn();
  }
  EXPECT(ids.size() == 300);
  rig.sim().limit_window(peer, UINT64_MAX);
  rig.turn();
  std::vector<Taken> taken = rig.take();
  EXPECT(taken.size() == 300);
  for (size_t i = 0; i < taken.size(); i++) EXPECT(is_left(taken[i], ids[i], 1));
}

}  // namespace
}  // namespace millrace::test
