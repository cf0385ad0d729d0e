#include "core/proto/ws/deflate.h"

#include <algorithm>

#include "core/base/check.h"

namespace millrace::ws {
namespace {

// Numbers of zlib.h.
constexpr int kMethod = 8;
constexpr int kStrategy = 0;
constexpr int kNoFlush = 0;
constexpr int kSyncFlush = 2;
constexpr int kOk = 0;
constexpr int kStreamEnd = 1;
constexpr int kBufferError = -5;

constexpr int kMemoryLevel = 8;
constexpr size_t kPieceMax = size_t{1} << 30;  // fits zlib's unsigned int
constexpr size_t kOutMin = 64;  // above 6, or deflate() may repeat the mark of a flush
constexpr Bytes kTail("\x00\x00\xff\xff", 4);  // 7.2.1

unsigned int piece_of(size_t size) { return static_cast<unsigned int>(std::min(size, kPieceMax)); }

uint8_t* at(Blob& out, size_t offset) { return reinterpret_cast<uint8_t*>(out.data()) + offset; }

template <typename Stream, typename Fits>
std::unique_ptr<Stream> take_idle(std::vector<std::unique_ptr<Stream>>& idle, Fits fits) {
  const auto found = std::find_if(idle.begin(), idle.end(), [&](auto& one) { return fits(*one); });
  if (found == idle.end()) return nullptr;
  std::unique_ptr<Stream> stream = std::move(*found);
  *found = std::move(idle.back());
  idle.pop_back();
  return stream;
}

template <typename Stream, typename Fits>
void keep_idle(std::vector<std::unique_ptr<Stream>>& idle, std::unique_ptr<Stream> stream,
               Fits fits) {
  const auto count = std::count_if(idle.begin(), idle.end(), [&](auto& one) { return fits(*one); });
  if (static_cast<size_t>(count) >= DeflatePool::kIdleMax) return;
  stream->reset();
  idle.push_back(std::move(stream));
}

}  // namespace

DeflatePool::DeflatePool() = default;
DeflatePool::~DeflatePool() = default;

std::unique_ptr<Deflater> DeflatePool::take_deflater(int level, int window_bits) {
  std::unique_ptr<Deflater> idle = take_idle(deflaters_, [&](const Deflater& one) {
    return one.level() == level && one.window_bits() == window_bits;
  });
  return idle != nullptr ? std::move(idle) : Deflater::make(level, window_bits);
}

std::unique_ptr<Inflater> DeflatePool::take_inflater(int window_bits) {
  std::unique_ptr<Inflater> idle =
      take_idle(inflaters_, [&](const Inflater& one) { return one.window_bits() == window_bits; });
  return idle != nullptr ? std::move(idle) : Inflater::make(window_bits);
}

void DeflatePool::give_back(std::unique_ptr<Deflater> deflater) {
  MR_DCHECK(deflater != nullptr);
  const int level = deflater->level();
  const int window_bits = deflater->window_bits();
  keep_idle(deflaters_, std::move(deflater), [&](const Deflater& one) {
    return one.level() == level && one.window_bits() == window_bits;
  });
}

void DeflatePool::give_back(std::unique_ptr<Inflater> inflater) {
  MR_DCHECK(inflater != nullptr);
  const int window_bits = inflater->window_bits();
  keep_idle(inflaters_, std::move(inflater),
            [&](const Inflater& one) { return one.window_bits() == window_bits; });
}

std::unique_ptr<Deflater> Deflater::make(int level, int window_bits) {
  const Zlib* const library = zlib();
  if (library == nullptr) return nullptr;
  std::unique_ptr<Deflater> deflater(new Deflater);
  deflater->level_ = level;
  deflater->window_bits_ = window_bits;
  const int result =
      library->deflate_init(&deflater->stream_, level, kMethod, -window_bits, kMemoryLevel,
                            kStrategy, library->version, static_cast<int>(sizeof(ZStream)));
  return result == kOk ? std::move(deflater) : nullptr;
}

Deflater::~Deflater() {
  if (stream_.state != nullptr) (void)zlib()->deflate_end(&stream_);
}

void Deflater::reset() { MR_CHECK(zlib()->deflate_reset(&stream_) == kOk); }

bool Deflater::compress(Bytes message, Blob& out, size_t& used) {
  if (message.empty()) {  // 7.2.3.6; deflate() has nothing to flush behind a flush
    if (out.size() == used) out.grow(used + 1);
    out.data()[used++] = 0;
    return true;
  }
  // Less than half at once for text, a second or third step for what does not shrink.
  const size_t step = message.size() / 2 + kOutMin;
  size_t end = used;
  while (!message.empty()) {
    stream_.next_in = reinterpret_cast<const uint8_t*>(message.data());
    stream_.avail_in = piece_of(message.size());
    message.remove_prefix(stream_.avail_in);
    const int flush = message.empty() ? kSyncFlush : kNoFlush;
    do {
      if (out.size() < end + kOutMin) out.grow(end + step);
      const unsigned int room = piece_of(out.size() - end);
      stream_.next_out = at(out, end);
      stream_.avail_out = room;
      const int result = zlib()->deflate(&stream_, flush);
      end += room - stream_.avail_out;
      // kBufferError is no failure: all was said in the call before.
      if (result != kOk && result != kBufferError) return false;
    } while (stream_.avail_out == 0);
  }
  if (!out.bytes().substr(used, end - used).ends_with(kTail)) return false;
  used = end - kTail.size();
  return true;
}

std::unique_ptr<Inflater> Inflater::make(int window_bits) {
  const Zlib* const library = zlib();
  if (library == nullptr) return nullptr;
  std::unique_ptr<Inflater> inflater(new Inflater);
  inflater->window_bits_ = window_bits;
  const int result = library->inflate_init(&inflater->stream_, -window_bits, library->version,
                                           static_cast<int>(sizeof(ZStream)));
  return result == kOk ? std::move(inflater) : nullptr;
}

Inflater::~Inflater() {
  if (stream_.state != nullptr) (void)zlib()->inflate_end(&stream_);
}

void Inflater::reset() {
  MR_CHECK(zlib()->inflate_reset(&stream_) == kOk);
  is_between_blocks_ = true;
}

ErrorCode Inflater::inflate(Bytes piece, bool is_last, size_t size_max, Blob& out, size_t& used) {
  ErrorCode error = take(piece, size_max, out, used);
  // A message that follows 7.2.1 never ends between blocks, so this tells those apart that were
  // sent with their tail, without the octet of 7.2.3.4, or as nothing at all.
  if (error != ErrorCode::None || !is_last || is_between_blocks_) return error;
  error = take(kTail, size_max, out, used);
  if (error != ErrorCode::None) return error;
  return is_between_blocks_ ? ErrorCode::None : ErrorCode::WsBadDeflate;
}

ErrorCode Inflater::take(Bytes piece, size_t size_max, Blob& out, size_t& used) {
  while (!piece.empty()) {
    stream_.next_in = reinterpret_cast<const uint8_t*>(piece.data());
    stream_.avail_in = piece_of(piece.size());
    const size_t step = 4 * size_t{stream_.avail_in} + kOutMin;
    piece.remove_prefix(stream_.avail_in);
    // Until all is read and nothing of it is still to be written.
    do {
      if (out.size() <= used && used < size_max) {
        out.grow(std::min(size_max, std::max(used * 2, used + step)));
      }
      const ErrorCode error = step_once(size_max, out, used);
      if (error != ErrorCode::None) return error;
    } while (stream_.avail_in > 0 || (stream_.avail_out == 0 && !is_between_blocks_));
  }
  return ErrorCode::None;
}

// One call of inflate(), into the room there is; without room into a byte behind the limit.
ErrorCode Inflater::step_once(size_t size_max, Blob& out, size_t& used) {
  uint8_t beyond = 0;
  const size_t end = std::min(out.size(), size_max);
  const bool is_full = end <= used;
  const unsigned int room = is_full ? 1 : piece_of(end - used);
  stream_.next_out = is_full ? &beyond : at(out, used);
  stream_.avail_out = room;
  const int result = zlib()->inflate(&stream_, kSyncFlush);
  const unsigned int written = room - stream_.avail_out;
  if (is_full && written > 0) return ErrorCode::WsTooBig;
  used += written;
  if (result == kStreamEnd) {  // BFINAL: what follows is a stream of its own (7.2.3.4)
    reset();
    return ErrorCode::None;
  }
  const bool is_stuck = result == kBufferError && stream_.avail_in > 0;
  if ((result != kOk && result != kBufferError) || is_stuck) return ErrorCode::WsBadDeflate;
  // 128: between blocks; the lowest six: bits of the last byte that are still unread.
  is_between_blocks_ = (stream_.data_type & (128 | 63)) == 128;
  return ErrorCode::None;
}

}  // namespace millrace::ws
