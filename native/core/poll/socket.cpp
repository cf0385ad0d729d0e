#include "core/poll/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
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

int take_socket_error(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

bool make_ip_address(Bytes host, uint16_t port, SocketAddress& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (host.size() >= sizeof(text) || host.find('\0') != Bytes::npos) return false;
  std::copy(host.begin(), host.end(), text);
  address = {};
  auto& ipv4 = reinterpret_cast<sockaddr_in&>(address.storage);
  if (::inet_pton(AF_INET, text, &ipv4.sin_addr) == 1) {
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(port);
    address.length = sizeof(ipv4);
    return true;
  }
  address = {};
  auto& ipv6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (::inet_pton(AF_INET6, text, &ipv6.sin6_addr) != 1) return false;
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_port = htons(port);
  address.length = sizeof(ipv6);
  return true;
}

bool make_unix_address(Bytes path, SocketAddress& address) {
  address = {};
  auto& local = reinterpret_cast<sockaddr_un&>(address.storage);
  bool abstract = !path.empty() && path[0] == '\0';
  // An abstract name is as long as it says; a path ends with a NUL that has to fit too.
  size_t size = path.size() + (abstract ? 0 : 1);
  errno = ENAMETOOLONG;
  if (size > sizeof(local.sun_path)) return false;
  errno = EINVAL;
  if (path.empty() || (!abstract && path.find('\0') != Bytes::npos)) return false;
  local.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), local.sun_path);
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  return true;
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
