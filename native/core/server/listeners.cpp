#include "core/server/listeners.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <vector>

#include "core/lane/group.h"

namespace millrace {
namespace {

struct Shared {
  Fd socket;
  bool keeps_path = false;
  std::vector<const void*> owners;
};

struct Registry {
  std::mutex mutex;
  std::map<std::string, Shared> sockets;  // guarded by mutex
};

// Never destroyed: a worker may still stop its servers while the process exits.
Registry& registry() {
  static Registry* instance = new Registry();
  return *instance;
}

std::string key_of(const ListenRequest& request, uint16_t port) {
  if (request.reuse_port) return "";
  if (!request.unix_path.empty()) return "unix:" + request.unix_path;
  if (port == 0 || request.host.empty()) return "";
  return request.host + "|" + std::to_string(port);
}

}  // namespace

ListenerShare::ListenerShare(ListenerShare&& other) noexcept
    : socket_(std::move(other.socket_)),
      key_(std::exchange(other.key_, {})),
      owner_(other.owner_),
      unix_path_(std::exchange(other.unix_path_, {})) {}

ListenerShare& ListenerShare::operator=(ListenerShare&& other) noexcept {
  if (this == &other) return *this;
  release();
  socket_ = std::move(other.socket_);
  key_ = std::exchange(other.key_, {});
  owner_ = other.owner_;
  unix_path_ = std::exchange(other.unix_path_, {});
  return *this;
}

ListenerShare::~ListenerShare() { release(); }

Result<ListenerShare> ListenerShare::acquire(const ListenRequest& request, const void* owner) {
  ListenerShare share;
  share.key_ = key_of(request, request.port);
  share.owner_ = owner;
  Registry& shared = registry();
  std::lock_guard lock(shared.mutex);
  auto found = share.key_.empty() ? shared.sockets.end() : shared.sockets.find(share.key_);
  if (found != shared.sockets.end()) {
    std::vector<const void*>& owners = found->second.owners;
    if (std::find(owners.begin(), owners.end(), owner) != owners.end()) {
      share.key_.clear();
      return Status::failed(EADDRINUSE, "listen");
    }
    share.socket_ = found->second.socket.duplicate();
    if (!share.socket_.is_open()) {
      share.key_.clear();
      return Status::failed(errno, "fcntl");
    }
    owners.push_back(owner);
    Group::count_sharing(1);
    share.unix_path_ = request.unix_path;
    return Result<ListenerShare>(std::move(share));
  }
  Result<Fd> made = make_listener(request);
  if (!made.is_ok()) {
    share.key_.clear();
    return made.status();
  }
  share.socket_ = made.take();
  share.unix_path_ = request.unix_path;
  if (share.key_.empty()) {
    // Port 0: from now on others can ask for the port that it became.
    Result<Address> bound = listener_address(share.socket_);
    if (bound.is_ok()) share.key_ = key_of(request, bound.value().port);
  }
  if (share.key_.empty()) return Result<ListenerShare>(std::move(share));
  Fd kept = share.socket_.duplicate();
  if (!kept.is_open()) {
    int error = errno;
    share.key_.clear();
    return Status::failed(error, "fcntl");
  }
  Shared& entry = shared.sockets[share.key_];
  entry.socket = std::move(kept);
  entry.owners.push_back(owner);
  return Result<ListenerShare>(std::move(share));
}

void ListenerShare::keep_path() {
  if (key_.empty()) return unix_path_.clear();
  std::lock_guard lock(registry().mutex);
  auto found = registry().sockets.find(key_);
  if (found != registry().sockets.end()) found->second.keeps_path = true;
}

void ListenerShare::release() {
  if (!socket_.is_open()) return;
  socket_.reset();
  if (key_.empty()) {
    if (!unix_path_.empty()) remove_unix_socket(unix_path_);
    return;
  }
  Registry& shared = registry();
  std::lock_guard lock(shared.mutex);
  auto found = shared.sockets.find(key_);
  if (found == shared.sockets.end()) return;
  std::vector<const void*>& owners = found->second.owners;
  owners.erase(std::remove(owners.begin(), owners.end(), owner_), owners.end());
  if (!owners.empty()) return Group::count_sharing(-1);
  if (!unix_path_.empty() && !found->second.keeps_path) remove_unix_socket(unix_path_);
  shared.sockets.erase(found);
}

}  // namespace millrace
