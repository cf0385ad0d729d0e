#include "core/proto/http1/chunked.h"

#include <algorithm>
#include <cstring>

namespace millrace::http1 {
namespace {

constexpr uint8_t kSizeDigitsMax = 16;

// -1 when `c` is no hex digit.
int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = ascii_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// HTAB, SP, visible ASCII, obs-text.
bool is_text(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

}  // namespace

ChunkDecoder::Step ChunkDecoder::decode(MutableBytes input, uint64_t body_bytes_max,
                                        uint64_t extension_bytes_max) {
  Step step;
  char* const bytes = input.data();
  while (phase_ != Phase::Done && phase_ != Phase::Broken && step.consumed < input.size()) {
    if (phase_ == Phase::Data) {
      const size_t here = input.size() - step.consumed;
      const auto taken = static_cast<size_t>(std::min<uint64_t>(left_, here));
      if (step.produced != step.consumed) {
        std::memmove(bytes + step.produced, bytes + step.consumed, taken);
      }
      step.produced += taken;
      step.consumed += taken;
      total_ += taken;
      left_ -= taken;
      if (left_ == 0) phase_ = Phase::DataCr;
      continue;
    }
    error_ = take_framing_byte(bytes[step.consumed], body_bytes_max, extension_bytes_max);
    if (error_ != ErrorCode::None) {
      phase_ = Phase::Broken;
    } else {
      step.consumed++;
    }
  }
  if (phase_ == Phase::Done) step.state = State::Trailers;
  if (phase_ == Phase::Broken) step.state = State::Broken;
  step.error = error_;
  return step;
}

ErrorCode ChunkDecoder::take_framing_byte(char c, uint64_t body_bytes_max,
                                          uint64_t extension_bytes_max) {
  switch (phase_) {
    case Phase::SizeFirst:
    case Phase::Size: return take_size_byte(c, body_bytes_max, extension_bytes_max);
    case Phase::Extension:
    case Phase::ExtensionQuoted:
    case Phase::ExtensionEscape: return take_extension_byte(c, extension_bytes_max);
    case Phase::SizeLf:
      if (c != '\n') return ErrorCode::BadChunk;
      phase_ = left_ == 0 ? Phase::Done : Phase::Data;
      digits_ = 0;
      return ErrorCode::None;
    case Phase::DataCr:
      if (c != '\r') return ErrorCode::BadChunk;
      phase_ = Phase::DataLf;
      return ErrorCode::None;
    case Phase::DataLf:
      if (c != '\n') return ErrorCode::BadChunk;
      phase_ = Phase::SizeFirst;
      return ErrorCode::None;
    case Phase::Data:
    case Phase::Done:
    case Phase::Broken: break;
  }
  return ErrorCode::BadChunk;
}

ErrorCode ChunkDecoder::take_size_byte(char c, uint64_t body_bytes_max,
                                       uint64_t extension_bytes_max) {
  const int digit = hex_value(c);
  if (digit >= 0) {
    if (digits_ == kSizeDigitsMax) return ErrorCode::BadChunk;
    digits_++;
    left_ = left_ << 4 | static_cast<uint64_t>(digit);
    phase_ = Phase::Size;
    return ErrorCode::None;
  }
  if (phase_ == Phase::SizeFirst || (c != '\r' && c != ';')) return ErrorCode::BadChunk;
  if (total_ > body_bytes_max || left_ > body_bytes_max - total_) return ErrorCode::BodyTooLarge;
  if (c == '\r') {
    phase_ = Phase::SizeLf;
    return ErrorCode::None;
  }
  phase_ = Phase::Extension;
  return take_extension_byte(c, extension_bytes_max);
}

// RFC 9112 7.1.1. The names and values mean nothing to us; what matters is that no reader of the
// same bytes can see the end of the line elsewhere, so a quoted string holds no CR either.
ErrorCode ChunkDecoder::take_extension_byte(char c, uint64_t extension_bytes_max) {
  if (phase_ == Phase::Extension && c == '\r') {
    phase_ = Phase::SizeLf;
    return ErrorCode::None;
  }
  if (!is_text(c) || extension_bytes_ >= extension_bytes_max) return ErrorCode::BadChunk;
  extension_bytes_++;
  if (phase_ == Phase::ExtensionEscape) {
    phase_ = Phase::ExtensionQuoted;
  } else if (c == '"') {
    phase_ = phase_ == Phase::Extension ? Phase::ExtensionQuoted : Phase::Extension;
  } else if (c == '\\' && phase_ == Phase::ExtensionQuoted) {
    phase_ = Phase::ExtensionEscape;
  }
  return ErrorCode::None;
}

}  // namespace millrace::http1
