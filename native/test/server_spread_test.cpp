// Which loop has which connection, on real sockets: spread over the loops of a server, under the
// limit of all of them, and nothing lost while loops close with connections on their way.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "test/server_rig.h"

namespace millrace::test {
namespace {

struct Spread {
  int64_t fewest = INT64_MAX;
  int64_t most = 0;
  int64_t sum = 0;
};

Spread spread_of(Running& running) {
  Spread spread;
  for (size_t i = 0; i < running.server().loop_count(); i++) {
    int64_t count = running.server().loop(i).stats_view().connections.get();
    spread.fewest = std::min(spread.fewest, count);
    spread.most = std::max(spread.most, count);
    spread.sum += count;
  }
  return spread;
}

template <typename Where>
void expect_spread(Running& running, const Where& where, size_t count) {
  std::vector<Fd> clients;
  for (size_t i = 0; i < count; i++) {
    clients.push_back(connect_to(where));
    EXPECT(eventually([&] { return spread_of(running).sum == static_cast<int64_t>(i + 1); }));
  }
  Spread one_by_one = spread_of(running);
  EXPECT(one_by_one.most - one_by_one.fewest <= 2);
  for (const Fd& client : clients) EXPECT(send_all(client, get("/mine")));
  for (const Fd& client : clients) EXPECT(read_until(client, "/mine").ends_with("/mine"));
  clients.clear();
  EXPECT(eventually([&] { return spread_of(running).sum == 0; }));
  for (size_t i = 0; i < 200; i++) clients.push_back(connect_to(where));
  EXPECT(eventually([&] { return spread_of(running).sum == 200; }));
  Spread burst = spread_of(running);
  EXPECT(burst.most - burst.fewest <= 20);
  clients.clear();
  EXPECT(eventually([&] { return spread_of(running).sum == 0; }));
}

TEST("connections are spread over the loops of a server") {
  for (uint32_t loops : {2u, 4u}) {
    std::string path = "/tmp/millrace-test-" + std::to_string(::getpid()) + "-spread";
    Running running(options_of(loops, {tcp(), {.unix_path = path}}));
    EXPECT(running.is_open());
    expect_spread(running, running.port(), 64);
    expect_spread(running, path, 64);
    EXPECT(running.sum(&Stats::accepted) == 2 * 264);
    EXPECT(running.sum(&Stats::idle) == 0);
    EXPECT(running.sum(&Stats::blocks) == 0);
  }
}

TEST("a server of several loops takes as many connections as its limit says") {
  ServerOptions options = options_of(4, {tcp()});
  options.limits.connections_max = 12;
  Running running(std::move(options));
  std::vector<Fd> clients;
  for (int i = 0; i < 30; i++) clients.push_back(connect_to(running.port()));
  EXPECT(eventually([&] { return spread_of(running).sum == 12; }));
  Spread spread = spread_of(running);
  EXPECT(spread.fewest == 3 && spread.most == 3);
  // Each that leaves makes room for one that waits.
  for (Fd& client : clients) {
    EXPECT(send_all(client, get("/turn")));
    EXPECT(read_until(client, "/turn").ends_with("/turn"));
    client.reset();
    EXPECT(spread_of(running).sum <= 12);
  }
  EXPECT(eventually([&] { return spread_of(running).sum == 0; }));
  EXPECT(running.sum(&Stats::accepted) == 30);
}

// A server that is never started: its loops turn when the test says so.
class Stepped final {
 public:
  explicit Stepped(int64_t per_address = 0) {
    OpenFailure failure;
    ServerOptions options = options_of(2, {tcp()});
    options.limits.connections_per_address_max = per_address;
    server_ = Server::open(std::move(options), failure);
    EXPECT(server_ != nullptr);
  }
  [[nodiscard]] Loop& loop(size_t index) { return server_->loop(index); }
  [[nodiscard]] Server& server() { return *server_; }
  [[nodiscard]] Fd knock() { return connect_to(server_->addresses()[0].port); }
  void turn(size_t index) {
    static_cast<void>(loop(index).work());
    loop(index).poll(0);
  }
  [[nodiscard]] int64_t connections(size_t index) {
    return loop(index).stats_view().connections.get();
  }
  [[nodiscard]] size_t drained(size_t index) {
    size_t count = 0;
    for (const Taken& taken : take_events(loop(index).lane()))
      count += taken.kind == EventKind::Drained ? 1 : 0;
    return count;
  }

 private:
  std::unique_ptr<Server> server_;
};

// Told at once, whichever loop has it.
bool is_turned_away(const Fd& client) {
  return read_until(client, "ERR_MILLRACE_TOO_MANY_CONNECTIONS: ").starts_with("HTTP/1.1 503 ");
}

TEST("loops of a server count the connections of an address together, and other servers do not") {
  ServerOptions options = options_of(4, {tcp()});
  options.limits.connections_per_address_max = 6;
  Running running(options);
  Running other(options);
  for (int round = 0; round < 3; round++) {
    std::vector<Fd> clients;
    for (int i = 0; i < 6; i++) clients.push_back(connect_to(running.port()));
    EXPECT(eventually([&] { return spread_of(running).sum == 6; }));
    Spread spread = spread_of(running);
    EXPECT(spread.most - spread.fewest <= 2);
    for (int i = 0; i < 4; i++) EXPECT(is_turned_away(connect_to(running.port())));
    for (const Fd& client : clients) EXPECT(send_all(client, get("/mine")));
    for (const Fd& client : clients) EXPECT(read_until(client, "/mine").ends_with("/mine"));
    EXPECT(ask(other.port(), "/theirs").ends_with("/theirs"));
    clients.clear();
    EXPECT(eventually([&] { return spread_of(running).sum == 0; }));
  }
}

TEST("what is on its way to another loop counts from where it has arrived") {
  RoleScope role(loop_thread);
  Stepped stepped(1);
  Fd first = stepped.knock();
  Fd second = stepped.knock();
  stepped.turn(0);  // keeps one, hands the other on
  EXPECT(stepped.connections(0) == 1 && stepped.connections(1) == 0);
  stepped.turn(1);
  EXPECT(stepped.connections(1) == 1);
  for (int i = 0; i < 3; i++) stepped.turn(1);
  EXPECT(is_turned_away(second));
  first.reset();
  for (int i = 0; i < 4; i++) stepped.turn(0);
  Fd third = stepped.knock();
  EXPECT(send_all(third, get("/third")));
  // The loop with fewer connections has it.
  for (int i = 0; i < 4; i++) stepped.turn(0);
  EXPECT(stepped.connections(0) == 1);
  EXPECT(stepped.loop(0).stats_view().requests.get() == 1);
}

// Connects again and again until nobody listens any more. False when a connection was neither
// answered nor ended.
bool knock(uint16_t port) {
  while (true) {
    Fd socket = connect_to(port);
    if (!socket.is_open()) return true;
    if (!send_all(socket, get("/knock"))) continue;
    errno = 0;
    std::string answer = read_until(socket, "/knock");
    if (!answer.ends_with("/knock") && errno == EAGAIN) return false;
  }
}

int lowest_free_descriptor() { return Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)).get(); }

// Six clients that connect and ask again and again, until nobody takes them any more.
class Knockers final {
 public:
  explicit Knockers(uint16_t port) {
    for (std::thread& client : clients_) {
      client = std::thread([this, port] { lost_ += knock(port) ? 0 : 1; });
    }
  }
  int lost() {
    for (std::thread& client : clients_) client.join();
    return lost_;
  }

 private:
  std::atomic<int> lost_{0};
  std::array<std::thread, 6> clients_;
};

TEST("loops that close one after another lose nobody on the way between them") {
  for (int round = 0; round < 5; round++) {
    int before = lowest_free_descriptor();
    {
      Running running(options_of(4, {tcp()}));
      Knockers knockers(running.port());
      EXPECT(eventually([&] { return running.sum(&Stats::accepted) > 100; }));
      for (size_t i = 0; i < 4; i++) running.answerer(i).stop();
      running.server().release_listeners();
      for (size_t i = 0; i < 4; i++) {
        EXPECT(put_control(running.server().loop(i).lane(), CommandKind::Close, 200));
        running.server().loop(i).poller().wake();
      }
      EXPECT(knockers.lost() == 0);
      EXPECT(eventually([&] { return running.sum(&Stats::connections) == 0; }));
      EXPECT(running.sum(&Stats::in_flight) == 0);
      EXPECT(running.sum(&Stats::idle) == 0);
      EXPECT(running.sum(&Stats::blocks) == 0);
    }
    EXPECT(lowest_free_descriptor() == before);
  }
}

TEST("stop closes what is on its way between loops") {
  for (int round = 0; round < 5; round++) {
    int before = lowest_free_descriptor();
    {
      Running running(options_of(4, {tcp()}));
      Knockers knockers(running.port());
      EXPECT(eventually([&] { return running.sum(&Stats::accepted) > 100; }));
      running.server().stop();
      EXPECT(knockers.lost() == 0);
      EXPECT(running.sum(&Stats::connections) == 0);
      EXPECT(running.sum(&Stats::blocks) == 0);
    }
    EXPECT(lowest_free_descriptor() == before);
  }
}

TEST("a loop that closes takes what was handed to it, and is not drained before") {
  RoleScope role(loop_thread);
  Stepped stepped;
  Fd first = stepped.knock();
  Fd second = stepped.knock();
  stepped.turn(0);
  EXPECT(stepped.connections(0) == 1 && stepped.connections(1) == 0);
  EXPECT(put_control(stepped.loop(1).lane(), CommandKind::Close, 1000));
  static_cast<void>(stepped.loop(1).work());
  EXPECT(stepped.drained(1) == 0);
  stepped.loop(1).poll(0);
  EXPECT(stepped.connections(1) == 1);
}

TEST("nothing is handed to a loop that has closed") {
  RoleScope role(loop_thread);
  Stepped stepped;
  EXPECT(put_control(stepped.loop(1).lane(), CommandKind::Close, 1000));
  stepped.turn(1);
  static_cast<void>(stepped.loop(1).work());
  EXPECT(stepped.drained(1) == 1);
  std::vector<Fd> clients;
  for (int i = 0; i < 3; i++) clients.push_back(stepped.knock());
  stepped.turn(0);
  EXPECT(stepped.connections(0) == 3);
}

TEST("a server that stops ends what no loop has taken yet") {
  RoleScope role(loop_thread);
  Stepped stepped;
  Fd first = stepped.knock();
  Fd second = stepped.knock();
  stepped.turn(0);
  stepped.server().stop();
  for (const Fd* client : {&first, &second}) {
    errno = 0;
    EXPECT(read_until(*client, "never").empty() && errno != EAGAIN);
  }
  EXPECT(stepped.connections(0) == 0 && stepped.connections(1) == 0);
}

TEST("owners of one address take turns") {
  int owners[2];
  Result<Fd> probe = make_listener(tcp());
  uint16_t port = listener_address(probe.value()).value().port;
  probe.take().reset();
  ServerOptions first = options_of(1, {tcp(port)});
  ServerOptions second = first;
  first.owner = &owners[0];
  second.owner = &owners[1];
  auto one = std::make_unique<Running>(std::move(first));
  {
    Running two(std::move(second));
    std::vector<Fd> clients;
    int64_t here = 0;
    int64_t there = 0;
    // The kernel wakes whom it likes: after 40 both have some, on a busy machine a little later.
    while (std::min(here, there) < 4 && clients.size() < 100) {
      clients.push_back(connect_to(port));
      EXPECT(send_all(clients.back(), get("/turn")));
      EXPECT(read_until(clients.back(), "/turn").ends_with("/turn"));
      here = one->sum(&Stats::connections);
      there = two.sum(&Stats::connections);
      EXPECT(here + there == static_cast<int64_t>(clients.size()));
    }
    EXPECT(std::min(here, there) >= 4);
  }
  for (int i = 0; i < 20; i++) EXPECT(ask(port, "/alone").ends_with("/alone"));
}

}  // namespace
}  // namespace millrace::test
