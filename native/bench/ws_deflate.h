// permessage-deflate (RFC 7692) of a client, with the system's libz, which is found at run time:
// the benches build where there are no headers of it. Shares nothing with the core.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "bench/program.h"

namespace millrace::bench {

// z_stream: part of the ABI of libz.so.1.
struct DeflateStream {
  const char* next_in = nullptr;
  unsigned int avail_in = 0;
  unsigned long total_in = 0;
  char* next_out = nullptr;
  unsigned int avail_out = 0;
  unsigned long total_out = 0;
  const char* message = nullptr;
  void* state = nullptr;
  void* allocate = nullptr;
  void* release = nullptr;
  void* opaque = nullptr;
  int data_type = 0;
  unsigned long adler = 0;
  unsigned long reserved = 0;
};

struct LibZ {
  using Version = const char* (*)();
  using DeflateInit = int (*)(DeflateStream*, int, int, int, int, int, const char*, int);
  using InflateInit = int (*)(DeflateStream*, int, const char*, int);
  using Step = int (*)(DeflateStream*, int flush);
  using Call = int (*)(DeflateStream*);

  Version version;
  DeflateInit deflate_init;
  Step deflate;
  Call deflate_reset;
  Call deflate_end;
  InflateInit inflate_init;
  Step inflate;
  Call inflate_reset;
  Call inflate_end;

  [[nodiscard]] static const LibZ& get() {
    static const LibZ lib = load();
    return lib;
  }

 private:
  [[nodiscard]] static LibZ load() {
    void* file = dlopen("libz.so.1", RTLD_NOW);
    if (file == nullptr) fail("--deflate needs libz.so.1: ", dlerror());
    auto at = [file](const char* name) {
      void* address = dlsym(file, name);
      if (address == nullptr) fail("libz.so.1 has no ", name);
      return address;
    };
    return {
        .version = reinterpret_cast<Version>(at("zlibVersion")),
        .deflate_init = reinterpret_cast<DeflateInit>(at("deflateInit2_")),
        .deflate = reinterpret_cast<Step>(at("deflate")),
        .deflate_reset = reinterpret_cast<Call>(at("deflateReset")),
        .deflate_end = reinterpret_cast<Call>(at("deflateEnd")),
        .inflate_init = reinterpret_cast<InflateInit>(at("inflateInit2_")),
        .inflate = reinterpret_cast<Step>(at("inflate")),
        .inflate_reset = reinterpret_cast<Call>(at("inflateReset")),
        .inflate_end = reinterpret_cast<Call>(at("inflateEnd")),
    };
  }
};

inline constexpr int kSyncFlush = 2;
// What ends a sync flush, and does not travel (RFC 7692 7.2.1).
inline constexpr std::string_view kDeflateTail("\0\0\xff\xff", 4);

class Deflater final {
 public:
  // Fast, because only the server's work is measured.
  explicit Deflater(int window_bits) {
    const LibZ& lib = LibZ::get();
    constexpr int kLevel = 1;
    constexpr int kMethod = 8;
    if (lib.deflate_init(&stream_, kLevel, kMethod, -window_bits, 8, 0, lib.version(),
                         sizeof(stream_)) != 0)
      fail("deflateInit2 failed");
  }
  ~Deflater() { LibZ::get().deflate_end(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  // The compressed message, until the next call.
  [[nodiscard]] std::string_view compress(std::string_view message, bool forget) {
    const LibZ& lib = LibZ::get();
    output_.resize(message.size() + message.size() / 8 + 64);
    stream_.next_in = message.data();
    stream_.avail_in = static_cast<unsigned int>(message.size());
    stream_.next_out = output_.data();
    stream_.avail_out = static_cast<unsigned int>(output_.size());
    lib.deflate(&stream_, kSyncFlush);
    size_t size = output_.size() - stream_.avail_out;
    if (stream_.avail_in > 0 || stream_.avail_out == 0 || size < kDeflateTail.size())
      fail("deflate did not take a message");
    if (forget) lib.deflate_reset(&stream_);
    return std::string_view(output_).substr(0, size - kDeflateTail.size());
  }

 private:
  DeflateStream stream_;
  std::string output_;
};

class Inflater final {
 public:
  explicit Inflater(size_t size_max) : output_(size_max + 1, '\0') {
    const LibZ& lib = LibZ::get();
    constexpr int kWindowBits = 15;
    if (lib.inflate_init(&stream_, -kWindowBits, lib.version(), sizeof(stream_)) != 0)
      fail("inflateInit2 failed");
  }
  ~Inflater() { LibZ::get().inflate_end(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // The message, until the next call; false when it is none or is too long.
  [[nodiscard]] bool expand(std::string_view compressed, bool forget, std::string_view& message) {
    stream_.next_out = output_.data();
    stream_.avail_out = static_cast<unsigned int>(output_.size());
    bool whole = take(compressed) && take(kDeflateTail) && stream_.avail_out > 0;
    message = std::string_view(output_).substr(0, output_.size() - stream_.avail_out);
    if (forget) LibZ::get().inflate_reset(&stream_);
    return whole;
  }

 private:
  [[nodiscard]] bool take(std::string_view input) {
    stream_.next_in = input.data();
    stream_.avail_in = static_cast<unsigned int>(input.size());
    int result = LibZ::get().inflate(&stream_, kSyncFlush);
    constexpr int kEnd = 1;          // of a block that says it is the last one
    constexpr int kNoProgress = -5;  // nothing to do: an empty message
    return (result == 0 || result == kEnd || result == kNoProgress) && stream_.avail_in == 0;
  }

  DeflateStream stream_;
  std::string output_;
};

}  // namespace millrace::bench
