#include "core/proto/scgi/parser.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/proto/http1/head.h"

namespace millrace::scgi {
namespace {

using http1::kBroken;
using http1::kNeedMore;

constexpr Bytes kFirstName("CONTENT_LENGTH\0", 15);
constexpr size_t kBlockBytesMin = Bytes("CONTENT_LENGTH=0=SCGI=1=").size();
constexpr size_t kBlockBytesMax = 65536;                  // the ceiling of header_bytes_max
constexpr uint64_t kLengthMax = (uint64_t{1} << 53) - 1;  // what JavaScript can count

enum class Outcome : uint8_t { Done, NeedMore, Broken };

struct Cursor {
  const char* at;
  const char* end;
};

// A decimal and what ends it. Above `most` it is too large, whatever follows.
Outcome read_number(Cursor& cursor, char stop, uint64_t most, ErrorCode too_large, uint64_t& value,
                    ErrorCode& error) {
  error = ErrorCode::BadScgi;
  value = 0;
  for (const char* begin = cursor.at; cursor.at != cursor.end; cursor.at++) {
    const char c = *cursor.at;
    const bool is_first = cursor.at == begin;
    if (c == stop && !is_first) {
      cursor.at++;
      return Outcome::Done;
    }
    if (c < '0' || c > '9' || (value == 0 && !is_first)) return Outcome::Broken;
    value = value * 10 + static_cast<uint64_t>(c - '0');
    if (value <= most) continue;
    error = too_large;
    return Outcome::Broken;
  }
  return Outcome::NeedMore;
}

Outcome read_first_variable(Cursor& cursor, uint64_t& content_length, ErrorCode& error) {
  error = ErrorCode::BadScgi;
  const size_t size = std::min(static_cast<size_t>(cursor.end - cursor.at), kFirstName.size());
  if (size == 0) return Outcome::NeedMore;
  if (std::memcmp(cursor.at, kFirstName.data(), size) != 0) return Outcome::Broken;
  if (size < kFirstName.size()) return Outcome::NeedMore;
  cursor.at += size;
  return read_number(cursor, '\0', kLengthMax, ErrorCode::BodyTooLarge, content_length, error);
}

// Names that have been seen in a block, by where they begin there.
class Names final {
 public:
  static constexpr size_t kCountMax = 1536;

  explicit Names(Bytes block) : block_(block) {}
  // False when it has been seen. `name` is in the block, with its NUL.
  bool add(Bytes name) {
    uint32_t hash = 2166136261u;  // FNV-1a
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    size_t slot = (hash ^ hash >> 15) % kSlots;
    for (; places_[slot] != 0; slot = (slot + 1) % kSlots) {
      if (block_.substr(places_[slot] - 1u, name.size()) == name) return false;
    }
    places_[slot] = static_cast<uint16_t>(name.data() - block_.data() + 1);
    return true;
  }

 private:
  static constexpr size_t kSlots = 2048;
  static_assert(kCountMax < kSlots);

  Bytes block_;
  std::array<uint16_t, kSlots> places_{};  // and one more; 0: free
};

constexpr Bytes kFieldPrefix = "HTTP_";

bool read_variables(Bytes block, size_t count_max, ErrorCode& error) {
  error = ErrorCode::BadScgi;
  if (block.back() != '\0') return false;
  Names names(block);
  bool has_version = false;
  for (size_t count = 0; !block.empty(); count++) {
    if (count == count_max) {
      error = ErrorCode::HeadersTooLarge;
      return false;
    }
    const size_t name_size = block.find('\0');
    if (name_size == 0 || name_size + 1 == block.size()) return false;
    // A field line that a client repeats comes twice from nginx, as field lines may.
    const bool is_field = block.substr(0, kFieldPrefix.size()) == kFieldPrefix;
    if (!is_field && !names.add(block.substr(0, name_size + 1))) return false;
    const Variable variable = take_variable(block);
    if (variable.name != "SCGI") continue;
    if (variable.value != "1") return false;
    has_version = true;
  }
  return has_version;
}

int answer(Outcome outcome, bool is_whole, ErrorCode& error) {
  if (outcome == Outcome::Broken || is_whole) return kBroken;
  error = ErrorCode::None;
  return kNeedMore;
}

}  // namespace

int parse_scgi_head(Bytes input, const ScgiLimits& limits, ScgiHead& head, ErrorCode& error) {
  const char* const begin = input.data();
  Cursor cursor{begin, begin + input.size()};
  uint64_t size = 0;
  Outcome outcome = read_number(cursor, ':', std::min(limits.block_bytes_max, kBlockBytesMax),
                                ErrorCode::HeadersTooLarge, size, error);
  if (outcome != Outcome::Done) return answer(outcome, false, error);
  if (size < kBlockBytesMin) return kBroken;

  const Bytes rest = input.substr(static_cast<size_t>(cursor.at - begin));
  head.block = rest.substr(0, static_cast<size_t>(size));
  const bool is_whole = head.block.size() == size;
  cursor.end = head.block.data() + head.block.size();
  outcome = read_first_variable(cursor, head.content_length, error);
  if (outcome != Outcome::Done) return answer(outcome, is_whole, error);
  error = ErrorCode::None;
  if (rest.size() <= size) return kNeedMore;
  error = ErrorCode::BadScgi;
  if (rest[static_cast<size_t>(size)] != ',') return kBroken;
  if (!read_variables(head.block, std::min(limits.variable_count_max, Names::kCountMax), error)) {
    return kBroken;
  }
  error = ErrorCode::None;
  return static_cast<int>(input.size() - rest.size() + static_cast<size_t>(size) + 1);
}

Variable take_variable(Bytes& block) {
  const size_t name_size = block.find('\0');
  const size_t end = block.find('\0', name_size + 1);
  const Variable variable{block.substr(0, name_size),
                          block.substr(name_size + 1, end - name_size - 1)};
  block.remove_prefix(end + 1);
  return variable;
}

}  // namespace millrace::scgi
