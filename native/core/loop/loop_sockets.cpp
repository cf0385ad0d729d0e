// What a loop does for sockets beyond their sessions: topics, publishing, connections of our own.
#include <cerrno>
#include <cstring>

#include "core/loop/loop.h"
#include "core/proto/ws/client.h"

namespace millrace {
namespace {

constexpr size_t kKeyBytes = 24;        // of a Sec-WebSocket-Key
constexpr size_t kMailTurnMax = 16384;  // messages to sockets from the mailbox, in one turn

const SocketSettings& default_settings() {
  static const SocketSettings settings;
  return settings;
}

Bytes header_of(const Command& command) {
  return {reinterpret_cast<const char*>(&command) + sizeof(Command), command.header_length};
}

Bytes body_of(const Command& command) {
  return {header_of(command).data() + command.header_length, command.body_length};
}

}  // namespace

const SocketSettings& Loop::socket_settings(uint32_t number) const {
  return number < socket_settings_.size() ? socket_settings_[number] : default_settings();
}

// --- topics ---

// As the hub has them: space, NUL, topic. Valid until the next call.
Bytes Loop::topic_key(Bytes topic) {
  topic_key_.assign(topic_space_).push_back('\0');
  return topic_key_.append(topic);
}

void Loop::take_of_socket(const Command& command, uint32_t index) {
  switch (static_cast<CommandKind>(command.kind)) {
    case CommandKind::Expire: return connections_[index]->expire();
    case CommandKind::Subscribe:
      if (exchanges_.is_socket(command.exchange) &&
          topics_.subscribe(topic_key(body_of(command)), command.exchange))
        stats_.subscriptions.increment();
      return;
    case CommandKind::Unsubscribe:
      if (topics_.unsubscribe(topic_key(body_of(command)), command.exchange))
        stats_.subscriptions.decrement();
      return;
    default: return;
  }
}

void Loop::end_socket(ExchangeId id) {
  size_t before = topics_.subscription_count();
  topics_.drop(id);
  stats_.subscriptions.add(static_cast<int64_t>(topics_.subscription_count()) -
                           static_cast<int64_t>(before));
  exchanges_.close(id);
}

void Loop::publish(const Command& command) {
  SharedMessageRef message(reinterpret_cast<SharedMessage*>(command.blob));
  deliver(topic_key(header_of(command)), *message.get(), command.flags, command.exchange);
}

// What others have published: by now in the order in which each of them did.
void Loop::take_mail() {
  if (posts_.empty() && mailbox_.is_empty()) return;
  auto dropped = static_cast<int64_t>(mailbox_.dropped());
  stats_.dropped_messages.add(dropped - std::exchange(mail_dropped_, dropped));
  if (posts_.empty()) mailbox_.take(posts_);
  // A share of them: a busy publisher elsewhere must not keep this loop from its connections.
  size_t deliveries = 0;
  for (; next_post_ < posts_.size() && deliveries < kMailTurnMax; next_post_++) {
    Post& post = posts_[next_post_];
    deliver(post.topic, *post.message.get(), kCommandCompress, {});
    deliveries += addressees_.size() + 1;
  }
  if (next_post_ < posts_.size()) return;
  posts_.clear();
  next_post_ = 0;
}

void Loop::deliver(Bytes key, SharedMessage& message, uint16_t flags, ExchangeId except) {
  // A copy: whoever is closed for its backlog leaves the list.
  addressees_ = topics_.subscribers(key);
  Command command;
  command.size = sizeof(Command);
  command.kind = static_cast<uint16_t>(CommandKind::Send);
  command.flags = static_cast<uint16_t>((flags & kCommandCompress) | kCommandShared);
  command.status = message.opcode();
  for (ExchangeId id : addressees_) {
    if (id == except) continue;
    uint32_t index = exchanges_.connection_of(id);
    if (index == UINT32_MAX) continue;
    message.keep();
    command.exchange = id;
    command.blob = reinterpret_cast<uint64_t>(&message);
    connections_[index]->on_command(command);
  }
}

// --- connections of our own ---

// exchange: the ticket and the number of the settings; status: the port; amount: milliseconds.
void Loop::dial(const Command& command) {
  auto fd = static_cast<int32_t>(static_cast<uint32_t>(command.blob));
  DialTarget target;
  target.address = header_of(command);
  target.port = command.status;
  target.fd = fd;
  bool is_path =
      target.address.find('/') != Bytes::npos || target.address.substr(0, 1) == Bytes("\0", 1);
  bool is_v6 = target.address.find(':') != Bytes::npos;
  target.family = is_path ? Family::Unix : is_v6 ? Family::IPv6 : Family::IPv4;
  auto refuse = [&](ErrorCode error, int number) {
    notify({{},
            EventKind::Refused,
            static_cast<uint16_t>(error),
            command.exchange.slot,
            static_cast<uint32_t>(number)});
  };
  if (closing_ || !exchanges_.has_room() || open_connections_ >= connections_max_) {
    Fd dropped(fd);
    return refuse(closing_ ? ErrorCode::Closed : ErrorCode::WsConnect, closing_ ? 0 : EMFILE);
  }
  Result<ConnectionId> id = poller_->connect(target);
  if (!id.is_ok()) return refuse(ErrorCode::WsConnect, id.status().error());
  begin_dial(id.value(), command, target);
}

void Loop::begin_dial(ConnectionId id, const Command& command, const DialTarget& target) {
  if (connections_.size() <= id.index) connections_.resize(id.index + 1);
  MR_CHECK(connections_[id.index] == nullptr);
  Address peer;
  peer.family = target.family;
  peer.port = target.port;
  bool fits = target.family != Family::Unix && target.address.size() <= sizeof(peer.text);
  peer.length = static_cast<uint8_t>(fits ? target.address.size() : 0);
  std::memcpy(peer.text, target.address.data(), peer.length);
  connections_[id.index] = std::make_unique<Connection>(*this, id, kNoListener, peer);
  Connection& connection = *connections_[id.index];
  open_connections_++;
  if (group_) group_->opened();
  stats_.connections.increment();
  stats_.idle.increment();
  Bytes body = body_of(command);
  Milliseconds deadline = now_ + static_cast<Milliseconds>(command.amount);
  connection.dial(
      ws::make_client({.id = connection.open_exchange(),
                       .ticket = command.exchange.slot,
                       .settings = socket_settings(command.exchange.generation),
                       .key = std::string(body.substr(0, kKeyBytes)),
                       .request = std::string(body.substr(std::min(kKeyBytes, body.size()))),
                       .deadline = deadline}),
      deadline);
}

}  // namespace millrace
