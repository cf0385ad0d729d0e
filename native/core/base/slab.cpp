#include "core/base/slab.h"

#include <sys/mman.h>

#include "core/base/check.h"

namespace millrace {

Slab::~Slab() {
  for (void* mapping : mappings_) ::munmap(mapping, kBlockSize * kBlocksPerMapping);
}

char* Slab::take() {
  if (free_.empty()) map_more();
  char* block = free_.back();
  free_.pop_back();
  in_use_++;
  return block;
}

void Slab::give_back(char* block) {
  MR_DCHECK(in_use_ > 0);
  free_.push_back(block);
  in_use_--;
}

void Slab::map_more() {
  const size_t bytes = kBlockSize * kBlocksPerMapping;
  void* mapping =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MR_CHECK(mapping != MAP_FAILED);
  mappings_.push_back(mapping);
  free_.reserve(mappings_.size() * kBlocksPerMapping);
  // Pushed in reverse, so that blocks are handed out in address order.
  for (size_t i = kBlocksPerMapping; i-- > 0;) {
    free_.push_back(static_cast<char*>(mapping) + i * kBlockSize);
  }
}

}  // namespace millrace
