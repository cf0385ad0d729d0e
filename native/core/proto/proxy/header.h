// Header of the PROXY protocol, versions 1 (text) and 2 (binary), as HAProxy's document has it.
// Stateless, over one span; allocates nothing; never reads past the span.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"
#include "core/model/address.h"

namespace millrace::proxy {

constexpr int kBroken = -1;
constexpr int kNeedMore = -2;

constexpr size_t kTextHeaderMax = 107;  // of version 1, its CRLF included

enum class Signature : uint8_t {
  Unsure,  // the bytes begin one
  None,    // no bytes that follow make it one
  Text,    // "PROXY ", then "TCP4 ", "TCP6 ", "UNKNOWN " or "UNKNOWN\r"
  Binary,  // the twelve bytes of version 2
};

// What the first bytes of a connection are. "PROXY" alone could be a method and "TCP4" no target of
// HTTP's (RFC 9112 3.2.3 keeps such for CONNECT), so that no valid request is taken for a header.
[[nodiscard]] Signature signature_of(Bytes input);

// A ProxyHeader (model/proxy.h) whose TLVs still lie in the input.
struct HeaderView {
  uint8_t version = 0;
  bool is_local = false;
  Address source;
  Address destination;
  Bytes tlvs;
};

// Bytes of the header, kBroken or kNeedMore. Every prefix of a broken header answers kNeedMore or
// kBroken; once broken, every longer input is, and one that is whole stays as it is.
//
// Version 1: one space between the parts, ports without leading zeros, addresses of the family that
// is named; behind UNKNOWN any printable ASCII, which counts for nothing.
// Version 2: nothing above `bytes_max` in all; STREAM only; a length that covers the addresses of
// the family, TLVs that end where the header does, those within an SSL TLV too, and a CRC-32C that
// holds where there is one. LOCAL counts for what it is: the rest of such a header is not looked
// at.
[[nodiscard]] int parse_header(Bytes input, size_t bytes_max, HeaderView& out);

}  // namespace millrace::proxy
