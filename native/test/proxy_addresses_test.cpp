// Addresses of the PROXY protocol against the system's inet_pton and inet_ntop, which the other
// addresses of a server come from.
#include "core/proto/proxy/addresses.h"

#include <arpa/inet.h>

#include <cstring>
#include <string>

#include "test/harness.h"

namespace {

using millrace::Address;
using millrace::Bytes;
using millrace::Family;
using namespace millrace::proxy;

struct Dice {
  uint64_t seed = 1;
  size_t below(size_t bound) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((seed >> 33) % bound);
  }
};

std::string system_text(const Ipv6Bytes& bytes) {
  char text[INET6_ADDRSTRLEN] = {};
  const bool is_mapped = bytes[10] == 0xff && bytes[11] == 0xff &&
                         std::memcmp(bytes.data(), "\0\0\0\0\0\0\0\0\0\0", 10) == 0;
  EXPECT(::inet_ntop(is_mapped ? AF_INET : AF_INET6, is_mapped ? &bytes[12] : bytes.data(), text,
                     sizeof(text)) != nullptr);
  return text;
}

bool system_reads(int family, const std::string& text) {
  Ipv6Bytes out{};
  return ::inet_pton(family, text.c_str(), out.data()) == 1;
}

TEST("an IPv6 address is written as the system writes it, whichever groups are zero") {
  for (unsigned set = 0; set < 256; set++) {
    for (uint16_t value : {uint16_t{1}, uint16_t{0xab}, uint16_t{0x1000}, uint16_t{0xffff}}) {
      Ipv6Bytes bytes{};
      for (size_t i = 0; i < 8; i++) {
        if ((set >> i & 1) == 0) continue;
        bytes[2 * i] = static_cast<uint8_t>(value >> 8);
        bytes[2 * i + 1] = static_cast<uint8_t>(value & 0xff);
      }
      const Address address = address_of(bytes, 65535);
      millrace::test::context = system_text(bytes);
      EXPECT(address.view() == system_text(bytes));
      EXPECT(address.port == 65535);
      // Its own text is one that is read.
      Ipv6Bytes again{};
      if (address.family == Family::IPv6)
        EXPECT(read_ipv6(address.view(), again) && again == bytes);
    }
  }
}

TEST("a mapped address is the IPv4 address that it stands for") {
  Ipv6Bytes bytes{};
  EXPECT(read_ipv6("::ffff:192.0.2.255", bytes));
  const Address address = address_of(bytes, 7);
  EXPECT(address.family == Family::IPv4);
  EXPECT(address.view() == "192.0.2.255");
}

TEST("the longest addresses fit") {
  Ipv6Bytes ipv6{};
  EXPECT(read_ipv6("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", ipv6));
  EXPECT(address_of(ipv6, 0).view() == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
  Ipv4Bytes ipv4{};
  EXPECT(read_ipv4("255.255.255.255", ipv4));
  EXPECT(address_of(ipv4, 0).view() == "255.255.255.255");
  EXPECT(address_of(Ipv4Bytes{}, 0).view() == "0.0.0.0");
}

TEST("what is no address is refused") {
  Ipv4Bytes ipv4{};
  for (const char* text :
       {"",          ".",        "1",          "1.2.3",     "1.2.3.",    "1.2.3.4.",
        "1.2.3.4.5", ".1.2.3.4", "1..2.3",     "256.0.0.1", "1.2.3.256", "01.2.3.4",
        "1.2.3.04",  "00.0.0.0", "1.2.3.4 ",   " 1.2.3.4",  "+1.2.3.4",  "1.2.3.-4",
        "0x1.2.3.4", "1.2.3.a",  "1.2.3.1234", "::1"}) {
    millrace::test::context = text;
    EXPECT(!read_ipv4(text, ipv4));
  }
  Ipv6Bytes ipv6{};
  for (const char* text : {"",
                           ":",
                           ":::",
                           "1",
                           "1:",
                           ":1",
                           "1:2:3:4:5:6:7",
                           "1:2:3:4:5:6:7:8:9",
                           "1:2:3:4:5:6:7:8::",
                           "::1:2:3:4:5:6:7:8",
                           "1::2::3",
                           ":1::2",
                           "1::2:",
                           "12345::",
                           "g::",
                           "::1.2.3",
                           "::1.2.3.4:5",
                           "1.2.3.4::",
                           "1:2:3:4:5:6:7:1.2.3.4",
                           "1:2:3:4:5:1.2.3.4",
                           "::1.2.3.04",
                           "fe80::1%eth0",
                           "[::1]",
                           "::1 ",
                           "1.2.3.4",
                           "-1::",
                           "::0x1"}) {
    millrace::test::context = text;
    EXPECT(!read_ipv6(text, ipv6));
  }
}

// Why: the forms are many, and each of them has to be refused or read like elsewhere.
TEST("random texts are read exactly when the system reads them") {
  Dice dice;
  constexpr Bytes kParts[] = {":", ":", "::", ":",   "0",   "1",  "a",  "ffff",    "12345", "00",
                              ".", ".", "25", "255", "256", "01", "10", "1.2.3.4", "F",     " "};
  size_t good = 0;
  for (int i = 0; i < 300'000; i++) {
    std::string text;
    const size_t parts = 1 + dice.below(17);
    for (size_t n = 0; n < parts; n++) {
      // Mostly digits and colons in turns, so that some are addresses.
      const bool colon = n % 2 == 1 && dice.below(8) != 0;
      text += colon ? Bytes(":") : kParts[dice.below(std::size(kParts))];
    }
    millrace::test::context = text;
    Ipv6Bytes ipv6{};
    const bool is_ipv6 = read_ipv6(text, ipv6);
    EXPECT(is_ipv6 == system_reads(AF_INET6, text));
    if (is_ipv6) {
      Ipv6Bytes wanted{};
      good += ::inet_pton(AF_INET6, text.c_str(), wanted.data()) == 1;
      EXPECT(ipv6 == wanted);
    }
    Ipv4Bytes ipv4{};
    EXPECT(read_ipv4(text, ipv4) == system_reads(AF_INET, text));
  }
  EXPECT(good > 1000);
  for (int i = 0; i < 100'000; i++) {
    std::string text;
    for (size_t n = 0; n < 4; n++) {
      if (n > 0) text += '.';
      text += std::to_string(dice.below(280));
    }
    millrace::test::context = text;
    Ipv4Bytes ipv4{};
    EXPECT(read_ipv4(text, ipv4) == system_reads(AF_INET, text));
  }
}

}  // namespace
