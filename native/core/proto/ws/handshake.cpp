#include "core/proto/ws/handshake.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/base64.h"
#include "core/base/check.h"
#include "core/base/sha1.h"
#include "core/proto/ws/extension.h"

namespace millrace::ws {
namespace {

constexpr Bytes kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455 1.3
constexpr size_t kKeySize = 24;
constexpr size_t kKeyBytes = 16;

// The fields of a head, whichever kind it is.
class Fields final {
 public:
  Fields(const HeaderField* fields, uint32_t count) : fields_(fields), count_(count) {}

  [[nodiscard]] uint32_t count(Bytes lower_name) const {
    uint32_t found = 0;
    each(lower_name, [&](Bytes) { found++; });
    return found;
  }
  // The value of the one field of that name; false when there is none, or more.
  [[nodiscard]] bool only(Bytes lower_name, Bytes& value) const {
    uint32_t found = 0;
    each(lower_name, [&](Bytes one) {
      value = one;
      found++;
    });
    return found == 1;
  }
  [[nodiscard]] bool lists(Bytes lower_name, Bytes lower_token) const {
    bool found = false;
    each(lower_name, [&](Bytes value) { found = found || list_has_token(value, lower_token); });
    return found;
  }
  // All fields of that name as the one list that they are (RFC 9110 5.3).
  [[nodiscard]] std::string joined(Bytes lower_name) const {
    std::string list;
    bool is_first = true;
    each(lower_name, [&](Bytes value) {
      if (!is_first) list += ", ";
      is_first = false;
      list += value;
    });
    return list;
  }

 private:
  template <typename Visit>
  void each(Bytes lower_name, Visit visit) const {
    for (uint32_t i = 0; i < count_; i++) {
      if (equals_folded(fields_[i].name, lower_name)) visit(fields_[i].value);
    }
  }

  const HeaderField* fields_;
  uint32_t count_;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "version" of RFC 6455 4.3: 0 to 255 without a leading zero.
bool is_version(Bytes text) {
  if (text.empty() || text.size() > 3 || !std::all_of(text.begin(), text.end(), is_digit)) {
    return false;
  }
  if (text.size() == 3) return text[0] == '1' || text[0] == '2';
  return text.size() == 1 || text[0] != '0';
}

// What follows the head are frames: a body would make two readings of the same bytes.
bool announces_body(const Fields& fields) {
  if (fields.count("transfer-encoding") > 0) return true;
  Bytes length = "0";
  return fields.count("content-length") > 0 &&
         (!fields.only("content-length", length) || length != "0");
}

// 1#token, all of them different; RFC 6455 4.1 item 10.
bool is_protocol_list(Bytes list) {
  std::vector<Bytes> protocols;
  while (true) {
    const size_t comma = list.find(',');
    const Bytes protocol = trim_ows(list.substr(0, comma));
    if (!protocol.empty()) {
      if (!is_token(protocol)) return false;
      protocols.push_back(protocol);
    }
    if (comma == Bytes::npos) break;
    list.remove_prefix(comma + 1);
  }
  std::sort(protocols.begin(), protocols.end());
  return !protocols.empty() &&
         std::adjacent_find(protocols.begin(), protocols.end()) == protocols.end();
}

}  // namespace

std::array<char, 28> accept_of(Bytes key) {
  MR_CHECK(key.size() == kKeySize);
  char text[kKeySize + kGuid.size()];
  std::memcpy(text, key.data(), kKeySize);
  std::memcpy(text + kKeySize, kGuid.data(), kGuid.size());
  const auto digest = sha1_of(Bytes(text, sizeof(text)));
  std::array<char, 28> accept;
  static_assert(base64_size(kSha1DigestSize) == sizeof(accept));
  write_base64(Bytes(reinterpret_cast<const char*>(digest.data()), digest.size()), accept.data());
  return accept;
}

bool is_valid_key(Bytes key) {
  size_t size = 0;
  return key.size() == kKeySize && is_base64(key, size) && size == kKeyBytes;
}

bool asks_for_websocket(const RequestHead& head) {
  const Fields fields(head.headers, head.header_count);
  return head.minor_version >= 1 && fields.lists("connection", "upgrade") &&
         fields.lists("upgrade", "websocket");
}

ErrorCode read_client_handshake(const RequestHead& head, ClientHandshake& handshake) {
  handshake = ClientHandshake();
  const Fields fields(head.headers, head.header_count);
  if (head.method != "GET" || !asks_for_websocket(head) || announces_body(fields)) {
    return ErrorCode::WsHandshake;
  }
  // The version comes first: what the other fields must be is its to say.
  Bytes version;
  if (!fields.only("sec-websocket-version", version) || !is_version(version)) {
    return ErrorCode::WsHandshake;
  }
  if (version != "13") return ErrorCode::WsVersion;
  if (!fields.only("sec-websocket-key", handshake.key) || !is_valid_key(handshake.key)) {
    return ErrorCode::WsHandshake;
  }
  if (fields.count("sec-websocket-protocol") > 0 &&
      !is_protocol_list(fields.joined("sec-websocket-protocol"))) {
    return ErrorCode::WsHandshake;
  }
  if (fields.count("sec-websocket-extensions") > 0) {
    handshake.extensions = fields.joined("sec-websocket-extensions");
    if (!is_extension_list(handshake.extensions)) return ErrorCode::WsHandshake;
  }
  return ErrorCode::None;
}

ErrorCode read_server_handshake(const ResponseHead& head, const HeaderField* head_fields, Bytes key,
                                ServerHandshake& handshake) {
  handshake = ServerHandshake();
  const Fields fields(head_fields, head.header_count);
  if (head.status != 101 || head.minor_version < 1) return ErrorCode::WsRejected;
  // One protocol and no other: not a list, unlike in the request (4.1).
  Bytes upgrade;
  if (!fields.only("upgrade", upgrade) || !equals_folded(upgrade, "websocket") ||
      !fields.lists("connection", "upgrade")) {
    return ErrorCode::WsRejected;
  }
  Bytes accept;
  const std::array<char, 28> wanted = accept_of(key);
  if (!fields.only("sec-websocket-accept", accept) ||
      accept != Bytes(wanted.data(), wanted.size())) {
    return ErrorCode::WsRejected;
  }
  // In a response both stand once at most (11.3.2, 11.3.4).
  if (fields.count("sec-websocket-protocol") > 0 &&
      (!fields.only("sec-websocket-protocol", handshake.protocol) ||
       !is_token(handshake.protocol))) {
    return ErrorCode::WsRejected;
  }
  if (fields.count("sec-websocket-extensions") > 0 &&
      (!fields.only("sec-websocket-extensions", handshake.extensions) ||
       !is_extension_list(handshake.extensions))) {
    return ErrorCode::WsRejected;
  }
  return ErrorCode::None;
}

}  // namespace millrace::ws
