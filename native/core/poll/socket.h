// The socket calls that differ between kernels (socket_linux.cpp, socket_bsd.cpp) and addresses as
// text (socket.cpp). Knows nothing of pollers.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"
#include "core/base/fd.h"
#include "core/model/address.h"

namespace millrace {

// A stream socket: non-blocking, close-on-exec, without SIGPIPE. Not open, with errno, when
// refused.
[[nodiscard]] Fd open_stream_socket(int family);
// The next connection of a listener, prepared as above and without Nagle's delay; -1 and errno when
// there is none.
[[nodiscard]] int accept_connection(int listener, sockaddr_storage& peer);
// Makes a foreign socket like one from open_stream_socket().
[[nodiscard]] bool prepare_socket(int fd);
// Gathers without blocking and without SIGPIPE; tried again on EINTR. -1 and errno on failure.
[[nodiscard]] ssize_t send_vectors(int fd, const iovec* vectors, size_t count);
// With what else a message carries; tried again on EINTR, non-blocking, without SIGPIPE. -1 and
// errno on failure. Descriptors that are received are close-on-exec.
[[nodiscard]] ssize_t send_message(int fd, const msghdr& message);
[[nodiscard]] ssize_t receive_message(int fd, msghdr& message);
// Moves at most `count` bytes (not 0) of a file to the socket, under the same rules. How many went,
// 0 at the end of the file; -1 and errno on failure: is_file_refused(errno) when the kernel can't
// do it with this file, whose bytes may still be read and sent. socket_linux.cpp, sendfile_*.cpp.
[[nodiscard]] ssize_t send_file_bytes(int fd, int file, uint64_t offset, size_t count);
[[nodiscard]] bool is_file_refused(int error);

// Bytes that were sent and not acknowledged, -1 when the kernel does not say. In the same files.
[[nodiscard]] int64_t unacknowledged_bytes(int fd);

// For TCP; a socket of another kind is left as it is.
void set_no_delay(int fd);
// What went wrong since this was last asked, 0 for nothing; of connect(), once it has ended.
[[nodiscard]] int take_socket_error(int fd);

// An address as the kernel takes it.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t length = 0;

  [[nodiscard]] const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
};
// Only numeric addresses: a zone ("%eth0") or a name is refused.
[[nodiscard]] bool make_ip_address(Bytes host, uint16_t port, SocketAddress& address);
// The path of a unix socket; a leading NUL: an abstract name (Linux). False, with errno, for one
// that is empty, too long or has a NUL elsewhere.
[[nodiscard]] bool make_unix_address(Bytes path, SocketAddress& address);
// An IPv4 address mapped into IPv6 is shown as IPv4.
[[nodiscard]] Address address_of(const sockaddr_storage& address);

}  // namespace millrace
