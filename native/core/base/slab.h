// Slab: fixed-size blocks of one loop, mapped in steps and never given back before the loop ends.
// Owned by: loop thread. Blocks are counted, so a leak shows in the loop's statistics.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/bytes.h"

namespace millrace {

class Slab final {
 public:
  static constexpr size_t kBlockSize = 4096;

  Slab() = default;
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  [[nodiscard]] char* take();
  void give_back(char* block);
  [[nodiscard]] size_t in_use() const { return in_use_; }

 private:
  static constexpr size_t kBlocksPerMapping = 64;
  void map_more();

  // Not a list through the blocks: their first lines share one set of the cache.
  std::vector<char*> free_;
  size_t in_use_ = 0;
  std::vector<void*> mappings_;
};

}  // namespace millrace
