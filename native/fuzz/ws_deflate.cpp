// Fuzzes the compression of messages: any bytes decompressed give one verdict and one text however
// they are cut and whatever the limit, within the limit; any message compressed comes back.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>

#include "core/base/check.h"
#include "core/proto/ws/deflate.h"
#include "fuzz/input.h"

namespace {

using millrace::Blob;
using millrace::Bytes;
using millrace::ErrorCode;
using millrace::ws::DeflatePool;
using millrace::ws::Deflater;
using millrace::ws::Inflater;

constexpr size_t kLimits[] = {size_t{1} << 20, 70'000, 4096, 300, 1, 0};
constexpr size_t kPlenty = size_t{1} << 23;  // above what 4 KiB can stand for: 1032 times as much

struct Inflated {
  ErrorCode error = ErrorCode::None;
  std::string text;
  bool operator==(const Inflated&) const = default;
};

// `cut` says how many of the bytes left come next.
template <typename Cut>
Inflated inflate(Inflater& inflater, Bytes payload, size_t size_max, Cut cut) {
  Blob out;
  size_t used = 0;
  Inflated result;
  bool is_last = false;
  while (!is_last && result.error == ErrorCode::None) {
    const size_t length = cut(payload.size());
    is_last = length == payload.size() && cut(2) > 0;  // or an empty piece comes last
    const Blob exact = Blob::copy(payload.substr(0, length));
    payload.remove_prefix(length);
    result.error = inflater.inflate(exact.bytes(), is_last, size_max, out, used);
    MR_CHECK(used <= out.size() && out.size() <= size_max);
  }
  MR_CHECK(result.error == ErrorCode::None || result.error == ErrorCode::WsBadDeflate ||
           result.error == ErrorCode::WsTooBig);
  MR_CHECK(result.error != ErrorCode::WsTooBig || used == size_max);
  result.text = out.bytes().substr(0, used);
  return result;
}

size_t everything(size_t left) { return left; }

// The verdict under a limit follows from the one without.
Inflated cut_to(const Inflated& whole, size_t size_max) {
  if (whole.text.size() <= size_max) return whole;
  return {.error = ErrorCode::WsTooBig, .text = whole.text.substr(0, size_max)};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  static DeflatePool pool;
  millrace::fuzz::Input input(data, 3);
  const size_t size_max = kLimits[input.below(std::size(kLimits))];
  const int bits = 9 + static_cast<int>(input.below(7));
  const int level = 1 + static_cast<int>(input.below(9));
  const Bytes bytes(reinterpret_cast<const char*>(data) + 3, std::min(size - 3, size_t{4096}));
  uint64_t seed = 0x9e3779b97f4a7c15u ^ size;
  for (size_t i = 0; i < size; i++) seed = (seed ^ data[i]) * 0x100000001b3u;
  const auto random = [&seed](uint64_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((seed >> 33) % below);
  };
  const auto one = [](size_t left) { return std::min(left, size_t{1}); };
  const auto any = [&](size_t left) { return random(left + 1); };

  auto inflater = pool.take_inflater(15);
  const auto again = [&](size_t limit, auto cut) {
    inflater->reset();
    return inflate(*inflater, bytes, limit, cut);
  };
  const Inflated whole = again(kPlenty, everything);
  MR_CHECK(whole.error != ErrorCode::WsTooBig);
  const Inflated expected = cut_to(whole, size_max);
  MR_CHECK(again(size_max, everything) == expected);
  MR_CHECK(again(size_max, any) == expected);
  if (size <= 512) MR_CHECK(again(size_max, one) == expected);

  // A smaller window may find out that the peer went beyond it, and says nothing else.
  auto narrow = pool.take_inflater(bits);
  const Inflated other = inflate(*narrow, bytes, kPlenty, any);
  MR_CHECK(other == whole || (other.error == ErrorCode::WsBadDeflate &&
                              (bits < 15 && whole.text.starts_with(other.text))));

  // Two messages, the second in the context of the first.
  auto deflater = pool.take_deflater(level, bits);
  narrow->reset();
  for (const Bytes message : {bytes, bytes.substr(bytes.size() / 3)}) {
    Blob out = Blob::uninitialized(random(2 * message.size() + 16));
    size_t used = std::min(out.size(), random(8));
    const size_t begin = used;
    MR_CHECK(deflater->compress(message, out, used) && used <= out.size() && used > begin);
    const Bytes payload = out.bytes().substr(begin, used - begin);
    const Inflated back = inflate(*narrow, payload, message.size(), any);
    MR_CHECK(back.error == ErrorCode::None && back.text == message);
  }
  pool.give_back(std::move(inflater));
  pool.give_back(std::move(narrow));
  pool.give_back(std::move(deflater));
  return 0;
}
