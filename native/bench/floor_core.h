// The core's floor: Server and Loop over the real poller, answered through a lane by a C++ consumer
// on a thread of its own (threaded) or on the loop's (inline), or by a static route.
#pragma once

#include <sched.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/floor_server.h"
#include "bench/lane_answerer.h"
#include "bench/program.h"
#include "bench/sleeper.h"
#include "core/server/server.h"

namespace millrace::bench {

class CoreFloor final : public FloorServer {
 public:
  explicit CoreFloor(const FloorOptions& options) {
    OpenFailure failure;
    server_ = Server::open(server_options(options), failure);
    if (server_ == nullptr) {
      errno = failure.status.error();
      fail_call(failure.status.call());
    }
    std::string body = floor_body(options);
    for (size_t i = 0; i < server_->loop_count(); i++) {
      Lane& lane = server_->loop(i).lane();
      answerers_.push_back(std::make_unique<LaneAnswerer>(lane, kFloorHeaders, body));
      if (!options.is_inline) sleeper_.serve(lane.js_bell);
    }
    Status started = server_->start();
    if (!started.is_ok()) fail(started.call());
    thread_ = std::thread([this] { server_->is_inline() ? run_inline() : run_consumer(); });
  }
  ~CoreFloor() override { CoreFloor::stop(); }

  uint16_t port() const override { return server_->addresses()[0].port; }
  FloorCounts counts() const override {
    FloorCounts counts;
    for (size_t i = 0; i < server_->loop_count(); i++) {
      const Stats& stats = server_->loop(i).stats_view();
      counts.requests += stats.requests.get();
      counts.turns += stats.turns.get();
    }
    for (const auto& answerer : answerers_) {
      counts.batches += answerer->batches();
      counts.events += answerer->events();
    }
    return counts;
  }
  void stop() override {
    if (!thread_.joinable()) return;
    // Pairs with the acquire loads of the thread's loop.
    stopping_.store(true, std::memory_order_release);
    if (server_->is_inline()) server_->loop(0).poller().wake();
    sleeper_.wake();
    thread_.join();
    server_->stop();
  }

 private:
  static ServerOptions server_options(const FloorOptions& options) {
    ServerOptions server;
    server.loops = options.loops;
    server.is_inline = options.is_inline;
    server.listeners.push_back({.request = {.host = "127.0.0.1", .port = options.port}});
    Route handler;
    handler.kind = RouteKind::Handler;
    server.routes.fallback = handler;
    if (options.is_static) {
      RouteRow row{"GET", "/", {}};
      row.route.kind = RouteKind::Static;
      row.route.headers = kFloorHeaders;
      row.route.content = floor_body(options);
      server.routes.rows.push_back(std::move(row));
    }
    return server;
  }

  [[nodiscard]] bool stopping() const { return stopping_.load(std::memory_order_acquire); }

  // As a JavaScript thread does it: batches while there are any, then to sleep until a bell rings.
  void run_consumer() {
    while (!stopping()) {
      bool any = false;
      for (auto& answerer : answerers_) {
        auto outcome = answerer->answer_batch();
        any = any || outcome != LaneAnswerer::Outcome::NothingThere;
        if (outcome == LaneAnswerer::Outcome::CommandsAreFull) sched_yield();
      }
      if (any) continue;
      bool all_empty = true;
      for (auto& answerer : answerers_) {
        answerer->lane().js_bell.fall_asleep();
        all_empty = all_empty && answerer->lane().events.is_empty();
      }
      if (all_empty) sleeper_.wait();
      for (auto& answerer : answerers_) answerer->lane().js_bell.stay_awake();
    }
  }

  void run_inline() {
    RoleScope role(loop_thread);
    Loop& loop = server_->loop(0);
    while (!stopping()) {
      loop.poll(loop.work());
      while (answerers_[0]->answer_batch() != LaneAnswerer::Outcome::NothingThere) {
        static_cast<void>(loop.work());
      }
    }
  }

  Sleeper sleeper_;
  std::unique_ptr<Server> server_;
  std::vector<std::unique_ptr<LaneAnswerer>> answerers_;  // one per loop
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace millrace::bench
