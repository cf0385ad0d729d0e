#include "core/poll/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <cstring>

namespace millrace {

void set_no_delay(int fd) {
  int on = 1;
  static_cast<void>(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
}

// Linux says EINVAL for a file system without splice, macOS ENOTSUP, FreeBSD EOPNOTSUPP; a sandbox
// may take the call away altogether.
bool is_file_refused(int error) {
  return error == EINVAL || error == ENOSYS || error == ENOTSUP || error == EOPNOTSUPP;
}

Address address_of(const sockaddr_storage& address) {
  Address result;
  const void* raw = nullptr;
  if (address.ss_family == AF_INET) {
    const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(address);
    result.family = Family::IPv4;
    result.port = ntohs(ipv4.sin_port);
    raw = &ipv4.sin_addr;
  } else if (address.ss_family == AF_INET6) {
    const auto& ipv6 = reinterpret_cast<const sockaddr_in6&>(address);
    bool mapped = IN6_IS_ADDR_V4MAPPED(&ipv6.sin6_addr) != 0;
    result.family = mapped ? Family::IPv4 : Family::IPv6;
    result.port = ntohs(ipv6.sin6_port);
    raw = mapped ? &ipv6.sin6_addr.s6_addr[12] : &ipv6.sin6_addr.s6_addr[0];
  } else {
    return result;
  }
  int family = result.family == Family::IPv4 ? AF_INET : AF_INET6;
  if (::inet_ntop(family, raw, result.text, sizeof(result.text)) != nullptr) {
    result.length = static_cast<uint8_t>(std::strlen(result.text));
  }
  return result;
}

}  // namespace millrace
