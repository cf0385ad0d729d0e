// Listening sockets shared inside the process: a second owner (another Node worker) that asks for
// the same address gets a descriptor of the same open socket, on every platform alike, instead of
// EADDRINUSE. Any thread; guarded by a mutex, used only when servers start and stop.
#pragma once

#include <string>

#include "core/base/fd.h"
#include "core/base/result.h"
#include "core/poll/listen.h"

namespace millrace {

// One owner's share of a listening socket. The last share closes it and removes a unix socket's
// file, unless an owner has left it to somebody else.
class ListenerShare final {
 public:
  ListenerShare() = default;
  ListenerShare(ListenerShare&& other) noexcept;
  ListenerShare& operator=(ListenerShare&& other) noexcept;
  ListenerShare(const ListenerShare&) = delete;
  ListenerShare& operator=(const ListenerShare&) = delete;
  ~ListenerShare();

  [[nodiscard]] static Result<ListenerShare> acquire(const ListenRequest& request,
                                                     const void* owner);
  // A descriptor for a poller; the share keeps its own.
  [[nodiscard]] Fd descriptor() const { return socket_.duplicate(); }
  [[nodiscard]] const Fd& socket() const { return socket_; }
  // Another process listens on it too: the file stays when the last share goes.
  void keep_path();

 private:
  void release();

  Fd socket_;
  std::string key_;  // empty: not shared (inherited descriptor, reuse_port)
  const void* owner_ = nullptr;
  std::string unix_path_;
};

}  // namespace millrace
