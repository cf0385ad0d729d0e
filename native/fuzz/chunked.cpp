// Fuzzes the chunk decoder: whole against splits, and what it accepts against a naive reading.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "core/base/check.h"
#include "core/proto/http1/chunked.h"

namespace {

using millrace::Bytes;
using millrace::ErrorCode;
using millrace::MutableBytes;
using millrace::http1::ChunkDecoder;

struct Limits {
  uint64_t body_bytes_max;
  uint64_t extension_bytes_max;
};

constexpr Limits kLimits[] = {{UINT64_MAX, 4096}, {1 << 20, 0}, {24, 12}};

struct Result {
  ChunkDecoder::State state = ChunkDecoder::State::NeedMore;
  ErrorCode error = ErrorCode::None;
  size_t consumed = 0;
  std::string body;
  bool operator==(const Result&) const = default;
};

template <typename Step>
Result decode(Bytes input, Limits limits, Step step) {
  ChunkDecoder decoder;
  Result result;
  while (result.consumed < input.size()) {
    const size_t length = step(input.size() - result.consumed);
    const std::unique_ptr<char[]> piece(new char[length]);
    std::memcpy(piece.get(), input.data() + result.consumed, length);
    const ChunkDecoder::Step done = decoder.decode(
        MutableBytes(piece.get(), length), limits.body_bytes_max, limits.extension_bytes_max);
    MR_CHECK(done.produced <= done.consumed && done.consumed <= length);
    result.body.append(piece.get(), done.produced);
    MR_CHECK(decoder.total() == result.body.size());
    MR_CHECK(decoder.total() <= limits.body_bytes_max);
    result.consumed += done.consumed;
    result.state = done.state;
    result.error = done.error;
    if (done.state != ChunkDecoder::State::NeedMore) break;
    MR_CHECK(done.consumed == length);
  }
  return result;
}

// Trusts that `chunks` is well-formed; only finds the line ends and the sizes.
std::string read_naively(Bytes chunks) {
  std::string body;
  while (true) {
    const size_t line_end = chunks.find("\r\n");
    MR_CHECK(line_end != Bytes::npos && line_end > 0);
    const std::string line(chunks.substr(0, line_end));
    MR_CHECK(line.find('\n') == std::string::npos && line.find('\r') == std::string::npos);
    const uint64_t size = std::strtoull(line.c_str(), nullptr, 16);
    chunks.remove_prefix(line_end + 2);
    if (size == 0) break;
    MR_CHECK(size + 2 <= chunks.size() && chunks.substr(size, 2) == "\r\n");
    body.append(chunks.substr(0, size));
    chunks.remove_prefix(size + 2);
  }
  MR_CHECK(chunks.empty());
  return body;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(reinterpret_cast<const char*>(data), size);
  uint64_t seed = 0x9e3779b97f4a7c15u ^ size;
  for (size_t i = 0; i < size; i++) seed = (seed ^ data[i]) * 0x100000001b3u;
  const auto random = [&seed](uint64_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
  };
  for (Limits limits : kLimits) {
    const Result whole = decode(input, limits, [](size_t left) { return left; });
    MR_CHECK((whole.state == ChunkDecoder::State::Broken) == (whole.error != ErrorCode::None));
    if (whole.state == ChunkDecoder::State::Trailers) {
      MR_CHECK(read_naively(input.substr(0, whole.consumed)) == whole.body);
    }
    if (size <= 1024) MR_CHECK(decode(input, limits, [](size_t) { return size_t{1}; }) == whole);
    const auto random_step = [&](size_t left) { return static_cast<size_t>(1 + random(left)); };
    MR_CHECK(decode(input, limits, random_step) == whole);
    MR_CHECK(decode(input, limits, random_step) == whole);
  }
  return 0;
}
