#include "core/proto/proxy/header.h"

#include <algorithm>
#include <array>

#include "core/base/crc32c.h"
#include "core/proto/proxy/addresses.h"

namespace millrace::proxy {
namespace {

constexpr Bytes kBinarySignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr Bytes kTextSignatures[] = {"PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN ",
                                     "PROXY UNKNOWN\r"};

constexpr size_t kFixedSize = 16;  // signature, version and command, family, length
constexpr size_t kTlvFixedSize = 3;
constexpr size_t kSslFixedSize = 5;  // client flags and the result of verifying
constexpr uint8_t kTlvCrc = 0x03;
constexpr uint8_t kTlvSsl = 0x20;

enum class Command : uint8_t { Local = 0x20, Proxy = 0x21 };  // with the version above it
enum class Transport : uint8_t { Unspecified = 0x00, Tcp4 = 0x11, Tcp6 = 0x21, Unix = 0x31 };

uint8_t byte_at(Bytes bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

uint16_t word_at(Bytes bytes, size_t at) {
  return static_cast<uint16_t>(byte_at(bytes, at) << 8 | byte_at(bytes, at + 1));
}

template <size_t size>
std::array<uint8_t, size> bytes_at(Bytes bytes, size_t at) {
  std::array<uint8_t, size> out{};
  for (size_t i = 0; i < size; i++) out[i] = byte_at(bytes, at + i);
  return out;
}

// --- version 1 ---

// The line without its CRLF. > 0: bytes with it.
int find_line(Bytes input, Bytes& line) {
  for (size_t i = 0; i < input.size(); i++) {
    if (i == kTextHeaderMax - 1) return kBroken;
    if (input[i] == '\r') {
      if (i + 1 == input.size()) return kNeedMore;
      line = input.substr(0, i);
      return input[i + 1] == '\n' ? static_cast<int>(i + 2) : kBroken;
    }
    if (input[i] < 0x20 || input[i] > 0x7e) return kBroken;
  }
  return kNeedMore;
}

Bytes take_word(Bytes& rest) {
  size_t end = std::min(rest.find(' '), rest.size());
  Bytes word = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return word;
}

bool read_port(Bytes text, uint16_t& port) {
  uint64_t value = 0;
  if (text.size() > 5 || (text.size() > 1 && text[0] == '0')) return false;
  if (!parse_decimal(text, value) || value > 65535) return false;
  port = static_cast<uint16_t>(value);
  return true;
}

bool read_address(Bytes text, bool is_ipv6, uint16_t port, Address& out) {
  Ipv4Bytes ipv4{};
  Ipv6Bytes ipv6{};
  if (is_ipv6 ? !read_ipv6(text, ipv6) : !read_ipv4(text, ipv4)) return false;
  out = is_ipv6 ? address_of(ipv6, port) : address_of(ipv4, port);
  return true;
}

int parse_text(Bytes input, HeaderView& out) {
  Bytes line;
  int size = find_line(input, line);
  if (size < 0) return size;
  out.version = 1;
  line.remove_prefix(Bytes("PROXY ").size());
  Bytes rest = line;
  Bytes family = take_word(rest);
  if (family == "UNKNOWN") {
    out.is_local = true;
    return size;
  }
  // An empty word, as two spaces or one at the end make it, is neither an address nor a port.
  if (std::count(line.begin(), line.end(), ' ') != 4) return kBroken;
  bool is_ipv6 = family == "TCP6";
  Bytes source = take_word(rest);
  Bytes destination = take_word(rest);
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  if (!read_port(take_word(rest), source_port) || !read_port(rest, destination_port))
    return kBroken;
  bool ok = read_address(source, is_ipv6, source_port, out.source) &&
            read_address(destination, is_ipv6, destination_port, out.destination);
  return ok ? size : kBroken;
}

// --- version 2 ---

// Of the addresses in front of the TLVs.
size_t addresses_size(Transport transport) {
  switch (transport) {
    case Transport::Tcp4: return 12;
    case Transport::Tcp6: return 36;
    case Transport::Unix: return 216;
    case Transport::Unspecified: break;
  }
  return 0;
}

bool is_known(uint8_t transport) {
  for (Transport one :
       {Transport::Unspecified, Transport::Tcp4, Transport::Tcp6, Transport::Unix}) {
    if (static_cast<uint8_t>(one) == transport) return true;
  }
  return false;
}

// That of the whole header, its own four bytes taken for zeros.
bool crc_holds(Bytes header, size_t at) {
  uint32_t wanted = static_cast<uint32_t>(word_at(header, at)) << 16 | word_at(header, at + 2);
  uint32_t sum = crc32c(Bytes("\0\0\0\0", 4), crc32c(header.substr(0, at)));
  return crc32c(header.substr(at + 4), sum) == wanted;
}

// `outer`: the header that they end, whose checksum may be among them; none within an SSL TLV.
bool tlvs_are_valid(Bytes tlvs, Bytes outer) {
  while (!tlvs.empty()) {
    if (tlvs.size() < kTlvFixedSize) return false;
    uint8_t type = byte_at(tlvs, 0);
    size_t length = word_at(tlvs, 1);
    if (tlvs.size() - kTlvFixedSize < length) return false;
    Bytes value = tlvs.substr(kTlvFixedSize, length);
    if (type == kTlvCrc && !outer.empty()) {
      size_t at = outer.size() - tlvs.size() + kTlvFixedSize;
      if (length != 4 || !crc_holds(outer, at)) return false;
    }
    if (type == kTlvSsl && !outer.empty() &&
        (length < kSslFixedSize || !tlvs_are_valid(value.substr(kSslFixedSize), {}))) {
      return false;
    }
    tlvs.remove_prefix(kTlvFixedSize + length);
  }
  return true;
}

void read_addresses(Bytes header, Transport transport, HeaderView& out) {
  Bytes at = header.substr(kFixedSize);
  switch (transport) {
    case Transport::Tcp4:
      out.source = address_of(bytes_at<4>(at, 0), word_at(at, 8));
      out.destination = address_of(bytes_at<4>(at, 4), word_at(at, 10));
      return;
    case Transport::Tcp6:
      out.source = address_of(bytes_at<16>(at, 0), word_at(at, 32));
      out.destination = address_of(bytes_at<16>(at, 16), word_at(at, 34));
      return;
    case Transport::Unix: return;  // paths of the other host: a unix Address has no text
    case Transport::Unspecified: out.is_local = true; return;
  }
}

int parse_binary(Bytes input, size_t bytes_max, HeaderView& out) {
  if (input.size() < 13) return kNeedMore;
  bool is_local = byte_at(input, 12) == static_cast<uint8_t>(Command::Local);
  if (!is_local && byte_at(input, 12) != static_cast<uint8_t>(Command::Proxy)) return kBroken;
  if (input.size() < 14) return kNeedMore;
  if (!is_local && !is_known(byte_at(input, 13))) return kBroken;
  if (input.size() < kFixedSize) return kNeedMore;
  size_t size = kFixedSize + word_at(input, 14);
  auto transport = is_local ? Transport::Unspecified : static_cast<Transport>(byte_at(input, 13));
  size_t tlvs_at = kFixedSize + addresses_size(transport);
  if (size > bytes_max || size < tlvs_at) return kBroken;
  if (input.size() < size) return kNeedMore;
  Bytes header = input.substr(0, size);
  out.version = 2;
  out.is_local = is_local;
  if (is_local) return static_cast<int>(size);
  out.tlvs = header.substr(tlvs_at);
  if (!tlvs_are_valid(out.tlvs, header)) return kBroken;
  read_addresses(header, transport, out);
  return static_cast<int>(size);
}

}  // namespace

Signature signature_of(Bytes input) {
  if (input.starts_with(kBinarySignature)) return Signature::Binary;
  if (kBinarySignature.starts_with(input)) return Signature::Unsure;
  for (Bytes signature : kTextSignatures) {
    if (input.starts_with(signature)) return Signature::Text;
    if (signature.starts_with(input)) return Signature::Unsure;
  }
  return Signature::None;
}

int parse_header(Bytes input, size_t bytes_max, HeaderView& out) {
  out = HeaderView();
  switch (signature_of(input)) {
    case Signature::Unsure: return kNeedMore;
    case Signature::None: return kBroken;
    case Signature::Text: return parse_text(input, out);
    case Signature::Binary: break;
  }
  return parse_binary(input, bytes_max, out);
}

}  // namespace millrace::proxy
