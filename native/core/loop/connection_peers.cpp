// Connections counted by the address of their peer (limits.maxConnectionsPerAddress): each once,
// when that address is known, until it ends.
#include <array>
#include <utility>

#include "core/loop/loop.h"
#include "core/proto/proxy/addresses.h"

namespace millrace {
namespace {

template <size_t size>
uint64_t big_endian(const std::array<uint8_t, size>& bytes, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; i++) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

// What is mapped into IPv6 is an IPv4 address here already.
bool read_peer_key(const Address& address, PeerKey& key) {
  proxy::Ipv4Bytes ipv4{};
  proxy::Ipv6Bytes ipv6{};
  switch (address.family) {
    case Family::Unix: return false;
    case Family::IPv4:
      if (!proxy::read_ipv4(address.view(), ipv4)) return false;
      key = {.prefix = big_endian(ipv4, 4), .is_ipv6 = false};
      return true;
    case Family::IPv6:
      if (!proxy::read_ipv6(address.view(), ipv6)) return false;
      key = {.prefix = big_endian(ipv6, 8), .is_ipv6 = true};
      return true;
  }
  return false;
}

// It may be over afterwards.
void Connection::join_peers() {
  PeerCounts* counts = loop_.peer_counts();
  if (counts == nullptr || standing_ != PeerStanding::Unasked) return;
  PeerKey key;
  standing_ = read_peer_key(peer_, key) ? counts->add(key) : PeerStanding::Uncounted;
  if (standing_ != PeerStanding::Excess) return;
  count_refusal(ErrorCode::TooManyConnections);
  abort(CloseCause::ProtocolViolated);
}

void Connection::leave_peers() {
  if (standing_ != PeerStanding::Admitted && standing_ != PeerStanding::Refused) return;
  PeerKey key;
  static_cast<void>(read_peer_key(peer_, key));  // as it was read before
  loop_.peer_counts()->give_back(key, std::exchange(standing_, PeerStanding::Uncounted));
}

ErrorCode Connection::refused_at_entry() const {
  return standing_ == PeerStanding::Refused ? ErrorCode::TooManyConnections : ErrorCode::None;
}

}  // namespace millrace
