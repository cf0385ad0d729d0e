#include "core/proto/http1/rules.h"

#include <algorithm>
#include <array>

namespace millrace::http1 {
namespace {

constexpr uint64_t kLengthMax = uint64_t{1} << 53;  // what JavaScript can count

struct Found {
  uint32_t hosts = 0;
  uint32_t lengths = 0;
  uint32_t codings = 0;
  Bytes host;
  Bytes length;
  Bytes coding;
  bool says_close = false;
  bool says_keep_alive = false;
  bool expects = false;
  bool expects_other = false;
  bool upgrades = false;
};

void look_at(const HeaderField& field, Found& found) {
  switch (field.name.size()) {
    case 4:
      if (!equals_folded(field.name, "host")) return;
      found.hosts++;
      found.host = field.value;
      return;
    case 6:
      if (!equals_folded(field.name, "expect")) return;
      found.expects = true;
      if (!equals_folded(field.value, "100-continue")) found.expects_other = true;
      return;
    case 7:
      if (equals_folded(field.name, "upgrade")) found.upgrades = true;
      return;
    case 10:
      if (!equals_folded(field.name, "connection")) return;
      if (list_has_token(field.value, "close")) found.says_close = true;
      if (list_has_token(field.value, "keep-alive")) found.says_keep_alive = true;
      return;
    case 14:
      if (!equals_folded(field.name, "content-length")) return;
      found.lengths++;
      found.length = field.value;
      return;
    case 17:
      if (!equals_folded(field.name, "transfer-encoding")) return;
      found.codings++;
      found.coding = field.value;
      return;
    default: return;
  }
}

// RFC 9112 6.1: chunked must be there, last, and once; other codings before it are well-formed but
// not ours.
ErrorCode judge_coding(Bytes list) {
  if (equals_folded(list, "chunked")) return ErrorCode::None;
  size_t comma = list.rfind(',');
  Bytes last = trim_ows(comma == Bytes::npos ? list : list.substr(comma + 1));
  if (comma == Bytes::npos) {
    return is_token(last) ? ErrorCode::CodingNotImplemented : ErrorCode::BadFraming;
  }
  if (!equals_folded(last, "chunked")) return ErrorCode::BadFraming;
  Bytes before = list.substr(0, comma);
  if (list_has_token(before, "chunked") || trim_ows(before).empty()) return ErrorCode::BadFraming;
  return ErrorCode::CodingNotImplemented;
}

// reg-name and IPv4address; RFC 3986 3.2.2.
constexpr std::array<bool, 256> make_host_set() {
  std::array<bool, 256> set{};
  for (int c = '0'; c <= '9'; c++) set[static_cast<size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; c++) set[static_cast<size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; c++) set[static_cast<size_t>(c)] = true;
  for (char c : Bytes("-._~!$&'()*+,;=%")) set[static_cast<unsigned char>(c)] = true;
  return set;
}

constexpr std::array<bool, 256> kHostSet = make_host_set();

bool is_host_char(char c) { return kHostSet[static_cast<unsigned char>(c)]; }

bool is_port(Bytes text) {
  if (text.size() > 5) return false;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

}  // namespace

bool is_valid_host(Bytes value) {
  size_t end = 0;
  if (!value.empty() && value[0] == '[') {
    end = value.find(']');
    if (end == Bytes::npos || end < 3) return false;
    for (char c : value.substr(1, end - 1)) {
      if (!is_host_char(c) && c != ':') return false;
    }
    end++;
  } else {
    while (end < value.size() && is_host_char(value[end])) end++;
  }
  if (end == value.size()) return true;
  return value[end] == ':' && is_port(value.substr(end + 1));
}

bool is_forbidden_trailer(Bytes name) {
  constexpr std::array<Bytes, 13> kForbidden = {
      "transfer-encoding", "content-length", "host",      "trailer",       "connection",
      "content-encoding",  "content-type",   "te",        "content-range", "expect",
      "authorization",     "upgrade",        "set-cookie"};
  for (Bytes forbidden : kForbidden) {
    if (equals_folded(name, forbidden)) return true;
  }
  return false;
}

uint64_t body_bytes_max(const Route& route, const Limits& limits) {
  int64_t size = route.body_bytes_max >= 0 ? route.body_bytes_max : limits.body_bytes_max;
  if (!is_native(route) && is_called_early(route)) {  // and the body is held by nobody
    bool is_bounded = route.body == BodyMode::Stream || route.body_bytes_max >= 0;
    return is_bounded ? static_cast<uint64_t>(size) : kLengthMax;
  }
  return static_cast<uint64_t>(std::min<int64_t>(size, UINT32_MAX));
}

ErrorCode apply_rules(const RequestHead& head, RequestRules& rules) {
  Found found;
  for (uint32_t i = 0; i < head.header_count; i++) look_at(head.headers[i], found);
  if (found.hosts > 1 || (found.hosts == 0 && head.minor_version == 1)) return ErrorCode::BadHost;
  if (found.hosts == 1 && !is_valid_host(found.host)) return ErrorCode::BadHost;
  if (found.lengths > 1) return ErrorCode::BadContentLength;
  if (found.codings > 0) {
    // RFC 9112 6.1 and 6.3: both fields, or a coding from HTTP/1.0, are how requests are smuggled.
    if (found.lengths > 0 || found.codings > 1 || head.minor_version == 0)
      return ErrorCode::BadFraming;
    ErrorCode verdict = judge_coding(found.coding);
    if (verdict != ErrorCode::None) return verdict;
    rules.chunked = true;
  }
  if (found.lengths == 1) {
    if (!parse_decimal(found.length, rules.length)) return ErrorCode::BadContentLength;
    if (rules.length >= kLengthMax) return ErrorCode::BodyTooLarge;
    rules.has_length = true;
  }
  if (found.expects && head.minor_version == 1) {
    if (found.expects_other) return ErrorCode::ExpectationFailed;
    rules.expects_continue = true;
  }
  rules.has_upgrade = found.upgrades;
  rules.says_keep_alive = head.minor_version == 0 && found.says_keep_alive && !found.says_close;
  rules.close = found.says_close || (head.minor_version == 0 && !rules.says_keep_alive);
  return ErrorCode::None;
}

}  // namespace millrace::http1
