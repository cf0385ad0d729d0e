// Makes listening sockets: TCP over IPv4 and IPv6, unix sockets, inherited descriptors.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/fd.h"
#include "core/base/result.h"
#include "core/model/address.h"

namespace millrace {

struct ListenRequest {
  std::string host = {};       // numeric address; TypeScript resolves names
  uint16_t port = 0;           // 0: any free one
  std::string unix_path = {};  // not empty: a unix socket; a leading NUL: an abstract name (Linux)
  int unix_mode = -1;          // permissions of the unix socket; -1: as umask has it
  // Not -1: an inherited listening socket, duplicated. With an address or path above, what it is
  // bound to; they are not looked at then.
  int fd = -1;
  int backlog = 511;
  bool reuse_port = false;
  bool ipv6_only = false;
};

// A bound, listening, non-blocking, close-on-exec socket. A stale unix socket file (nobody listens)
// is replaced, a live one gives EADDRINUSE, a file of another kind is never touched (EEXIST).
[[nodiscard]] Result<Fd> make_listener(const ListenRequest& request);
// What it is bound to; for a unix socket only the family.
[[nodiscard]] Result<Address> listener_address(const Fd& socket);
// Two connected stream sockets of this process. False, with errno, when the system refuses.
[[nodiscard]] bool make_socket_pair(Fd& one, Fd& other);
// Removes the socket file that make_listener made.
void remove_unix_socket(const std::string& path);

}  // namespace millrace
