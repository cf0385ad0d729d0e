// Server: the public C++ face. Binds, starts and joins threads, hands lanes out. The only file that
// makes threads. Any thread may read stats(); everything else belongs to the thread that opened it.
#pragma once

#include <pthread.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/loop/loop.h"
#include "core/model/metrics_source.h"
#include "core/server/listeners.h"
#include "core/server/options.h"

namespace millrace {

// Why open() failed: which listener or route, and what the system said.
struct OpenFailure {
  Status status = Status::ok();
  int listener = -1;
  int route = -1;
  std::string sentence;  // about the route
};

class Server final : public MetricsSource {
 public:
  // Null with `failure` filled in. Nothing is left behind then: another open() may try the same
  // addresses.
  [[nodiscard]] static std::unique_ptr<Server> open(ServerOptions options, OpenFailure& failure);
  ~Server();  // stop()
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] size_t loop_count() const { return loops_.size(); }
  [[nodiscard]] Loop& loop(size_t index) { return *loops_[index]; }
  [[nodiscard]] bool is_inline() const { return options_.is_inline; }
  // Two connected sockets of this process; not open, with errno, when the system refuses.
  [[nodiscard]] static bool make_socket_pair(Fd& one, Fd& other);
  [[nodiscard]] const std::string& topic_space() const { return options_.topic_space; }
  [[nodiscard]] const std::vector<Address>& addresses() const { return addresses_; }

  // After the lanes' bells have been given their wake functions.
  // When the system refuses a thread, those that run are joined again.
  [[nodiscard]] Status start();
  // Cuts everything and joins the threads. Afterwards no thread of ours runs and no bell is rung.
  // Idempotent.
  void stop();
  void release_listeners() { shares_.clear(); }
  // Another process listens on them too: files of unix sockets stay.
  void keep_paths();
  // In the order of the options; none after release_listeners().
  [[nodiscard]] std::vector<int> listener_descriptors() const;
  void write_metrics(std::string& out) const override;  // any thread
  // For Reroute commands; null with `failure` filled in. It stays until the server goes: sessions
  // and write queues refer to its routes.
  [[nodiscard]] const Router* add_router(RouteTable table, OpenFailure& failure);

 private:
  explicit Server(ServerOptions options) : options_(std::move(options)) {}
  [[nodiscard]] bool bind(OpenFailure& failure);
  [[nodiscard]] bool make_loops(OpenFailure& failure);
  // Not std::thread: without exceptions it ends the process when the system refuses one.
  struct Thread {
    Server* server;
    size_t index;
    pthread_t id;
  };
  static void* enter(void* thread);
  void run(Loop& loop, size_t index);

  ServerOptions options_;
  std::vector<std::unique_ptr<Router>> routers_;
  std::vector<ListenerShare> shares_;
  std::vector<Address> addresses_;
  Disk disk_;
  std::unique_ptr<Group> group_;
  std::unique_ptr<PeerCounts> peer_counts_;  // null: they are not counted
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<Thread> threads_;  // never grows once one of them runs
  std::atomic<bool> stopping_{false};
};

}  // namespace millrace
