// InlineHost: runs a loop's turns on the JS thread when libuv says that the poller's descriptor is
// readable. Owned by: its Host, JS thread.
#pragma once

#include <uv.h>

#include "addon/bridge.h"
#include "core/loop/loop.h"

namespace millrace::addon {

class InlineHost final {
 public:
  // On failure nothing will run and libuv's error is returned; close() is due all the same.
  [[nodiscard]] int start(Host& host, Bridge& bridge, Loop& loop);
  // Takes commands, writes, sets the timer. Nobody rings for the events that come of it: unless the
  // caller drains them itself, the timer does.
  enum class Events : uint8_t { AreDrained, WakeUs };
  void work(Events events);
  [[nodiscard]] uint32_t handles() const { return poll_ == nullptr ? 2 : 3; }
  void ref(bool alive);
  void close();  // host.handle_closed() follows, handles() times

 private:
  static void on_readable(uv_poll_t* handle, int status, int events);
  static void on_timer(uv_timer_t* handle);
  void turn();

  Host* host_ = nullptr;
  Bridge* bridge_ = nullptr;
  Loop* loop_ = nullptr;
  uv_poll_t* poll_ = nullptr;
  uv_timer_t* timer_ = nullptr;
  uv_idle_t* idle_ = nullptr;
  bool closed_ = false;
};

}  // namespace millrace::addon
