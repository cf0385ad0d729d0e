#include "addon/environment.h"

#include <algorithm>

namespace millrace::addon {

uint32_t Environment::add_lane() {
  auto gap = std::find(lanes_.begin(), lanes_.end(), nullptr);
  auto number = static_cast<uint32_t>(gap - lanes_.begin());
  if (gap == lanes_.end()) lanes_.push_back(nullptr);
  MR_CHECK(number < Bridge::kLanesMax);
  return number;
}

size_t Environment::lane_count() const {
  return lanes_.size() - static_cast<size_t>(std::count(lanes_.begin(), lanes_.end(), nullptr));
}

Host* Environment::host(uint32_t number) const {
  auto found = hosts_.find(number);
  return found == hosts_.end() ? nullptr : found->second;
}

OpenLog* Environment::log(uint32_t number) const {
  auto found = logs_.find(number);
  return found == logs_.end() ? nullptr : found->second;
}

}  // namespace millrace::addon
