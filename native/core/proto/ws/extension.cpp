#include "core/proto/ws/extension.h"

#include <algorithm>

namespace millrace::ws {
namespace {

constexpr Bytes kName = "permessage-deflate";
constexpr Bytes kServerNoTakeover = "server_no_context_takeover";
constexpr Bytes kClientNoTakeover = "client_no_context_takeover";
constexpr Bytes kServerBits = "server_max_window_bits";
constexpr Bytes kClientBits = "client_max_window_bits";
constexpr uint8_t kBitsMin = 8;
constexpr uint8_t kBitsMax = 15;
constexpr uint8_t kOwnBitsMin = 9;

// Reads an extension list (RFC 6455 9.1) from left to right. White space may stand around every
// separator, "=" among them, and elements may be empty: the grammar is RFC 2616's.
class ExtensionReader final {
 public:
  explicit ExtensionReader(Bytes list) : rest_(list) {}

  // Extension: `name` begins one. Parameter: of the extension found last.
  enum class Read : uint8_t { Extension, Parameter, End, Malformed };
  [[nodiscard]] Read next() {
    skip_space();
    if (has_found_) {
      if (rest_.empty()) return Read::End;
      if (take(';')) return read_parameter();
      if (!take(',')) return Read::Malformed;
      skip_space();
    }
    while (take(',')) skip_space();
    if (rest_.empty()) return has_found_ ? Read::End : Read::Malformed;
    has_found_ = true;
    name_ = take_token();
    return name_.empty() ? Read::Malformed : Read::Extension;
  }

  [[nodiscard]] Bytes name() const { return name_; }
  [[nodiscard]] bool has_value() const { return has_value_; }
  [[nodiscard]] Bytes value() const { return value_; }

 private:
  Read read_parameter() {
    skip_space();
    name_ = take_token();
    if (name_.empty()) return Read::Malformed;
    skip_space();
    value_.clear();
    has_value_ = take('=');
    if (!has_value_) return Read::Parameter;
    skip_space();
    if (take('"')) return read_quoted() ? Read::Parameter : Read::Malformed;
    value_ = take_token();
    return value_.empty() ? Read::Malformed : Read::Parameter;
  }
  // Without its escapes, what is quoted must be a token.
  bool read_quoted() {
    while (!rest_.empty() && rest_.front() != '"') {
      if (take('\\') && rest_.empty()) return false;
      value_ += rest_.front();
      rest_.remove_prefix(1);
    }
    return take('"') && is_token(value_);
  }
  void skip_space() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t"), rest_.size())); }
  bool take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  Bytes take_token() {
    size_t length = 0;
    while (length < rest_.size() && is_token_char(static_cast<unsigned char>(rest_[length]))) {
      length++;
    }
    const Bytes token = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return token;
  }

  Bytes rest_;
  Bytes name_;
  std::string value_;
  bool has_value_ = false;
  bool has_found_ = false;  // an extension
};

using Read = ExtensionReader::Read;

enum class Side : uint8_t { Offer, Answer };

// The parameters of one permessage-deflate.
struct Parameters {
  bool server_no_takeover = false;
  bool client_no_takeover = false;
  bool has_server_bits = false;
  bool has_client_bits = false;
  uint8_t server_bits = kBitsMax;
  uint8_t client_bits = kBitsMax;  // also when an offer names none
};

// Decimal without a leading zero (RFC 7692 7.1.2).
bool read_window_bits(Bytes text, uint8_t& bits) {
  uint64_t value = 0;
  if (text.empty() || text[0] == '0' || !parse_decimal(text, value)) return false;
  if (value < kBitsMin || value > kBitsMax) return false;
  bits = static_cast<uint8_t>(value);
  return true;
}

bool set_once(bool& flag) {
  if (flag) return false;
  flag = true;
  return true;
}

// False for a parameter that is unknown, repeated, or has a value that it may not have.
bool take_parameter(const ExtensionReader& reader, Side side, Parameters& parameters) {
  const Bytes name = reader.name();
  if (name == kServerNoTakeover) {
    return !reader.has_value() && set_once(parameters.server_no_takeover);
  }
  if (name == kClientNoTakeover) {
    return !reader.has_value() && set_once(parameters.client_no_takeover);
  }
  if (name == kServerBits) {
    return set_once(parameters.has_server_bits) &&
           read_window_bits(reader.value(), parameters.server_bits);
  }
  if (name == kClientBits) {
    if (!set_once(parameters.has_client_bits)) return false;
    if (side == Side::Offer && !reader.has_value()) return true;
    return read_window_bits(reader.value(), parameters.client_bits);
  }
  return false;
}

void add_bits(std::string& text, Bytes name, uint8_t bits) {
  text += "; ";
  text += name;
  text += '=';
  text += std::to_string(bits);
}

void add_flag(std::string& text, Bytes name) {
  text += "; ";
  text += name;
}

// Serves the offer, or leaves both as they are. The answer says all that is less than the default,
// also what the client only announced: some clients do what the answer says and not what they said.
void agree(const Parameters& offer, const DeflateSettings& settings, DeflateParameters& agreed,
           std::string& answer) {
  if (!settings.enabled || offer.server_bits < kOwnBitsMin) return;
  agreed.enabled = true;
  agreed.own_takeover = settings.context_takeover && !offer.server_no_takeover;
  agreed.peer_takeover = settings.peer_context_takeover && !offer.client_no_takeover;
  agreed.own_window_bits = std::min(settings.window_bits, offer.server_bits);
  // 7.1.2.2: only a client that offers the parameter may be asked for a smaller window.
  agreed.peer_window_bits =
      offer.has_client_bits ? std::min(settings.peer_window_bits, offer.client_bits) : kBitsMax;
  answer = kName;
  if (!agreed.own_takeover) add_flag(answer, kServerNoTakeover);
  if (!agreed.peer_takeover) add_flag(answer, kClientNoTakeover);
  // 7.1.2.1: an offer with the parameter is accepted by an answer with it, 15 included.
  if (offer.has_server_bits || agreed.own_window_bits < kBitsMax) {
    add_bits(answer, kServerBits, agreed.own_window_bits);
  }
  if (agreed.peer_window_bits < kBitsMax) add_bits(answer, kClientBits, agreed.peer_window_bits);
}

}  // namespace

bool accept_offer(Bytes offers, const DeflateSettings& settings, DeflateParameters& agreed,
                  std::string& answer) {
  agreed = DeflateParameters();
  answer.clear();
  if (offers.empty()) return true;
  ExtensionReader reader(offers);
  Parameters offer;
  bool is_good = false;  // of the extension that is being read
  while (true) {
    const Read read = reader.next();
    if (read == Read::Parameter) {
      is_good = is_good && take_parameter(reader, Side::Offer, offer);
      continue;
    }
    if (read == Read::Malformed) {
      agreed = DeflateParameters();
      answer.clear();
      return false;
    }
    if (is_good && !agreed.enabled) agree(offer, settings, agreed, answer);
    if (read == Read::End) return true;
    offer = Parameters();
    is_good = reader.name() == kName;
  }
}

std::string make_offer(const DeflateSettings& settings) {
  std::string offer;
  if (!settings.enabled) return offer;
  offer = kName;
  if (!settings.peer_context_takeover) add_flag(offer, kServerNoTakeover);
  if (!settings.context_takeover) add_flag(offer, kClientNoTakeover);
  if (settings.peer_window_bits < kBitsMax) add_bits(offer, kServerBits, settings.peer_window_bits);
  // Without a value it lets the server choose; some decline offers that do not.
  if (settings.window_bits < kBitsMax) {
    add_bits(offer, kClientBits, settings.window_bits);
  } else {
    add_flag(offer, kClientBits);
  }
  return offer;
}

bool read_answer(Bytes answer, const DeflateSettings& settings, DeflateParameters& agreed) {
  agreed = DeflateParameters();
  if (answer.empty()) return true;
  ExtensionReader reader(answer);
  if (!settings.enabled || reader.next() != Read::Extension || reader.name() != kName) return false;
  Parameters parameters;
  Read read = reader.next();
  for (; read == Read::Parameter; read = reader.next()) {
    if (!take_parameter(reader, Side::Answer, parameters)) return false;
  }
  if (read != Read::End) return false;
  // 7.1.1.1, 7.1.2.1: what was asked of the server is granted, or the offer was not accepted.
  if (!settings.peer_context_takeover && !parameters.server_no_takeover) return false;
  if (parameters.server_bits > settings.peer_window_bits) return false;
  if (parameters.has_client_bits &&
      (parameters.client_bits > settings.window_bits || parameters.client_bits < kOwnBitsMin)) {
    return false;
  }
  agreed.enabled = true;
  agreed.own_takeover = settings.context_takeover && !parameters.client_no_takeover;
  agreed.peer_takeover = !parameters.server_no_takeover;
  agreed.own_window_bits = std::min(settings.window_bits, parameters.client_bits);
  agreed.peer_window_bits = parameters.server_bits;
  return true;
}

bool is_extension_list(Bytes value) {
  ExtensionReader reader(value);
  Read read = reader.next();
  while (read == Read::Extension || read == Read::Parameter) read = reader.next();
  return read == Read::End;
}

}  // namespace millrace::ws
