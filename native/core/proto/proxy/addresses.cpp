#include "core/proto/proxy/addresses.h"

#include <algorithm>

namespace millrace::proxy {
namespace {

constexpr size_t kGroups = 8;
using Groups = std::array<uint16_t, kGroups>;

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  char lower = ascii_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool read_group(Bytes text, uint16_t& out) {
  if (text.empty() || text.size() > 4) return false;
  unsigned value = 0;
  for (char c : text) {
    int digit = digit_of(c);
    if (digit < 0) return false;
    value = value * 16 + static_cast<unsigned>(digit);
  }
  out = static_cast<uint16_t>(value);
  return true;
}

// Groups between colons, the last one maybe an IPv4 address, which counts as two. No text: none.
bool read_groups(Bytes text, bool is_end, Groups& out, size_t& count) {
  count = 0;
  while (!text.empty()) {
    size_t colon = text.find(':');
    Bytes part = text.substr(0, colon);
    bool is_last = colon == Bytes::npos;
    Ipv4Bytes ipv4{};
    if (is_last && is_end && count + 2 <= kGroups && read_ipv4(part, ipv4)) {
      out[count++] = static_cast<uint16_t>(ipv4[0] << 8 | ipv4[1]);
      out[count++] = static_cast<uint16_t>(ipv4[2] << 8 | ipv4[3]);
      return true;
    }
    if (count == kGroups || !read_group(part, out[count])) return false;
    count++;
    if (is_last) return true;
    text.remove_prefix(colon + 1);
    if (text.empty()) return false;
  }
  return true;
}

struct Run {
  size_t begin = 0;
  size_t size = 0;
};

// The longest run of zeros, the first of several; one alone is written out (RFC 5952 4.2).
Run longest_zeros(const Groups& groups) {
  Run longest;
  for (size_t i = 0; i < kGroups; i++) {
    size_t end = i;
    while (end < kGroups && groups[end] == 0) end++;
    if (end - i > longest.size) longest = {i, end - i};
    i = end;
  }
  return longest.size > 1 ? longest : Run{};
}

char* write_group(uint16_t value, char* out) {
  bool begun = false;
  for (int shift = 12; shift >= 0; shift -= 4) {
    unsigned digit = static_cast<unsigned>(value) >> shift & 0xf;
    begun = begun || digit != 0 || shift == 0;
    if (begun) *out++ = "0123456789abcdef"[digit];
  }
  return out;
}

char* write_ipv4(const uint8_t* bytes, char* out) {
  for (int i = 0; i < 4; i++) {
    if (i > 0) *out++ = '.';
    out += write_decimal(bytes[i], out);
  }
  return out;
}

char* write_ipv6(const Ipv6Bytes& bytes, char* out) {
  Groups groups{};
  for (size_t i = 0; i < kGroups; i++)
    groups[i] = static_cast<uint16_t>(bytes[2 * i] << 8 | bytes[2 * i + 1]);
  Run zeros = longest_zeros(groups);
  // IPv4-compatible, RFC 4291 2.5.5.1. What is mapped has become IPv4 before.
  bool is_compatible = zeros.begin == 0 && zeros.size == 6;
  for (size_t i = 0; i < kGroups; i++) {
    if (zeros.size > 0 && i == zeros.begin) {
      *out++ = ':';
      if (zeros.begin + zeros.size == kGroups) *out++ = ':';
      i += zeros.size - 1;
      continue;
    }
    if (i > 0) *out++ = ':';
    if (is_compatible) return write_ipv4(&bytes[12], out);
    out = write_group(groups[i], out);
  }
  return out;
}

void end_text(Address& address, const char* end) {
  address.length = static_cast<uint8_t>(end - address.text);
}

}  // namespace

bool read_ipv4(Bytes text, Ipv4Bytes& out) {
  for (size_t i = 0; i < out.size(); i++) {
    size_t dot = i + 1 < out.size() ? text.find('.') : text.size();
    if (dot == Bytes::npos || dot == 0 || dot > 3 || (text[0] == '0' && dot > 1)) return false;
    uint64_t value = 0;
    if (!parse_decimal(text.substr(0, dot), value) || value > 255) return false;
    out[i] = static_cast<uint8_t>(value);
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  return true;
}

bool read_ipv6(Bytes text, Ipv6Bytes& out) {
  Groups front{};
  Groups back{};
  size_t front_count = 0;
  size_t back_count = 0;
  size_t gap = text.find("::");
  if (!read_groups(text.substr(0, gap), gap == Bytes::npos, front, front_count)) return false;
  if (gap == Bytes::npos) {
    if (front_count != kGroups) return false;
  } else {
    if (!read_groups(text.substr(gap + 2), true, back, back_count)) return false;
    if (front_count + back_count >= kGroups) return false;
  }
  std::copy_n(back.begin(), back_count, front.end() - static_cast<std::ptrdiff_t>(back_count));
  for (size_t i = 0; i < kGroups; i++) {
    out[2 * i] = static_cast<uint8_t>(front[i] >> 8);
    out[2 * i + 1] = static_cast<uint8_t>(front[i] & 0xff);
  }
  return true;
}

Address address_of(const Ipv4Bytes& bytes, uint16_t port) {
  Address address;
  address.family = Family::IPv4;
  address.port = port;
  end_text(address, write_ipv4(bytes.data(), address.text));
  return address;
}

Address address_of(const Ipv6Bytes& bytes, uint16_t port) {
  constexpr Ipv6Bytes kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
  if (std::equal(bytes.begin(), bytes.begin() + 12, kMapped.begin()))
    return address_of(Ipv4Bytes{bytes[12], bytes[13], bytes[14], bytes[15]}, port);
  Address address;
  address.family = Family::IPv6;
  address.port = port;
  end_text(address, write_ipv6(bytes, address.text));
  return address;
}

}  // namespace millrace::proxy
