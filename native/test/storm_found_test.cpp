// What storms have found, each as small as it gets.
#include <string>

#include "test/loop_rig.h"

namespace millrace::test {
namespace {

TEST("a deadline is judged although every turn comes after a stall") {
  Limits limits;
  limits.headers_timeout = 1000;
  Rig rig(limits);
  SimPeer silent = rig.connect("GET / HT");
  SimPeer busy = rig.connect();
  for (int i = 0; i < 10; i++) {
    rig.sim().advance(600);
    rig.sim().write(busy, get("/static"));
    rig.poll(rig.work());
  }
  EXPECT(rig.sim().read(silent).starts_with("HTTP/1.1 408 "));
  EXPECT(count_of(rig.sim().read(busy), "HTTP/1.1 200 ") == 9);
}

TEST("a peer that pipelines and reads its answers leaves no more unread than one receive") {
  Limits limits;
  limits.buffered_bytes_max = 4096;
  Rig rig(limits);
  SimPeer peer = rig.connect();
  const std::string request = get("/static");
  std::string flood;
  for (int i = 0; i < 30'000; i++) flood += request;
  rig.sim().write(peer, flood);
  size_t answered = 0;
  for (int i = 0; i < 20; i++) {
    rig.poll(rig.work());
    answered += count_of(rig.sim().read(peer), "HTTP/1.1 200 ");
    EXPECT(rig.sim().bytes_taken(peer) < answered * request.size() + 2 * 65536);
  }
  EXPECT(answered > 500);
}

}  // namespace
}  // namespace millrace::test
