#include "core/base/slab.h"

#include <sys/mman.h>

#include "core/base/check.h"

namespace millrace {

Slab::~Slab() {
  for (void* mapping : mappings_) ::munmap(mapping, kBlockSize * kBlocksPerMapping);
}

char* Slab::take() {
  if (free_ == nullptr) map_more();
  FreeBlock* block = free_;
  free_ = block->next;
  in_use_++;
  return reinterpret_cast<char*>(block);
}

void Slab::give_back(char* block) {
  MR_DCHECK(in_use_ > 0);
  auto* freed = reinterpret_cast<FreeBlock*>(block);
  freed->next = free_;
  free_ = freed;
  in_use_--;
}

void Slab::map_more() {
  const size_t bytes = kBlockSize * kBlocksPerMapping;
  void* mapping =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MR_CHECK(mapping != MAP_FAILED);
  mappings_.push_back(mapping);
  // Pushed in reverse, so that blocks are handed out in address order.
  for (size_t i = kBlocksPerMapping; i-- > 0;) {
    auto* block = reinterpret_cast<FreeBlock*>(static_cast<char*>(mapping) + i * kBlockSize);
    block->next = free_;
    free_ = block;
  }
}

}  // namespace millrace
