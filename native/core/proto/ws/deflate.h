// Compressing and decompressing messages (RFC 7692 section 7.2). Memory is bounded: streams without
// context takeover are borrowed from a pool for one message, those with it belong to their socket.
// Owned by: loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/blob.h"
#include "core/base/bytes.h"
#include "core/base/zlib.h"
#include "core/model/error.h"
#include "core/proto/ws/extension.h"

namespace millrace::ws {

class Deflater;  // one raw deflate stream
class Inflater;  // one raw inflate stream

// Idle streams of one loop, a few of each kind. Streams given back beyond that are freed.
class DeflatePool final {
 public:
  static constexpr size_t kIdleMax = 4;  // of each window size and level, of each kind
  DeflatePool();
  ~DeflatePool();
  DeflatePool(const DeflatePool&) = delete;
  DeflatePool& operator=(const DeflatePool&) = delete;

  // Null when zlib is not there or memory is short.
  [[nodiscard]] std::unique_ptr<Deflater> take_deflater(int level, int window_bits);
  [[nodiscard]] std::unique_ptr<Inflater> take_inflater(int window_bits);
  void give_back(std::unique_ptr<Deflater> deflater);  // reset first
  void give_back(std::unique_ptr<Inflater> inflater);
  [[nodiscard]] size_t idle_count() const { return deflaters_.size() + inflaters_.size(); }

 private:
  std::vector<std::unique_ptr<Deflater>> deflaters_;
  std::vector<std::unique_ptr<Inflater>> inflaters_;
};

class Deflater final {
 public:
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  ~Deflater();
  // `level`: 1 fast … 9 small; `window_bits`: 9 … 15. Null when zlib is not there or memory is
  // short.
  [[nodiscard]] static std::unique_ptr<Deflater> make(int level, int window_bits);
  // Appends the message, compressed and without its last 00 00 ff ff (7.2.1), behind the first
  // `used` bytes of `out`, which grows. False when zlib fails: `used` stands, and the deflater must
  // be reset or dropped.
  [[nodiscard]] bool compress(Bytes message, Blob& out, size_t& used);
  void reset();  // forgets earlier messages
  [[nodiscard]] int level() const { return level_; }
  [[nodiscard]] int window_bits() const { return window_bits_; }

 private:
  Deflater() = default;
  ZStream stream_;
  int level_ = 0;
  int window_bits_ = 0;
};

class Inflater final {
 public:
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater();
  // `window_bits`: 8 … 15. A peer that reaches back farther than it agreed to is told only where
  // its bytes are no longer there; with 15 the verdict depends on nothing but the bytes.
  [[nodiscard]] static std::unique_ptr<Inflater> make(int window_bits);
  // Appends what `piece` of a message stands for behind the first `used` bytes of `out`, which
  // grows with what really came out and is never larger than `size_max` bytes through this.
  // `is_last`: the message ends here (7.2.2). None, WsBadDeflate, or WsTooBig as soon as one byte
  // more would come out. Work is bounded by the bytes that came and those that come out. After an
  // error the inflater must be reset or dropped.
  [[nodiscard]] ErrorCode inflate(Bytes piece, bool is_last, size_t size_max, Blob& out,
                                  size_t& used);
  void reset();  // forgets earlier messages
  [[nodiscard]] int window_bits() const { return window_bits_; }

 private:
  Inflater() = default;
  ErrorCode take(Bytes piece, size_t size_max, Blob& out, size_t& used);
  ErrorCode step_once(size_t size_max, Blob& out, size_t& used);
  ZStream stream_;
  int window_bits_ = 0;
  bool is_between_blocks_ = true;  // at a byte's end, all written: nothing is missing
};

}  // namespace millrace::ws
