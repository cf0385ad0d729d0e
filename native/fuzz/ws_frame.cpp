// Fuzzes what WebSocket frames are made of against naive readings: heads, masks and UTF-8, whole
// and split.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "core/base/check.h"
#include "core/base/utf8_check.h"
#include "core/proto/ws/frame.h"

namespace {

using millrace::Bytes;
using millrace::MutableBytes;
using millrace::Utf8Check;
using namespace millrace::ws;

class Dice final {
 public:
  explicit Dice(Bytes input) : seed_(0x9e3779b97f4a7c15u ^ input.size()) {
    for (char c : input) seed_ = (seed_ ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  }
  size_t below(size_t bound) {
    seed_ = seed_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((seed_ >> 33) % bound);
  }

 private:
  uint64_t seed_;
};

// Exactly as large as what it holds, so that a sanitizer sees one byte too many.
class Exact final {
 public:
  explicit Exact(Bytes bytes) : memory_(new char[bytes.size()]), size_(bytes.size()) {
    if (!bytes.empty()) std::memcpy(memory_.get(), bytes.data(), bytes.size());
  }
  [[nodiscard]] Bytes view() const { return {memory_.get(), size_}; }
  [[nodiscard]] MutableBytes bytes() { return {memory_.get(), size_}; }

 private:
  std::unique_ptr<char[]> memory_;
  size_t size_;
};

// A whole head is wanted before anything is judged; 0: more is needed, -1: broken.
int parse_naively(Bytes in, FrameHead& head) {
  const auto at = [in](size_t i) { return static_cast<unsigned>(static_cast<uint8_t>(in[i])); };
  if (in.size() < 2) return 0;
  const unsigned opcode = at(0) % 16;
  size_t size = 2;
  head.fin = at(0) >= 128;
  head.rsv1 = at(0) / 64 % 2 == 1;
  head.masked = at(1) >= 128;
  head.opcode = static_cast<Opcode>(opcode);
  head.length = at(1) % 128;
  const uint64_t least = head.length == 126 ? 126 : head.length == 127 ? 65536 : 0;
  const size_t extended = head.length == 126 ? 2 : head.length == 127 ? 8 : 0;
  if (in.size() < 2 + extended + (head.masked ? 4u : 0u)) return 0;
  if (extended > 0) head.length = 0;
  for (size_t i = 0; i < extended; i++) head.length = head.length * 256 + at(size++);
  for (size_t i = 0; head.masked && i < 4; i++) {
    reinterpret_cast<char*>(&head.mask)[i] = in[size++];
  }
  const bool is_known = opcode < 3 || opcode == 8 || opcode == 9 || opcode == 10;
  if (!is_known || at(0) / 16 % 4 != 0) return -1;
  if (opcode >= 8 && (!head.fin || head.length > 125)) return -1;
  if (head.length < least || head.length > INT64_MAX) return -1;
  return static_cast<int>(size);
}

bool is_equal(const FrameHead& a, const FrameHead& b) {
  return a.opcode == b.opcode && a.fin == b.fin && a.rsv1 == b.rsv1 && a.masked == b.masked &&
         a.mask == b.mask && a.length == b.length;
}

// What is written again must be what was read.
void check_written(const FrameHead& head, Bytes bytes) {
  char out[kFrameHeadMax];
  const char* end = write_frame_head(head, out);
  MR_CHECK(Bytes(out, static_cast<size_t>(end - out)) == bytes);
  MR_CHECK(frame_head_size(head.length, head.masked) == bytes.size());
}

// Whether no bytes that may follow make a head of these.
bool is_hopeless(Bytes start) {
  char bytes[2 * kFrameHeadMax + 8];
  for (char filler : {'\x00', '\x01', '\x7f', '\xff'}) {
    for (size_t zeros = 0; zeros <= 8; zeros++) {
      std::memset(bytes, filler, sizeof(bytes));
      if (!start.empty()) std::memcpy(bytes, start.data(), start.size());
      std::memset(bytes + start.size(), 0, zeros);
      FrameHead head;
      if (parse_naively(Bytes(bytes, sizeof(bytes)), head) > 0) return false;
    }
  }
  return true;
}

void check_head(Bytes input) {
  FrameHead wanted;
  const Bytes start = input.substr(0, kFrameHeadMax);
  const int size = parse_naively(start, wanted);
  for (size_t cut = 0; cut <= start.size(); cut++) {
    FrameHead head;
    const int result = parse_frame_head(Exact(start.substr(0, cut)).view(), head);
    if (size > 0) {
      MR_CHECK(result == (cut < static_cast<size_t>(size) ? kFrameNeedMore : size));
    } else {
      MR_CHECK(result == (is_hopeless(start.substr(0, cut)) ? kFrameBroken : kFrameNeedMore));
    }
    if (result > 0) MR_CHECK(is_equal(head, wanted));
  }
  if (size > 0) check_written(wanted, start.substr(0, static_cast<size_t>(size)));
}

void check_masks(Bytes input, Dice& dice) {
  char pattern[4] = {};
  std::memcpy(pattern, input.data(), input.size() < 4 ? input.size() : 4);
  uint32_t mask = 0;
  std::memcpy(&mask, pattern, sizeof(mask));
  const size_t phase = dice.below(9);
  std::string wanted(input);
  for (size_t i = 0; i < wanted.size(); i++) {
    wanted[i] = static_cast<char>(wanted[i] ^ pattern[(phase + i) % 4]);
  }
  Exact copy(input);
  copy_masked(Exact(input).view(), copy.bytes().data(), mask, phase);
  MR_CHECK(copy.view() == wanted);
  Exact bytes(input);
  for (size_t at = 0; at < input.size();) {
    const size_t length = 1 + dice.below(input.size() - at);
    apply_mask(bytes.bytes().subspan(at, length), mask, phase + at);
    at += length;
  }
  MR_CHECK(bytes.view() == wanted);
}

// The length of the character that `text` begins with; 0: none, and none that goes on behind it;
// -1: `text` is the beginning of one.
int character_of(Bytes text) {
  const auto at = [text](size_t i) { return static_cast<unsigned>(static_cast<uint8_t>(text[i])); };
  if (at(0) < 0x80) return 1;
  if (at(0) < 0xc2 || at(0) > 0xf4) return 0;
  const size_t length = at(0) < 0xe0 ? 2 : at(0) < 0xf0 ? 3 : 4;
  for (size_t i = 1; i < length; i++) {
    if (i == text.size()) return -1;
    if (at(i) < 0x80 || at(i) > 0xbf) return 0;
    if (i > 1) continue;
    const unsigned two = at(0) * 256 + at(1);
    if (two < 0xe0a0 && at(0) == 0xe0) return 0;                      // overlong
    if (two < 0xf090 && at(0) == 0xf0) return 0;                      // overlong
    if ((two >= 0xeda0 && at(0) == 0xed) || two >= 0xf490) return 0;  // surrogate, too high
  }
  return static_cast<int>(length);
}

struct TextVerdict {
  bool ok = true;
  size_t whole = 0;  // bytes of whole characters
};

TextVerdict judge_naively(Bytes text) {
  size_t at = 0;
  while (at < text.size()) {
    const int length = character_of(text.substr(at));
    if (length <= 0) return {length < 0, at};
    at += static_cast<size_t>(length);
  }
  return {true, at};
}

void check_text(Bytes input, Dice& dice) {
  const TextVerdict all = judge_naively(input);
  const bool is_text = all.ok && all.whole == input.size();
  MR_CHECK(millrace::is_utf8(Exact(input).view()) == is_text);
  Utf8Check check;
  bool is_ascii = true;
  size_t whole = 0;
  for (size_t at = 0; at < input.size();) {
    const size_t length = dice.below((dice.below(2) == 0 ? 5 : input.size() - at) + 1);
    const Bytes piece = input.substr(at, length);
    at += piece.size();
    const TextVerdict wanted = judge_naively(input.substr(whole, at - whole));
    whole += wanted.whole;
    MR_CHECK(check.feed(Exact(piece).view()) == wanted.ok);
    MR_CHECK(check.is_complete() == (wanted.ok && whole == at));
    for (char c : piece) is_ascii = is_ascii && static_cast<uint8_t>(c) < 0x80;
    MR_CHECK(check.is_ascii() == is_ascii);
    if (!wanted.ok) break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(reinterpret_cast<const char*>(data), size);
  Dice dice(input);
  check_head(input);
  check_masks(input, dice);
  check_text(input, dice);
  return 0;
}
