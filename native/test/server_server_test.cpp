// The server on real sockets: threads, shared listeners, what open() leaves behind when it fails,
// stopping under load.
#include "core/server/server.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "test/server_rig.h"

namespace millrace::test {
namespace {

bool exists(const std::string& path) {
  struct stat found = {};
  return ::lstat(path.c_str(), &found) == 0;
}

std::string scratch_path(const char* name) {
  return "/tmp/millrace-test-" + std::to_string(::getpid()) + "-" + name;
}

TEST("a server answers on every listener it opened") {
  Running running(options_of(1, {tcp(), tcp(), {.host = "::1", .port = 0}}));
  EXPECT(running.is_open());
  EXPECT(running.server().addresses().size() == 3);
  EXPECT(running.port(0) != running.port(1));
  EXPECT(ask(running.port(0), "/first").ends_with("/first"));
  EXPECT(ask(running.port(1), "/second").ends_with("/second"));
  EXPECT(running.sum(&Stats::listeners) == 3);
}

TEST("stop cuts every connection and stops listening at once") {
  Running running(options_of(2, {tcp()}));
  Fd idle = connect_to(running.port());
  Fd busy = connect_to(running.port());
  EXPECT(send_all(busy, get("/busy")));
  EXPECT(read_until(busy, "/busy").ends_with("/busy"));
  running.server().stop();
  EXPECT(read_until(idle, "never").empty());
  EXPECT(read_until(busy, "never").empty());
  EXPECT(!connect_to(running.port()).is_open());
  EXPECT(running.sum(&Stats::connections) == 0);
  EXPECT(running.sum(&Stats::listeners) == 0);
}

TEST("a server that is never started leaves nothing behind") {
  OpenFailure failure;
  std::unique_ptr<Server> server = Server::open(options_of(2, {tcp()}), failure);
  EXPECT(server != nullptr);
  uint16_t port = server->addresses()[0].port;
  server = nullptr;
  Running again(options_of(1, {tcp(port)}));
  EXPECT(again.is_open());
}

TEST("a bad route is named, and no address is taken") {
  ServerOptions options = options_of(1, {tcp()});
  options.routes.rows.push_back({"GET", "/ok", {}});
  options.routes.rows.push_back({"GET", "no slash", {}});
  OpenFailure failure;
  EXPECT(Server::open(std::move(options), failure) == nullptr);
  EXPECT(failure.route == 1);
  EXPECT(!failure.sentence.empty());
}

TEST("an address in use fails the whole server and a retry finds the others free") {
  Result<Fd> taken = make_listener(tcp());
  Result<Fd> free = make_listener(tcp());
  uint16_t taken_port = listener_address(taken.value()).value().port;
  uint16_t free_port = listener_address(free.value()).value().port;
  free.take().reset();
  Running failed(options_of(2, {tcp(free_port), tcp(taken_port)}));
  EXPECT(!failed.is_open());
  EXPECT(failed.failure().listener == 1);
  EXPECT(failed.failure().status.error() == EADDRINUSE);
  taken.take().reset();
  Running retried(options_of(2, {tcp(free_port), tcp(taken_port)}));
  EXPECT(retried.is_open());
  EXPECT(ask(free_port, "/free").ends_with("/free"));
  EXPECT(ask(taken_port, "/was taken").find("400") != std::string::npos);
}

TEST("two owners share an address, and one goes on when the other ends") {
  int owners[2];
  ServerOptions first = options_of(1, {tcp()});
  Result<Fd> probe = make_listener(tcp());
  uint16_t port = listener_address(probe.value()).value().port;
  probe.take().reset();
  first.listeners[0].request.port = port;
  ServerOptions second = first;
  ServerOptions third = first;
  first.owner = third.owner = &owners[0];
  second.owner = &owners[1];
  auto one = std::make_unique<Running>(std::move(first));
  Running two(std::move(second));
  EXPECT(one->is_open() && two.is_open());
  Running twice(std::move(third));
  EXPECT(!twice.is_open());
  EXPECT(twice.failure().status.error() == EADDRINUSE);
  for (int i = 0; i < 20; i++) EXPECT(ask(port, "/either").ends_with("/either"));
  EXPECT(one->sum(&LaneConsumer::requests) + two.sum(&LaneConsumer::requests) == 20);
  one = nullptr;
  for (int i = 0; i < 20; i++) EXPECT(ask(port, "/other").ends_with("/other"));
}

TEST("a unix socket's file goes with its last owner") {
  std::string path = scratch_path("shared");
  int owners[2];
  ServerOptions first = options_of(1, {{.unix_path = path, .unix_mode = 0600}});
  ServerOptions second = first;
  first.owner = &owners[0];
  second.owner = &owners[1];
  auto one = std::make_unique<Running>(std::move(first));
  auto two = std::make_unique<Running>(std::move(second));
  EXPECT(one->is_open() && two->is_open());
  EXPECT(ask(path, "/unix").ends_with("/unix"));
  one = nullptr;
  EXPECT(exists(path));
  EXPECT(ask(path, "/still").ends_with("/still"));
  two->server().release_listeners();
  EXPECT(!exists(path));
  two = nullptr;
  EXPECT(!exists(path));
  Running again(options_of(1, {{.unix_path = path}}));
  EXPECT(again.is_open());
}

TEST("an inline server runs on its caller's thread") {
  ServerOptions options = options_of(7, {tcp()});
  options.is_inline = true;
  OpenFailure failure;
  std::unique_ptr<Server> server = Server::open(std::move(options), failure);
  EXPECT(server != nullptr && server->loop_count() == 1);
  EXPECT(server->start().is_ok());
  uint16_t port = server->addresses()[0].port;
  std::atomic<bool> done{false};
  std::string answer;
  std::thread client([&] {
    answer = ask(port, "/inline");
    done.store(true);
  });
  RoleScope role(loop_thread);
  Loop& loop = server->loop(0);
  while (!done.load()) {
    loop.poll(std::min<Milliseconds>(10, std::max<Milliseconds>(loop.work(), 1)));
    for (const Taken& taken : take_events(loop.lane())) {
      if (taken.kind == EventKind::Request)
        EXPECT(put_response(loop.lane(), taken.id, taken.target));
    }
  }
  client.join();
  EXPECT(answer.ends_with("/inline"));
  server->stop();
}

// --- under load ---

// Pipelines requests on one connection until told to stop or the server ends; how many answers
// came.
uint64_t load(uint16_t port, const std::atomic<bool>& stopping, uint64_t requests_max) {
  constexpr size_t kDepth = 8;
  std::string burst;
  for (size_t i = 0; i < kDepth; i++) burst += i == 3 ? post("/load", 2000) : get("/load");
  Fd socket = connect_to(port);
  uint64_t answers = 0;
  while (socket.is_open() && !stopping.load() && answers < requests_max) {
    if (!send_all(socket, burst)) break;
    answers += count_of(read_until(socket, "/load", kDepth), "HTTP/1.1 200 OK");
  }
  return answers;
}

TEST("two loops answer many connections while lanes cross threads") {
  constexpr uint64_t kRequests = 2000;
  constexpr size_t kClients = 8;
  Running running(options_of(2, {tcp()}));
  std::atomic<bool> stopping{false};
  std::atomic<uint64_t> answers{0};
  std::vector<std::thread> clients;
  for (size_t i = 0; i < kClients; i++) {
    clients.emplace_back([&] { answers += load(running.port(), stopping, kRequests); });
  }
  // Who reads the numbers meanwhile disturbs nobody.
  while (running.sum(&Stats::requests) < static_cast<int64_t>(kClients * kRequests / 2)) {
    std::this_thread::yield();
  }
  for (std::thread& client : clients) client.join();
  EXPECT(answers == kClients * kRequests);
  EXPECT(running.sum(&LaneConsumer::requests) == kClients * kRequests);
  EXPECT(running.sum(&Stats::responses_2xx) == static_cast<int64_t>(kClients * kRequests));
  EXPECT(eventually([&] { return running.sum(&Stats::connections) == 0; }));
  EXPECT(running.sum(&Stats::in_flight) == 0);
  EXPECT(running.sum(&Stats::blocks) == 0);
  EXPECT(running.sum(&LaneConsumer::aborted) == 0);
}

TEST("connections that come and go by the hundred leave nothing behind") {
  Running running(options_of(2, {tcp()}));
  std::vector<std::thread> clients;
  std::atomic<int> answered{0};
  for (int i = 0; i < 4; i++) {
    clients.emplace_back([&running, &answered, i] {
      for (int k = 0; k < 100; k++) {
        Fd socket = connect_to(running.port());
        if (!send_all(socket, get("/churn") + get("/churn"))) continue;
        if ((k + i) % 3 == 0) continue;  // leaves without the answer
        answered += count_of(read_until(socket, "/churn", 2), "/churn") == 2 ? 1 : 0;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT(answered.load() >= 264);
  EXPECT(eventually([&] { return running.sum(&Stats::connections) == 0; }));
  EXPECT(running.sum(&Stats::in_flight) == 0);
  EXPECT(running.sum(&Stats::idle) == 0);
  EXPECT(running.sum(&Stats::blocks) == 0);
  EXPECT(eventually([&] { return running.sum(&Stats::deadlines) == 0; }));
}

TEST("stop joins the threads under load and cuts every connection") {
  for (int round = 0; round < 5; round++) {
    auto running = std::make_unique<Running>(options_of(2, {tcp()}));
    std::atomic<bool> stopping{false};
    std::vector<std::thread> clients;
    uint16_t port = running->port();
    for (int i = 0; i < 4; i++) {
      clients.emplace_back([port, &stopping] { load(port, stopping, UINT64_MAX); });
    }
    EXPECT(eventually([&] { return running->sum(&LaneConsumer::requests) > 100; }));
    running->server().stop();
    running->server().stop();
    for (std::thread& client : clients) client.join();  // they met the end of their connections
    EXPECT(running->sum(&Stats::connections) == 0);
    EXPECT(running->sum(&Stats::in_flight) == 0);
    EXPECT(running->sum(&Stats::blocks) == 0);
    running = nullptr;
    Running again(options_of(1, {tcp(port)}));
    EXPECT(again.is_open());
  }
}

TEST("close under load drains every loop and then nothing is open") {
  Running running(options_of(2, {tcp()}));
  std::atomic<bool> stopping{false};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; i++) {
    clients.emplace_back([&] { load(running.port(), stopping, UINT64_MAX); });
  }
  EXPECT(eventually([&] { return running.sum(&LaneConsumer::requests) > 100; }));
  // The lanes' producers of commands are the answerers: they step aside, as one thread may write at
  // a time.
  for (size_t i = 0; i < 2; i++) running.answerer(i).stop();
  running.server().release_listeners();
  for (size_t i = 0; i < 2; i++) {
    EXPECT(put_control(running.server().loop(i).lane(), CommandKind::Close, 200));
  }
  EXPECT(eventually([&] { return running.sum(&Stats::connections) == 0; }));
  EXPECT(running.sum(&Stats::listeners) == 0);
  for (std::thread& client : clients) client.join();
  size_t drained = 0;
  EXPECT(eventually([&] {
    for (size_t i = 0; i < 2; i++) {
      for (const Taken& taken : take_events(running.server().loop(i).lane())) {
        drained += taken.kind == EventKind::Drained ? 1 : 0;
      }
    }
    return drained == 2;
  }));
  EXPECT(running.sum(&Stats::in_flight) == 0);
  EXPECT(!connect_to(running.port()).is_open());
}

// --- descriptors ---

TEST(
    "reserve_fds leaves descriptors to the application, and accepting goes on when there are "
    "more") {
  constexpr size_t kReserve = 20;
  rlimit before = {};
  EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  std::vector<Fd> clients;
  for (int i = 0; i < 40; i++)
    clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(clients.back().get() + 1 + static_cast<int>(kReserve) + 15);
  EXPECT(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
  ServerOptions options = options_of(1, {tcp()});
  options.limits.reserve_fds = kReserve;
  Running running(std::move(options));
  for (Fd& client : clients) EXPECT(connect_socket(client, running.port()));
  EXPECT(eventually([&] { return running.sum(&Stats::accept_pauses) > 0; }));
  std::vector<Fd> ours;
  for (size_t i = 0; i < kReserve - 1; i++) ours.push_back(clients[0].duplicate());
  EXPECT(ours.back().is_open());
  EXPECT(running.sum(&Stats::connections) < 20);
  ours.clear();
  EXPECT(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  // The last in the backlog is served too.
  EXPECT(send_all(clients.back(), get("/patient")));
  EXPECT(read_until(clients.back(), "/patient").ends_with("/patient"));
  EXPECT(running.sum(&Stats::connections) == 40);
}

}  // namespace
}  // namespace millrace::test
