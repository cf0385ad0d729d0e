// Dial: connects stream sockets to one address, TCP or unix.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "bench/blast_options.h"

namespace millrace::bench {

class Dial final {
 public:
  explicit Dial(const BlastOptions& options) {
    if (!options.unix_path.empty()) {
      set_unix(options.unix_path);
      return;
    }
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address_);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address_);
    if (inet_pton(AF_INET, options.host.c_str(), &v4->sin_addr) == 1) {
      v4->sin_family = AF_INET;
      v4->sin_port = htons(options.port);
      length_ = sizeof(*v4);
    } else if (inet_pton(AF_INET6, options.host.c_str(), &v6->sin6_addr) == 1) {
      v6->sin6_family = AF_INET6;
      v6->sin6_port = htons(options.port);
      length_ = sizeof(*v6);
    } else {
      fail("not a numeric address: ", options.host.c_str());
    }
  }

  // A connected socket, in blocking mode.
  [[nodiscard]] int connect() const {
    int fd = ::socket(address_.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail_call("socket");
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address_), length_) != 0)
      fail_call("connect");
    int on = 1;
    if (address_.ss_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
  }

 private:
  // A leading '@' stands for the NUL of an abstract name.
  void set_unix(const std::string& path) {
    auto* address = reinterpret_cast<sockaddr_un*>(&address_);
    if (path.size() >= sizeof(address->sun_path)) fail("the path is too long: ", path.c_str());
    address->sun_family = AF_UNIX;
    std::memcpy(address->sun_path, path.data(), path.size());
    bool is_abstract = path[0] == '@';
    if (is_abstract) address->sun_path[0] = '\0';
    length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() +
                                     (is_abstract ? 0 : 1));
  }

  sockaddr_storage address_{};
  socklen_t length_ = 0;
};

// As many descriptors as the system grants this process.
inline void raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace millrace::bench
