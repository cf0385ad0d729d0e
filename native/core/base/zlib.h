// zlib as this process already has it: the one inside Node where we are loaded into Node, the
// system's shared library elsewhere. Found at run time, once, by name; so one binary fits every
// Node whatever it calls the symbols, and the core needs no header of it. Only raw deflate.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

// The layout of z_stream, unchanged since zlib 1.0 and part of its ABI.
struct ZStream {
  const uint8_t* next_in = nullptr;
  unsigned int avail_in = 0;
  unsigned long total_in = 0;
  uint8_t* next_out = nullptr;
  unsigned int avail_out = 0;
  unsigned long total_out = 0;
  const char* message = nullptr;
  void* state = nullptr;
  void* (*allocate)(void*, unsigned int, unsigned int) = nullptr;
  void (*release)(void*, void*) = nullptr;
  void* opaque = nullptr;
  int data_type = 0;
  unsigned long adler = 0;
  unsigned long reserved = 0;
};

struct Zlib {
  int (*deflate_init)(ZStream*, int level, int method, int window_bits, int mem_level, int strategy,
                      const char* version, int stream_size) = nullptr;
  int (*deflate)(ZStream*, int flush) = nullptr;
  int (*deflate_reset)(ZStream*) = nullptr;
  int (*deflate_end)(ZStream*) = nullptr;
  int (*inflate_init)(ZStream*, int window_bits, const char* version, int stream_size) = nullptr;
  int (*inflate)(ZStream*, int flush) = nullptr;
  int (*inflate_reset)(ZStream*) = nullptr;
  int (*inflate_end)(ZStream*) = nullptr;
  const char* version = nullptr;
};

// Null where there is none: then permessage-deflate is never agreed on. Any thread.
[[nodiscard]] const Zlib* zlib();

}  // namespace millrace
