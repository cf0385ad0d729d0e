#include "core/server/server.h"

#include <signal.h>

#include <cerrno>
#include <cstdio>

#include "core/server/prometheus.h"

namespace millrace {

std::unique_ptr<Server> Server::open(ServerOptions options, OpenFailure& failure) {
  std::unique_ptr<Server> server(new Server(std::move(options)));
  RouteTable routes = std::move(server->options_.routes);
  if (server->add_router(std::move(routes), failure) == nullptr || !server->bind(failure) ||
      !server->make_loops(failure)) {
    return nullptr;
  }
  return server;
}

Server::~Server() { stop(); }

const Router* Server::add_router(RouteTable table, OpenFailure& failure) {
  auto router = std::make_unique<Router>();
  for (size_t i = 0; i < table.rows.size(); i++) {
    failure.sentence = router->add(std::move(table.rows[i]));
    if (failure.sentence.empty()) continue;
    failure.route = static_cast<int>(i);
    return nullptr;
  }
  if (table.fallback) router->set_fallback(std::move(*table.fallback));
  if (table.method_not_allowed)
    router->set_method_not_allowed(std::move(*table.method_not_allowed));
  router->seal();
  routers_.push_back(std::move(router));
  return routers_.back().get();
}

bool Server::bind(OpenFailure& failure) {
  for (size_t i = 0; i < options_.listeners.size(); i++) {
    failure.listener = static_cast<int>(i);
    if (find_protocol(options_.listeners[i].protocol, options_.listeners[i].proxy) == nullptr) {
      failure.status = Status::failed(EPROTONOSUPPORT, "protocol");
      return false;
    }
    Result<ListenerShare> share =
        ListenerShare::acquire(options_.listeners[i].request, options_.owner);
    failure.status = share.status();
    if (!share.is_ok()) return false;
    shares_.push_back(share.take());
    Result<Address> address = listener_address(shares_.back().socket());
    failure.status = address.status();
    if (!address.is_ok()) return false;
    addresses_.push_back(address.value());
  }
  failure.listener = -1;
  return true;
}

bool Server::make_loops(OpenFailure& failure) {
  uint32_t count = options_.is_inline ? 1 : options_.loops;
  // Two loops on one socket of SO_REUSEPORT would not be balanced everywhere; one shared open
  // socket is.
  group_ = std::make_unique<Group>(count);
  int64_t per_address = options_.limits.connections_per_address_max;
  if (per_address > 0)
    peer_counts_ = std::make_unique<PeerCounts>(static_cast<uint32_t>(per_address));
  for (uint32_t i = 0; i < count; i++) {
    Result<std::unique_ptr<Poller>> poller = make_poller();
    failure.status = poller.status();
    if (!poller.is_ok()) return false;
    loops_.push_back(
        std::make_unique<Loop>(poller.take(), options_.limits, *routers_[0], disk_, count));
    loops_.back()->set_sockets(options_.sockets, options_.topic_space);
    loops_.back()->set_refusals(options_.refusals);
    loops_.back()->set_metrics_source(*this);
    loops_.back()->join(*group_, i);
    if (peer_counts_ != nullptr) loops_.back()->set_peer_counts(*peer_counts_);
    if (options_.observation.access) loops_.back()->lane().meters.keep_delays();
    loops_.back()->set_observation(options_.observation);
    for (size_t id = 0; id < shares_.size(); id++) {
      ProtocolMaker protocol =
          find_protocol(options_.listeners[id].protocol, options_.listeners[id].proxy);
      Fd socket = shares_[id].descriptor();
      failure.status = Status::failed(errno, "fcntl");
      if (!socket.is_open()) return false;
      failure.status = loops_.back()->listen(static_cast<ListenerId>(id), std::move(socket),
                                             protocol, options_.listeners[id].proxy);
      if (!failure.status.is_ok()) return false;
    }
  }
  return true;
}

bool Server::make_socket_pair(Fd& one, Fd& other) { return millrace::make_socket_pair(one, other); }

void Server::keep_paths() {
  for (ListenerShare& share : shares_) share.keep_path();
}

std::vector<int> Server::listener_descriptors() const {
  std::vector<int> descriptors;
  for (const ListenerShare& share : shares_) descriptors.push_back(share.socket().get());
  return descriptors;
}

Status Server::start() {
  if (options_.is_inline) return Status::ok();
  // Signals are the application's: ours are delivered to its threads. Not those that a thread
  // raises by a fault of its own: blocked, they would end the process past any handler that reports
  // crashes.
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (int fault : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP})
    sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  threads_.reserve(loops_.size());
  int error = 0;
  for (size_t i = 0; i < loops_.size() && error == 0; i++) {
    threads_.push_back({this, i, {}});
    error = pthread_create(&threads_[i].id, nullptr, &Server::enter, &threads_[i]);
    if (error != 0) threads_.pop_back();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error == 0) return Status::ok();
  stop();
  return Status::failed(error, "pthread_create");
}

void* Server::enter(void* thread) {
  auto& self = *static_cast<Thread*>(thread);
  self.server->run(*self.server->loops_[self.index], self.index);
  return nullptr;
}

void Server::run(Loop& loop, size_t index) {
  RoleScope role(loop_thread);
  char name[16];
  std::snprintf(name, sizeof(name), "millrace-io-%zu", index % 1000);
  name_this_thread(name);
  // Pairs with the release store in stop().
  while (!stopping_.load(std::memory_order_acquire)) loop.poll(loop.work());
}

void Server::write_metrics(std::string& out) const {
  std::vector<LoopNumbers> loops;
  for (const auto& loop : loops_) loops.push_back({&loop->stats_view(), &loop->lane().queue});
  write_prometheus(loops, out);
}

void Server::stop() {
  stopping_.store(true, std::memory_order_release);
  for (size_t i = 0; i < threads_.size(); i++) loops_[i]->poller().wake();
  for (Thread& thread : threads_) pthread_join(thread.id, nullptr);
  threads_.clear();
  shares_.clear();
  RoleScope role(loop_thread);  // nobody else plays it any more
  disk_.stop();                 // what it brings back is for loops that are still there
  for (auto& loop : loops_) loop->cut();
}

}  // namespace millrace
