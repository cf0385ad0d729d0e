// Hand-over of descriptors: all of them or none, whole texts, and no descriptor left behind.
#include "core/poll/hand_over.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <thread>

#include "core/poll/listen.h"
#include "core/server/listeners.h"
#include "test/disk_rig.h"
#include "test/harness.h"
#include "test/temp_file.h"

namespace millrace {
namespace {

using test::open_descriptors;
using test::TempFolder;

constexpr int64_t kLong = 60'000;

// Listens at a path; serve() runs once for who connects, on a thread.
class Giver final {
 public:
  template <typename Serve>
  Giver(const TempFolder& folder, Serve serve) : path(folder.at("hand")) {
    Result<Fd> listener = make_listener({.unix_path = path});
    EXPECT(listener.is_ok());
    listener_ = listener.take();
    static_cast<void>(::fcntl(listener_.get(), F_SETFL, 0));
    thread_ = std::thread([this, serve] {
      Fd connection(::accept(listener_.get(), nullptr, nullptr));
      serve(connection);
    });
  }
  ~Giver() { thread_.join(); }

  std::string path;

 private:
  Fd listener_;
  std::thread thread_;
};

std::string read_bytes(const Fd& from, size_t count) {
  std::string bytes(count, '\0');
  size_t got = 0;
  while (got < count) {
    ssize_t part = ::recv(from.get(), bytes.data() + got, count - got, 0);
    if (part <= 0) break;
    got += static_cast<size_t>(part);
  }
  bytes.resize(got);
  return bytes;
}

uint16_t port_of(const Fd& socket) {
  Result<Address> address = listener_address(socket);
  return address.is_ok() ? address.value().port : 0;
}

TEST("sockets and a text arrive, and the connection goes on") {
  int before = open_descriptors();
  {
    TempFolder folder;
    std::vector<Fd> sockets;
    std::vector<int> numbers;
    for (int i = 0; i < 3; i++) {
      sockets.push_back(make_listener({.host = "127.0.0.1"}).take());
      numbers.push_back(sockets.back().get());
    }
    std::string text(40'000, 't');
    Giver giver(folder, [&](Fd& connection) {
      EXPECT(read_bytes(connection, 6) == "hello\n");
      EXPECT(send_descriptors(connection.get(), numbers, text).is_ok());
      EXPECT(read_bytes(connection, 6) == "ready\n");
    });
    Result<HandedOver> taken = receive_descriptors(giver.path, "hello\n", kLong);
    EXPECT(taken.is_ok() && taken.value().text == text && taken.value().sockets.size() == 3);
    for (size_t i = 0; i < taken.value().sockets.size(); i++) {
      const Fd& socket = taken.value().sockets[i];
      EXPECT(port_of(socket) == port_of(sockets[i]) && socket.get() != sockets[i].get());
      EXPECT((::fcntl(socket.get(), F_GETFD) & FD_CLOEXEC) != 0);
    }
    EXPECT(::send(taken.value().connection.get(), "ready\n", 6, MSG_NOSIGNAL) == 6);
  }
  EXPECT(open_descriptors() == before);
}

TEST("sixty-four sockets can be handed over, and not one more") {
  int before = open_descriptors();
  {
    TempFolder folder;
    Fd socket = make_listener({.host = "127.0.0.1"}).take();
    std::vector<int> numbers(kHandOverSocketsMax + 1, socket.get());
    Giver giver(folder, [&](Fd& connection) {
      EXPECT(send_descriptors(connection.get(), numbers, "").error() == EMSGSIZE);
      std::span<const int> most(numbers.data(), kHandOverSocketsMax);
      EXPECT(send_descriptors(connection.get(), most, "").is_ok());
    });
    Result<HandedOver> taken = receive_descriptors(giver.path, "", kLong);
    EXPECT(taken.is_ok() && taken.value().sockets.size() == kHandOverSocketsMax);
    EXPECT(taken.value().text.empty());
  }
  EXPECT(open_descriptors() == before);
}

TEST("who leaves in the middle, says too much or nothing at all leaves no descriptor behind") {
  int before = open_descriptors();
  for (int way = 0; way < 3; way++) {
    TempFolder folder;
    Fd socket = make_listener({.host = "127.0.0.1"}).take();
    int number = socket.get();
    Giver giver(folder, [&](Fd& connection) {
      if (way == 2) {
        // Until the other side has given up.
        static_cast<void>(read_bytes(connection, 1));
        return;
      }
      // As send_descriptors() does, but without the end.
      std::string text(way == 0 ? 10 : kHandOverTextMax + 4096, 't');
      iovec vector = {text.data(), 10};
      msghdr message = {};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
      message.msg_iov = &vector;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      cmsghdr* part = CMSG_FIRSTHDR(&message);
      part->cmsg_level = SOL_SOCKET;
      part->cmsg_type = SCM_RIGHTS;
      part->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(part), &number, sizeof(int));
      EXPECT(::sendmsg(connection.get(), &message, MSG_NOSIGNAL) == 10);
      if (way == 1) {
        static_cast<void>(::send(connection.get(), text.data(), text.size() - 10, MSG_NOSIGNAL));
      }
    });
    Result<HandedOver> taken = receive_descriptors(giver.path, "", way == 2 ? 1 : kLong);
    constexpr int kErrors[] = {ECONNRESET, EMSGSIZE, ETIMEDOUT};
    test::context = "way " + std::to_string(way);
    EXPECT(taken.status().error() == kErrors[way]);
  }
  EXPECT(open_descriptors() == before);
}

TEST("nobody at the path is told at once") {
  TempFolder folder;
  EXPECT(receive_descriptors(folder.at("none"), "", kLong).status().error() == ENOENT);
  { Fd stale = make_listener({.unix_path = folder.at("stale")}).take(); }
  EXPECT(receive_descriptors(folder.at("stale"), "", kLong).status().error() == ECONNREFUSED);
  EXPECT(receive_descriptors(std::string(200, 'x'), "", kLong).status().error() == ENAMETOOLONG);
}

TEST("a datagram reaches a path and an abstract name, and nobody is an errno") {
  TempFolder folder;
  for (std::string name : {folder.at("notify"), "@millrace-" + folder.path}) {
    Fd receiver(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::copy(name.begin(), name.end(), address.sun_path);
    if (name[0] == '@') address.sun_path[0] = '\0';
    auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT(::bind(receiver.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
    EXPECT(send_datagram(name, "READY=1\nSTATUS=up").is_ok());
    char bytes[64];
    ssize_t got = ::recv(receiver.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    EXPECT(got > 0 && Bytes(bytes, static_cast<size_t>(got)) == "READY=1\nSTATUS=up");
  }
  EXPECT(send_datagram(folder.at("none"), "x").error() == ENOENT);
  EXPECT(send_datagram("", "x").error() == EINVAL);
}

// --- shares of what was handed over ---

TEST("a socket that was handed over is shared under its address, and its file is the new owner's") {
  TempFolder folder;
  std::string path = folder.at("app");
  int one = 0;
  int other = 0;
  Fd given = make_listener({.unix_path = path}).take();
  {
    ListenerShare first =
        ListenerShare::acquire({.unix_path = path, .fd = given.get()}, &one).take();
    Result<ListenerShare> second = ListenerShare::acquire({.unix_path = path}, &other);
    EXPECT(second.is_ok());
    EXPECT(!ListenerShare::acquire({.unix_path = path}, &one).is_ok());
  }
  EXPECT(receive_descriptors(path, "", 1).status().error() == ENOENT);
}

TEST("the file of a socket that somebody else listens on stays, whichever share goes last") {
  TempFolder folder;
  std::string path = folder.at("app");
  int one = 0;
  int other = 0;
  Fd kept;
  {
    ListenerShare last = ListenerShare::acquire({.unix_path = path}, &one).take();
    ListenerShare first = ListenerShare::acquire({.unix_path = path}, &other).take();
    kept = first.descriptor();
    first.keep_path();
  }
  EXPECT(receive_descriptors(path, "", 1).status().error() == ETIMEDOUT);
  kept.reset();
  EXPECT(receive_descriptors(path, "", 1).status().error() == ECONNREFUSED);
}

}  // namespace
}  // namespace millrace
