// What the tests of connections share: what JavaScript is told of them as lines of text, a lane
// without room, a listener behind a proxy.
#pragma once

#include <cerrno>
#include <string>
#include <vector>

#include "test/loop_rig.h"

namespace millrace::test {

inline const char* cause_name(uint32_t cause) {
  static const char* const names[] = {
#define MR_CAUSE(name, number, level, sentence) #name,
#include "core/model/causes.def"
#undef MR_CAUSE
  };
  return cause < kCauseCount ? names[cause] : "?";
}

// Their numbers differ between systems.
inline std::string error_name(uint32_t error) {
  struct Named {
    int error;
    const char* name;
  };
  constexpr Named all[] = {{ECONNRESET, " ECONNRESET"}, {EPIPE, " EPIPE"},
                           {ETIMEDOUT, " ETIMEDOUT"},   {EHOSTUNREACH, " EHOSTUNREACH"},
                           {ENETDOWN, " ENETDOWN"},     {0, ""}};
  for (const Named& one : all) {
    if (static_cast<uint32_t>(one.error) == error) return one.name;
  }
  return " " + std::to_string(error);
}

inline std::string line_of(const Taken& taken) {
  std::string name = std::to_string(taken.head_a) + "/" + std::to_string(taken.status);
  switch (taken.kind) {
    case EventKind::Connected: return "connected " + name + " " + taken.peer;
    case EventKind::Disconnected: {
      std::string line = "disconnected " + name + " " + cause_name(taken.head_b & 0xff);
      auto code = static_cast<ErrorCode>(taken.head_b >> 8 & 0xfff);
      if (code != ErrorCode::None) line.append(" ").append(error_code_name(code));
      return line + error_name(taken.head_b >> 20);
    }
    case EventKind::Request: return "request " + name + " " + taken.target;
    case EventKind::Aborted: return "aborted";
    case EventKind::PeerClosed: return "half-closed";
    case EventKind::Opened: return "opened";
    case EventKind::Ended: return "ended";
    case EventKind::Access: return "access " + name + " " + std::to_string(taken.head_b);
    default: return "other " + std::to_string(static_cast<int>(taken.kind));
  }
}

inline std::string lines_of(const std::vector<Taken>& events) {
  std::string lines;
  for (const Taken& taken : events) lines += (lines.empty() ? "" : "; ") + line_of(taken);
  return lines;
}

constexpr Observation kAll{.connections = true};

inline uint16_t bit(CloseCause cause) {
  return static_cast<uint16_t>(1u << static_cast<unsigned>(cause));
}

inline bool put_named(Rig& rig, CommandKind kind, uint32_t index, uint32_t generation,
                      CloseCause cause = CloseCause::CloseCalled, bool reset = false) {
  Command command;
  command.kind = static_cast<uint16_t>(kind);
  command.exchange = {index, generation};
  command.status = static_cast<uint16_t>(cause);
  command.amount = reset ? 1 : 0;
  bool is_put = put_command(rig.lane(), command);
  rig.turn();
  return is_put;
}

// Takes what is there; expects a request to be the last of it.
inline ExchangeId last_request(Rig& rig) {
  std::vector<Taken> taken = rig.take();
  EXPECT(!taken.empty() && taken.back().kind == EventKind::Request);
  return taken.empty() ? ExchangeId() : taken.back().id;
}

inline Limits roomy() {
  Limits limits;
  limits.buffered_bytes_max = int64_t{1} << 30;
  limits.pipeline_max = 1024;
  return limits;
}

// Leaves no room in the lane for anything but a few notices. Returns how many requests that took.
inline size_t fill(Rig& rig, SimPeer peer) {
  size_t count = 0;
  for (; rig.loop().can_emit(); count++) rig.send(peer, post("/fill", 16'000));
  return count;
}

constexpr const char* kProxied = "PROXY TCP4 203.0.113.7 198.51.100.1 4000 443\r\n";

// A listener that speaks of its clients that way.
inline SimPeer connect_proxied(Rig& rig, const std::string& bytes) {
  SimPeer peer = rig.sim().connect(1);
  rig.sim().write(peer, bytes);
  rig.turn(6);
  return peer;
}

inline void listen_proxied(Rig& rig, ProxyMode mode) {
  RoleScope role(loop_thread);
  EXPECT(rig.loop().listen(1, Fd(), find_protocol("http", mode), mode).is_ok());
}

}  // namespace millrace::test
