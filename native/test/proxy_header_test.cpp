// Headers of the PROXY protocol: every form at every cut, what is refused and when, each limit.
#include "core/proto/proxy/header.h"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "test/harness.h"
#include "test/proxy_rig.h"

namespace {

using millrace::Address;
using millrace::Bytes;
using millrace::Family;
using namespace millrace::proxy;
using namespace millrace::test;

constexpr size_t kMax = 4096;

struct Read {
  int result = 0;
  HeaderView header;
  std::string tlvs;
};

// Of an allocation of exactly its size.
Read read(Bytes input, size_t bytes_max = kMax) {
  const std::unique_ptr<char[]> memory(new char[input.size()]);
  if (!input.empty()) std::memcpy(memory.get(), input.data(), input.size());
  Read read;
  read.result = parse_header(Bytes(memory.get(), input.size()), bytes_max, read.header);
  read.tlvs = read.header.tlvs;
  read.header.tlvs = {};
  return read;
}

// Whole at its last byte, not before, and whatever comes behind.
Read expect_whole(const std::string& bytes, size_t bytes_max = kMax) {
  context = bytes;
  for (size_t cut = 0; cut < bytes.size(); cut++)
    EXPECT(read(bytes.substr(0, cut), bytes_max).result == kNeedMore);
  for (const char* behind : {"GET / HTTP/1.1\r\n", "\r\n", "\n"})
    EXPECT(read(bytes + behind, bytes_max).result == static_cast<int>(bytes.size()));
  const Read whole = read(bytes, bytes_max);
  EXPECT(whole.result == static_cast<int>(bytes.size()));
  return whole;
}

// Broken from its byte number `at` on (counted from 1), whatever comes behind.
void expect_broken(const std::string& bytes, size_t at, size_t bytes_max = kMax) {
  context = bytes;
  for (size_t cut = 0; cut <= bytes.size(); cut++)
    EXPECT(read(bytes.substr(0, cut), bytes_max).result == (cut < at ? kNeedMore : kBroken));
  for (const char* behind : {"\r\n", "\n", "x"})
    EXPECT(read(bytes + behind, bytes_max).result == kBroken);
}
void expect_broken(const std::string& bytes) { expect_broken(bytes, bytes.size()); }

void expect_address(const Address& address, Family family, Bytes text, uint16_t port) {
  EXPECT(address.family == family && address.view() == text && address.port == port);
}

TEST("version 1 tells both addresses") {
  Read got = expect_whole("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
  EXPECT(got.header.version == 1 && !got.header.is_local && got.tlvs.empty());
  expect_address(got.header.source, Family::IPv4, "192.0.2.1", 56324);
  expect_address(got.header.destination, Family::IPv4, "198.51.100.2", 443);
  got = expect_whole("PROXY TCP6 2001:DB8:0:0::0001 ::1 0 65535\r\n");
  EXPECT(got.header.version == 1 && !got.header.is_local);
  expect_address(got.header.source, Family::IPv6, "2001:db8::1", 0);
  expect_address(got.header.destination, Family::IPv6, "::1", 65535);
  got = expect_whole("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 1 2\r\n");
  expect_address(got.header.source, Family::IPv4, "192.0.2.1", 1);
  expect_address(got.header.destination, Family::IPv4, "198.51.100.2", 2);
}

TEST("UNKNOWN tells nothing, whatever stands behind it") {
  for (const char* line :
       {"PROXY UNKNOWN\r\n", "PROXY UNKNOWN \r\n", "PROXY UNKNOWN  a~ 65536 -1\r\n",
        "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"}) {
    const Read got = expect_whole(line);
    EXPECT(got.header.version == 1 && got.header.is_local);
    expect_address(got.header.source, Family::Unix, "", 0);
  }
}

TEST("version 1 is 107 bytes long at most") {
  const std::string start = "PROXY UNKNOWN ";
  for (size_t size : {size_t{106}, size_t{107}})
    static_cast<void>(expect_whole(start + std::string(size - 2 - start.size(), 'x') + "\r\n"));
  expect_broken(start + std::string(107 - 1 - start.size(), 'x') + "\r\n", 107);
  expect_broken(start + std::string(200, 'x'), 107);
  const std::string longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  const std::string line = "PROXY TCP6 " + longest + " " + longest + " 65535 65535\r\n";
  EXPECT(line.size() == 104);
  expect_address(expect_whole(line).header.source, Family::IPv6, longest, 65535);
}

TEST("a line that is not exactly of version 1 is refused at its end") {
  const char* lines[] = {
      "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
      "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
      "PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 1  2\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2  2\r\n",
      "PROXY TCP4 192.0.2.1 1 2\r\n",
      "PROXY TCP4 \r\n",
      "PROXY TCP4    \r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 00 2\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 1 99999\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 1 100000\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100.2 1 0x2\r\n",
      "PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
      "PROXY TCP4 192.0.02.1 198.51.100.2 1 2\r\n",
      "PROXY TCP4 192.0.2.1 198.51.100 1 2\r\n",
      "PROXY TCP4 ::1 ::1 1 2\r\n",
      "PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
      "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
      "PROXY TCP6 ::1 198.51.100.2 1 2\r\n",
      "PROXY TCP6 ::1 1::2::3 1 2\r\n",
      "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
  };
  for (const char* line : lines) expect_broken(line);
}

TEST("a line of version 1 is refused at the first byte that cannot be in it") {
  const std::string good = "PROXY TCP4 192.0.2.1 198.51.100.2 1 2";
  expect_broken(good + "\n", good.size() + 1);
  expect_broken(good + "\rx", good.size() + 2);
  expect_broken(good + "\r\r\n", good.size() + 2);
  for (char c : {'\0', '\t', '\x1f', '\x7f', '\x80', '\xff'}) {
    expect_broken("PROXY TCP4 1" + std::string(1, c) + "2\r\n", 13);
    expect_broken("PROXY UNKNOWN 1" + std::string(1, c) + "2\r\n", 16);
  }
  expect_broken("PROXY UNKNOWN\rx", 15);
}

TEST("first bytes that cannot begin a header are told at once") {
  const struct {
    std::string bytes;
    size_t at;
  } all[] = {
      {"GET / HTTP/1.1\r\n", 1},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 3},
      {"PROPFIND / HTTP/1.1\r\n", 4},
      {"PROXY / HTTP/1.1\r\n", 7},
      {"PROXY\r\n", 6},
      {"PROXY  TCP4 ", 7},
      {"PROXY TCP5 ", 10},
      {"PROXY TCP4/ HTTP/1.1\r\n", 11},
      {"PROXY TCP4\r\n", 11},
      {"PROXY UNKNOWNS", 14},
      {"PROXY unknown\r\n", 7},
      {"proxy TCP4 ", 1},
      {"\r\nGET / HTTP/1.1\r\n", 3},
      {"\r\n\r\nGET", 5},
      {"24:CONTENT_LENGTH", 1},
      {"\n", 1},
      {kSignature.substr(0, 11) + "\r", 12},
      {" PROXY TCP4 ", 1},
  };
  for (const auto& one : all) {
    context = one.bytes;
    for (size_t cut = 0; cut <= one.bytes.size(); cut++) {
      const Bytes part = Bytes(one.bytes).substr(0, cut);
      EXPECT(signature_of(part) == (cut < one.at ? Signature::Unsure : Signature::None));
    }
    expect_broken(one.bytes, one.at);
  }
  EXPECT(signature_of("PROXY TCP4 ") == Signature::Text);
  EXPECT(signature_of("PROXY UNKNOWN\r") == Signature::Text);
  EXPECT(signature_of(kSignature) == Signature::Binary);
  EXPECT(signature_of(kSignature + "x") == Signature::Binary);
}

TEST("version 2 tells both addresses and what stands behind them") {
  const std::string tlvs = tlv(0x01, "h2") + tlv(0x04, "") + tlv(0xe0, std::string(300, 'x'));
  for (const std::string& behind : {std::string(), tlvs}) {
    Read got = expect_whole(tcp4(behind));
    EXPECT(got.header.version == 2 && !got.header.is_local && got.tlvs == behind);
    expect_address(got.header.source, Family::IPv4, "192.0.2.1", 1000);
    expect_address(got.header.destination, Family::IPv4, "198.51.100.2", 443);
    got = expect_whole(tcp6(behind));
    EXPECT(got.header.version == 2 && !got.header.is_local && got.tlvs == behind);
    expect_address(got.header.source, Family::IPv6, "2001:db8::1", 1000);
    expect_address(got.header.destination, Family::IPv6, "2001:db8::2", 443);
    got = expect_whole(unix_paths(behind));
    EXPECT(got.header.version == 2 && !got.header.is_local && got.tlvs == behind);
    expect_address(got.header.source, Family::Unix, "", 0);
    expect_address(got.header.destination, Family::Unix, "", 0);
    got = expect_whole(version2(0x21, 0x00, behind));
    EXPECT(got.header.version == 2 && got.header.is_local && got.tlvs == behind);
  }
}

TEST("of LOCAL nothing but its length counts") {
  for (unsigned family : {0x00u, 0x11u, 0x12u, 0x21u, 0x31u, 0xffu}) {
    for (const char* rest : {"", "x", "not\xffTLVs at all, and no addresses"}) {
      const Read got = expect_whole(version2(0x20, static_cast<uint8_t>(family), rest));
      EXPECT(got.header.version == 2 && got.header.is_local && got.tlvs.empty());
      expect_address(got.header.source, Family::Unix, "", 0);
    }
  }
}

TEST("of version, command and family each value is judged at its byte") {
  for (unsigned value = 0; value < 256; value++) {
    const auto byte = static_cast<uint8_t>(value);
    const std::string rest(216, '\0');
    if (value != 0x20 && value != 0x21) expect_broken(version2(byte, 0x11, rest), 13);
    const bool is_known = value == 0x00 || value == 0x11 || value == 0x21 || value == 0x31;
    if (!is_known) expect_broken(version2(0x21, byte, rest), 14);
  }
}

TEST("a length that does not cover the addresses is refused with its last byte") {
  const struct {
    uint8_t family;
    size_t size;
  } all[] = {{0x11, 12}, {0x21, 36}, {0x31, 216}};
  for (const auto& one : all) {
    static_cast<void>(expect_whole(version2(0x21, one.family, std::string(one.size, 'x'))));
    expect_broken(version2(0x21, one.family, std::string(one.size - 1, 'x')), 16);
    expect_broken(version2(0x21, one.family, ""), 16);
  }
}

TEST("a header is as long as the limit allows") {
  for (size_t bytes_max : {size_t{232}, size_t{4096}, size_t{65551}}) {
    for (size_t more : {0, 1}) {
      const std::string header = tcp4(tlv(0x04, std::string(bytes_max - 1 + more - 31, 'x')));
      EXPECT(header.size() == bytes_max - 1 + more);
      context.clear();
      EXPECT(read(header, bytes_max).result == static_cast<int>(header.size()));
    }
    if (bytes_max == 65551) continue;
    const std::string longer = tcp4(tlv(0x04, std::string(bytes_max + 1 - 31, 'x')));
    EXPECT(read(longer.substr(0, 15), bytes_max).result == kNeedMore);
    EXPECT(read(longer.substr(0, 16), bytes_max).result == kBroken);
    EXPECT(read(version2(0x20, 0, std::string(bytes_max + 1 - 16, 'x')), bytes_max).result ==
           kBroken);
  }
}

TEST("TLVs that do not end where the header does are refused with its last byte") {
  const std::string all[] = {
      std::string("\x04"),          std::string("\x04\0", 2),
      std::string("\x04\0\x01", 3), std::string("\x04\x01\0a", 4),
      tlv(0x01, "h2") + "\x04",     tlv(0x01, "h2") + std::string("\x04\xff\xff", 3)};
  for (const std::string& tlvs : all) {
    expect_broken(tcp4(tlvs));
    expect_broken(tcp6(tlvs));
    expect_broken(unix_paths(tlvs));
    expect_broken(version2(0x21, 0x00, tlvs));
  }
}

TEST("an SSL TLV holds whole TLVs") {
  const std::string fixed("\x07\0\0\0\0", 5);
  const std::string within = tlv(0x21, "TLSv1.3") + tlv(0x22, "example.com");
  for (const std::string& value : {fixed, fixed + within, fixed + tlv(0x03, "not a checksum")})
    EXPECT(expect_whole(tcp4(tlv(0x20, value))).tlvs == tlv(0x20, value));
  for (const std::string& value : {std::string(), fixed.substr(1), fixed + "\x21",
                                   fixed + within.substr(0, within.size() - 1)})
    expect_broken(tcp4(tlv(0x20, value) + tlv(0x04, "")));
}

TEST("a checksum has to hold") {
  const std::string crc = tlv(0x03, std::string(4, '\0'));
  const std::string others = tlv(0x01, "http/1.1");
  for (const std::string& made : {tcp4(crc), tcp4(others + crc), tcp6(crc + others),
                                  unix_paths(others + crc + others), version2(0x21, 0, crc)}) {
    const size_t at = made.find(crc) + 3;
    const std::string good = with_crc(made, at);
    static_cast<void>(expect_whole(good));
    for (size_t i = 16; i < good.size(); i++) {
      if (i == at - 3) continue;  // another type of TLV: there is no checksum then
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 1);
      context = bad;
      EXPECT(read(bad).result == kBroken);
    }
  }
  // One that no other implementation than ours has summed up.
  EXPECT(slow_crc32c("123456789") == 0xe3069283u);
}

TEST("a checksum has four bytes, and each of several has to hold") {
  for (size_t size : {0, 3, 5}) expect_broken(tcp4(tlv(0x03, std::string(size, '\0'))));
  const std::string crc = tlv(0x03, std::string(4, '\0'));
  const std::string twice = with_crc(tcp4(crc + crc), 31);
  expect_broken(twice);
}

}  // namespace
