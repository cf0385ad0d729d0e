#include "core/proto/multipart/boundary.h"

#include "core/proto/multipart/parameters.h"

namespace millrace {
namespace {

using multipart::Backslash;
using multipart::Parameter;
using multipart::ParameterReader;

constexpr Bytes kMediaType = "multipart/form-data";

// Clients leave out the quotes where RFC 2045 5.1 asks for them ("boundary=----=_Part_1:2"), so the
// bytes of an unquoted value are those of a quoted one.
bool copy_boundary(const Parameter& parameter, MultipartBoundary& boundary) {
  boundary.length = 0;
  for (Bytes rest = parameter.value; !rest.empty(); rest.remove_prefix(1)) {
    if (parameter.is_quoted && is_escape(rest, Backslash::Escapes)) rest.remove_prefix(1);
    if (boundary.length == MultipartBoundary::kLengthMax) return false;
    boundary.bytes[boundary.length++] = rest.front();
  }
  return is_multipart_boundary(boundary.text());
}

}  // namespace

bool is_multipart_boundary(Bytes text) {
  if (text.empty() || text.size() > MultipartBoundary::kLengthMax || text.back() == ' ') {
    return false;
  }
  for (char c : text) {
    const bool is_other = Bytes("(),/:=? ").find(c) != Bytes::npos;
    if (!is_other && !is_token_char(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

ErrorCode parse_multipart_boundary(Bytes content_type, MultipartBoundary& boundary) {
  Bytes rest = trim_ows(content_type);
  if (!equals_folded(rest.substr(0, kMediaType.size()), kMediaType)) {
    return ErrorCode::UnsupportedMediaType;
  }
  rest = trim_ows(rest.substr(kMediaType.size()));
  if (!rest.empty() && rest.front() != ';') return ErrorCode::UnsupportedMediaType;
  ParameterReader reader(rest, Backslash::Escapes);
  Parameter parameter;
  bool is_found = false;
  while (true) {
    const ParameterReader::Read read = reader.next(parameter);
    if (read == ParameterReader::Read::Malformed) return ErrorCode::BadMultipart;
    if (read == ParameterReader::Read::End) break;
    if (!equals_folded(parameter.name, "boundary")) continue;
    if (is_found || !copy_boundary(parameter, boundary)) return ErrorCode::BadMultipart;
    is_found = true;
  }
  return is_found ? ErrorCode::None : ErrorCode::BadMultipart;
}

}  // namespace millrace
