// Environment: what one Node environment (main thread or worker) holds: its servers and the lanes
// by number. Owned by: JS thread of the environment.
#pragma once

#include <napi.h>

#include <map>
#include <string>
#include <vector>

#include "addon/bridge.h"

namespace millrace::addon {

class Host;
class OpenLog;

class Environment final {
 public:
  [[nodiscard]] uint32_t add_lane();
  void set_lane(uint32_t number, Bridge* bridge) { lanes_[number] = bridge; }
  void remove_lane(uint32_t number) { lanes_[number] = nullptr; }
  // Null when the lane is gone: the server was released.
  [[nodiscard]] Bridge* lane_of(uint32_t handle) const {
    uint32_t number = handle >> Bridge::kSlotBits;
    return number < lanes_.size() ? lanes_[number] : nullptr;
  }
  [[nodiscard]] size_t lane_count() const;

  [[nodiscard]] uint32_t next_host() { return ++last_host_; }
  void add_host(uint32_t number, Host* host) { hosts_[number] = host; }
  void remove_host(uint32_t number) { hosts_.erase(number); }
  [[nodiscard]] Host* host(uint32_t number) const;
  [[nodiscard]] const std::map<uint32_t, Host*>& hosts() const { return hosts_; }

  [[nodiscard]] uint32_t next_log() { return ++last_log_; }
  void add_log(uint32_t number, OpenLog* log) { logs_[number] = log; }
  void remove_log(uint32_t number) { logs_.erase(number); }
  [[nodiscard]] OpenLog* log(uint32_t number) const;

  // Scratch of respondMany(): grows to what src/outbox.ts sends at once and stays.
  [[nodiscard]] std::u16string& answers_text() { return answers_text_; }

 private:
  std::u16string answers_text_;
  std::vector<Bridge*> lanes_;
  std::map<uint32_t, Host*> hosts_;
  uint32_t last_host_ = 0;
  std::map<uint32_t, OpenLog*> logs_;
  uint32_t last_log_ = 0;
};

}  // namespace millrace::addon
