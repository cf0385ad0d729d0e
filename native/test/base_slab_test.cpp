// The slab: blocks that do not overlap, counted, used again.
#include "core/base/slab.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "test/harness.h"

namespace millrace {
namespace {

TEST("blocks are writable from end to end and do not overlap") {
  Slab slab;
  std::vector<char*> blocks;
  for (int i = 0; i < 300; i++) {  // more than four mappings
    blocks.push_back(slab.take());
    std::memset(blocks.back(), i % 127, Slab::kBlockSize);
  }
  EXPECT(slab.in_use() == 300);
  for (int i = 0; i < 300; i++) {
    char* block = blocks[static_cast<size_t>(i)];
    EXPECT(block[0] == i % 127 && block[Slab::kBlockSize - 1] == i % 127);
    EXPECT(std::count(block, block + Slab::kBlockSize, static_cast<char>(i % 127)) ==
           static_cast<std::ptrdiff_t>(Slab::kBlockSize));
  }
  std::sort(blocks.begin(), blocks.end());
  for (size_t i = 1; i < blocks.size(); i++) {
    EXPECT(blocks[i] >= blocks[i - 1] + Slab::kBlockSize);
  }
  for (char* block : blocks) slab.give_back(block);
  EXPECT(slab.in_use() == 0);
}

TEST("a block given back is the next one taken") {
  Slab slab;
  char* first = slab.take();
  char* second = slab.take();
  EXPECT(second == first + Slab::kBlockSize);  // in address order
  slab.give_back(first);
  EXPECT(slab.in_use() == 1);
  EXPECT(slab.take() == first);
  slab.give_back(second);
  slab.give_back(first);
}

}  // namespace
}  // namespace millrace
