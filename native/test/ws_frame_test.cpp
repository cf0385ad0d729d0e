// WebSocket frames: every form of head at every cut, what is refused and when, masks against a
// byte-wise one, and close codes.
#include "core/proto/ws/frame.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "test/harness.h"

namespace {

using millrace::Bytes;
using millrace::ErrorCode;
using millrace::MutableBytes;
using namespace millrace::ws;

constexpr Opcode kOpcodes[] = {Opcode::Continuation, Opcode::Text, Opcode::Binary,
                               Opcode::Close,        Opcode::Ping, Opcode::Pong};
constexpr char kMask[] = {'\x11', '\x22', '\x33', '\x44'};

uint32_t mask_of(const char* bytes) {
  uint32_t mask = 0;
  std::memcpy(&mask, bytes, sizeof(mask));
  return mask;
}

// Of an allocation of exactly its size.
int parse(Bytes input, FrameHead& head) {
  const std::unique_ptr<char[]> memory(new char[input.size()]);
  if (!input.empty()) std::memcpy(memory.get(), input.data(), input.size());
  return parse_frame_head(Bytes(memory.get(), input.size()), head);
}

// The form by the book: RFC 6455 5.2.
std::string head_bytes(uint8_t first, uint64_t length, bool masked) {
  std::string out(1, static_cast<char>(first));
  const auto add = [&out](uint64_t value) { out += static_cast<char>(value & 0xff); };
  const unsigned mask_bit = masked ? 0x80 : 0;
  if (length <= 125) {
    add(mask_bit | length);
  } else if (length <= 0xffff) {
    add(mask_bit | 126);
    for (int shift = 8; shift >= 0; shift -= 8) add(length >> shift);
  } else {
    add(mask_bit | 127);
    for (int shift = 56; shift >= 0; shift -= 8) add(length >> shift);
  }
  if (masked) out.append(kMask, sizeof(kMask));
  return out;
}

void expect_form(const FrameHead& wanted) {
  const auto first = static_cast<uint8_t>((wanted.fin ? 0x80 : 0) | (wanted.rsv1 ? 0x40 : 0) |
                                          static_cast<uint8_t>(wanted.opcode));
  const std::string bytes = head_bytes(first, wanted.length, wanted.masked);
  const auto size = static_cast<int>(bytes.size());
  millrace::test::context = bytes;
  FrameHead head;
  for (size_t cut = 0; cut < bytes.size(); cut++) {
    EXPECT(parse(Bytes(bytes).substr(0, cut), head) == kFrameNeedMore);
  }
  for (const char* behind : {"", "x", "payload and the next head"}) {
    head = {};
    EXPECT(parse(bytes + behind, head) == size);
    EXPECT(head.opcode == wanted.opcode && head.fin == wanted.fin && head.rsv1 == wanted.rsv1);
    EXPECT(head.masked == wanted.masked && head.mask == wanted.mask);
    EXPECT(head.length == wanted.length);
  }
  char out[kFrameHeadMax];
  const char* end = write_frame_head(wanted, out);
  EXPECT(Bytes(out, static_cast<size_t>(end - out)) == bytes);
  EXPECT(frame_head_size(wanted.length, wanted.masked) == bytes.size());
  millrace::test::context.clear();
}

// Refused with its last byte, not before, and whatever comes behind.
void expect_broken(Bytes bytes) {
  millrace::test::context = std::string(bytes);
  FrameHead head;
  for (size_t cut = 0; cut < bytes.size(); cut++) {
    EXPECT(parse(bytes.substr(0, cut), head) == kFrameNeedMore);
  }
  EXPECT(parse(bytes, head) == kFrameBroken);
  EXPECT(parse(std::string(bytes) + std::string(20, 'x'), head) == kFrameBroken);
  millrace::test::context.clear();
}

TEST("every form of head is read at its last byte and written the same") {
  for (Opcode opcode : kOpcodes) {
    for (uint64_t length :
         {uint64_t{0}, uint64_t{1}, uint64_t{125}, uint64_t{126}, uint64_t{127}, uint64_t{255},
          uint64_t{256}, uint64_t{65535}, uint64_t{65536}, uint64_t{1} << 32,
          (uint64_t{1} << 32) + 5, uint64_t{1} << 62, uint64_t{INT64_MAX}}) {
      if (is_control(opcode) && length > kControlPayloadMax) continue;
      for (unsigned bits = 0; bits < 8; bits++) {
        FrameHead head;
        head.opcode = opcode;
        head.fin = (bits & 1) != 0 || is_control(opcode);
        head.rsv1 = (bits & 2) != 0;
        head.masked = (bits & 4) != 0;
        head.mask = head.masked ? mask_of(kMask) : 0;
        head.length = length;
        expect_form(head);
      }
    }
  }
}

TEST("the first two bytes are judged by the rules alone") {
  for (unsigned first = 0; first < 256; first++) {
    const unsigned opcode = first & 0x0f;
    const bool is_known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
    const bool is_broken = !is_known || (first & 0x30) != 0 || (opcode >= 8 && (first & 0x80) == 0);
    const std::string one(1, static_cast<char>(first));
    FrameHead head;
    millrace::test::context = std::to_string(first);
    EXPECT(parse(one, head) == (is_broken ? kFrameBroken : kFrameNeedMore));
    for (unsigned second = 0; second < 256; second++) {
      const unsigned length = second & 0x7f;
      const int size = 2 + ((second & 0x80) != 0 ? 4 : 0);
      const int result = parse(one + static_cast<char>(second) + "mask", head);
      if (is_broken || (opcode >= 8 && length > 125)) {
        EXPECT(result == kFrameBroken);
      } else if (length <= 125) {
        EXPECT(result == size && head.length == length);
      }
    }
  }
}

TEST("reserved bits, reserved opcodes and control frames in pieces or too long are refused") {
  expect_broken("\xa1");      // ws-08-rsv2 of the seed cases
  expect_broken("\x91");      // ws-08-rsv3
  expect_broken("\x83");      // ws-16-opcode3
  expect_broken("\x8b");      // ws-17-opcodeB
  expect_broken("\x09");      // ws-12-frag-ping
  expect_broken("\x89\xfe");  // ws-13-long-ping
  expect_broken("\x88\x7f");
}

TEST("lengths are minimal and below 2^63, and refused as soon as that shows") {
  for (char low : {'\x00', '\x01', '\x7d'}) {
    expect_broken(std::string("\x82\x7e\0", 3) + low);
  }
  expect_broken("\x82\x7f\x80");  // ws-23-len-msb of the seed cases
  expect_broken("\x82\xff\xff");
  expect_broken(std::string("\x82\x7f\0\0\0\0\0\0", 8));
  FrameHead head;
  EXPECT(parse(std::string("\x82\x7e\x00\x7e", 4), head) == 4 && head.length == 126);
  EXPECT(parse(std::string("\x82\x7f\0\0\0\0\0\1\0\0", 10), head) == 10 && head.length == 65536);
  EXPECT(parse("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", head) == 10);
  EXPECT(head.length == uint64_t{INT64_MAX});
}

TEST("a head that is not whole leaves nothing behind") {
  FrameHead head;
  head.length = 77;
  head.mask = 78;
  EXPECT(parse("\x81\x85\x11", head) == kFrameNeedMore && head.length == 77 && head.mask == 78);
  EXPECT(parse("\x83\x85\x11\x22\x33\x44", head) == kFrameBroken && head.length == 77);
}

TEST("a masked frame is read back") {
  std::string frame = "\x81\x85\x11\x22\x33\x44\x79\x47\x5f\x28\x7e";  // ws-01-text: hello
  FrameHead head;
  EXPECT(parse(frame, head) == 6 && head.masked && head.fin && head.opcode == Opcode::Text);
  apply_mask(MutableBytes(frame.data() + 6, head.length), head.mask, 0);
  EXPECT(frame.substr(6) == "hello");
}

// Of `size` bytes that begin `shift` bytes into memory, with guards on both sides.
void expect_masked(size_t size, size_t shift, size_t phase) {
  constexpr size_t kGuard = 16;
  std::vector<char> in(shift + kGuard + size + kGuard);
  for (size_t i = 0; i < in.size(); i++) in[i] = static_cast<char>(i * 37 + size);
  std::vector<char> wanted = in;
  const size_t begin = shift + kGuard;
  for (size_t i = 0; i < size; i++) {
    wanted[begin + i] = static_cast<char>(in[begin + i] ^ kMask[(phase + i) % 4]);
  }
  std::vector<char> out = in;
  copy_masked(Bytes(in.data() + begin, size), out.data() + begin, mask_of(kMask), phase);
  EXPECT(out == wanted);
  apply_mask(MutableBytes(in.data() + begin, size), mask_of(kMask), phase);
  EXPECT(in == wanted);
}

TEST("masks fall on the right bytes at every size, alignment and phase") {
  for (size_t size = 0; size <= 200; size++) {
    for (size_t shift = 0; shift < 16; shift++) {
      for (size_t phase = 0; phase < 4; phase++) expect_masked(size, shift, phase);
    }
  }
  for (size_t size : {size_t{4095}, size_t{16384}, size_t{65537}}) expect_masked(size, 3, 1);
  expect_masked(70, 0, SIZE_MAX);
  expect_masked(0, 0, 3);
  apply_mask({}, mask_of(kMask), 1);
}

TEST("masking reads and writes nothing outside") {
  for (size_t size = 0; size <= 130; size++) {
    const std::unique_ptr<char[]> in(new char[size]);
    const std::unique_ptr<char[]> out(new char[size]);
    std::fill_n(in.get(), size, 'a');
    copy_masked(Bytes(in.get(), size), out.get(), mask_of(kMask), size);
    apply_mask(MutableBytes(in.get(), size), mask_of(kMask), size);
    EXPECT(Bytes(in.get(), size) == Bytes(out.get(), size));
  }
}

TEST("a payload masked in pieces is the payload masked whole") {
  const std::string payload(100, 'p');
  std::string whole = payload;
  apply_mask(whole, mask_of(kMask), 0);
  for (size_t first = 0; first <= payload.size(); first++) {
    for (size_t second = first; second <= payload.size(); second++) {
      std::string pieces = payload;
      const MutableBytes bytes(pieces);
      apply_mask(bytes.first(first), mask_of(kMask), 0);
      apply_mask(bytes.subspan(first, second - first), mask_of(kMask), first);
      apply_mask(bytes.subspan(second), mask_of(kMask), second);
      EXPECT(pieces == whole);
    }
  }
}

TEST("close codes that may travel are those that say something") {
  constexpr uint16_t kDefined[] = {1000, 1001, 1002, 1003, 1007, 1008,
                                   1009, 1010, 1011, 1012, 1013, 1014};
  for (uint32_t code = 0; code <= UINT16_MAX; code++) {
    const bool is_defined =
        std::find(std::begin(kDefined), std::end(kDefined), code) != std::end(kDefined);
    millrace::test::context = std::to_string(code);
    EXPECT(is_valid_close_code(static_cast<uint16_t>(code)) ==
           (is_defined || (code >= 3000 && code < 5000)));
  }
}

TEST("each reason has its close code, and those that cannot be said have 1006") {
  EXPECT(close_code_of(ErrorCode::WsProtocol) == 1002);
  EXPECT(close_code_of(ErrorCode::WsBadText) == 1007);
  EXPECT(close_code_of(ErrorCode::WsBadDeflate) == 1007);
  EXPECT(close_code_of(ErrorCode::WsTooBig) == 1009);
  EXPECT(close_code_of(ErrorCode::WsBacklog) == 1013);
  for (ErrorCode code : {ErrorCode::None, ErrorCode::WsLost, ErrorCode::WsTimeout,
                         ErrorCode::WsClosed, ErrorCode::Aborted}) {
    EXPECT(close_code_of(code) == 1006);
  }
}

}  // namespace
