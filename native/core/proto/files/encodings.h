// Accept-Encoding, RFC 9110 12.5.3: which content codings a client takes, in the order in which the
// server should try them. Does not encode.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/base/bytes.h"

namespace millrace::files {

// In the server's order: what compresses best comes first.
enum class Encoding : uint8_t { Brotli, Zstd, Gzip, Identity };
constexpr size_t kEncodingCount = 4;

[[nodiscard]] Bytes encoding_token(Encoding encoding);      // "br", …; "identity" is never sent
[[nodiscard]] Bytes encoding_extension(Encoding encoding);  // ".br", …; "" for identity

// Only codings that the client accepts, each once. None: it refuses even identity; RFC 9110 lets a
// server answer 406 or send identity all the same.
struct EncodingOrder {
  std::array<Encoding, kEncodingCount> encodings{};
  uint8_t count = 0;
  [[nodiscard]] std::span<const Encoding> span() const& { return {encodings.data(), count}; }
  std::span<const Encoding> span() const&& = delete;  // of a temporary it would dangle
  [[nodiscard]] bool has(Encoding encoding) const;
};

// By weight, then in the server's order. An empty value is taken like no field: identity alone.
// (Without the field any coding would be allowed, but who sends none seldom decodes.) Identity that
// is not spoken of is accepted last. Malformed members and unknown codings are passed over; of two
// members for one coding the first counts. x-gzip is gzip; RFC 9110 8.4.1.3.
[[nodiscard]] EncodingOrder encoding_order(Bytes accept_encoding);

}  // namespace millrace::files
