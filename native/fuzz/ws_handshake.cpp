// Fuzzes the WebSocket handshake: a client's as HTTP's parser gives it, a server's head at every
// split and against HTTP's field parser, and the negotiation of compression, where both ends must
// come to the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/proto/http1/head.h"
#include "core/proto/ws/extension.h"
#include "core/proto/ws/handshake.h"
#include "fuzz/input.h"

namespace {

using millrace::Bytes;
using millrace::DeflateSettings;
using millrace::ErrorCode;
using millrace::HeaderField;
using millrace::ws::ClientHandshake;
using millrace::ws::DeflateParameters;
using millrace::ws::ResponseHead;
using millrace::ws::ServerHandshake;

constexpr Bytes kKey = "dGhlIHNhbXBsZSBub25jZQ==";
constexpr uint32_t kCountMax = 12;
constexpr uint8_t kBitsMin = 9;

DeflateSettings read_settings(millrace::fuzz::Input& input) {
  const uint32_t flags = input.below(8);
  DeflateSettings settings;
  settings.enabled = flags != 7;
  settings.context_takeover = (flags & 1) != 0;
  settings.peer_context_takeover = (flags & 2) != 0;
  settings.window_bits = static_cast<uint8_t>(15 - input.below(7));
  settings.peer_window_bits = static_cast<uint8_t>(15 - input.below(7));
  return settings;
}

bool mirrors(const DeflateParameters& here, const DeflateParameters& there) {
  return here.enabled == there.enabled && here.own_takeover == there.peer_takeover &&
         here.peer_takeover == there.own_takeover &&
         here.own_window_bits == there.peer_window_bits &&
         here.peer_window_bits == there.own_window_bits;
}

// A client that could have made the offer that was accepted takes the answer.
void check_offers(Bytes offers, const DeflateSettings& settings) {
  DeflateParameters agreed;
  std::string answer;
  const bool ok = accept_offer(offers, settings, agreed, answer);
  MR_CHECK(ok == (offers.empty() || millrace::ws::is_extension_list(offers)));
  MR_CHECK(agreed.enabled == !answer.empty() && (ok || answer.empty()));
  if (!agreed.enabled) return;
  MR_CHECK(settings.enabled && offers.find("permessage-deflate") != Bytes::npos);
  MR_CHECK(agreed.own_window_bits >= 9 && agreed.own_window_bits <= settings.window_bits);
  MR_CHECK(agreed.peer_window_bits >= 8 && agreed.peer_window_bits <= 15);
  MR_CHECK(settings.context_takeover || !agreed.own_takeover);
  MR_CHECK(settings.peer_context_takeover || !agreed.peer_takeover);
  const bool smaller_asked = answer.find("client_max_window_bits") != std::string::npos;
  MR_CHECK(!smaller_asked || offers.find("client_max_window_bits") != Bytes::npos);
  const DeflateSettings client{.enabled = true,
                               .context_takeover = agreed.peer_takeover,
                               .peer_context_takeover = agreed.own_takeover,
                               .window_bits = std::max(agreed.peer_window_bits, kBitsMin),
                               .peer_window_bits = agreed.own_window_bits};
  DeflateParameters taken;
  // A window of 8 is what our own client cannot do.
  const bool is_taken = read_answer(answer, client, taken);
  MR_CHECK(is_taken == (agreed.peer_window_bits >= kBitsMin));
  if (is_taken) MR_CHECK(mirrors(taken, agreed));
}

void check_both_ends(const DeflateSettings& client, const DeflateSettings& server) {
  DeflateParameters here;
  DeflateParameters there;
  std::string answer;
  MR_CHECK(accept_offer(millrace::ws::make_offer(client), server, there, answer));
  MR_CHECK(there.enabled == (client.enabled && server.enabled));
  MR_CHECK(read_answer(answer, client, here));
  if (there.enabled) MR_CHECK(mirrors(here, there));
}

void check_answer(Bytes answer, const DeflateSettings& settings) {
  DeflateParameters agreed;
  if (!read_answer(answer, settings, agreed)) {
    MR_CHECK(!agreed.enabled);
    return;
  }
  MR_CHECK(agreed.enabled == !answer.empty());
  if (!agreed.enabled) return;
  MR_CHECK(settings.enabled && millrace::ws::is_extension_list(answer));
  MR_CHECK(agreed.own_window_bits >= 9 && agreed.own_window_bits <= settings.window_bits);
  MR_CHECK(agreed.peer_window_bits >= 8 && agreed.peer_window_bits <= settings.peer_window_bits);
  MR_CHECK(settings.context_takeover || !agreed.own_takeover);
  MR_CHECK(settings.peer_context_takeover || !agreed.peer_takeover);
}

bool is_same(const HeaderField& a, const HeaderField& b) {
  return a.name == b.name && a.value == b.value;
}

void check_client(Bytes input, const DeflateSettings& settings) {
  millrace::RequestHead head;
  HeaderField fields[kCountMax];
  ErrorCode error = ErrorCode::None;
  const millrace::http1::HeadLimits limits{
      .header_bytes_max = 4096, .header_count_max = kCountMax, .request_line_bytes_max = 512};
  if (parse_request_head(input, 0, limits, head, fields, error) <= 0) return;
  ClientHandshake handshake;
  error = read_client_handshake(head, handshake);
  MR_CHECK(error == ErrorCode::None || error == ErrorCode::WsHandshake ||
           error == ErrorCode::WsVersion);
  if (error == ErrorCode::WsHandshake) return;
  MR_CHECK(millrace::ws::asks_for_websocket(head) && head.method == "GET");
  // Which order fields of different names have says nothing.
  std::vector<HeaderField> sorted(fields, fields + head.header_count);
  std::stable_sort(sorted.begin(), sorted.end(), [](const HeaderField& a, const HeaderField& b) {
    return std::lexicographical_compare(
        a.name.begin(), a.name.end(), b.name.begin(), b.name.end(),
        [](char x, char y) { return millrace::ascii_lower(x) < millrace::ascii_lower(y); });
  });
  head.headers = sorted.data();
  ClientHandshake again;
  MR_CHECK(read_client_handshake(head, again) == error);
  MR_CHECK(again.key == handshake.key && again.extensions == handshake.extensions);
  if (error != ErrorCode::None) return;
  MR_CHECK(millrace::ws::is_valid_key(handshake.key));
  DeflateParameters agreed;
  std::string answer;
  MR_CHECK(accept_offer(handshake.extensions, settings, agreed, answer));
  const auto accept = millrace::ws::accept_of(handshake.key);
  const HeaderField answered[] = {
      {"Upgrade", "websocket"},
      {"Connection", "Upgrade"},
      {"Sec-WebSocket-Accept", Bytes(accept.data(), accept.size())},
      {"Sec-WebSocket-Extensions", answer},
  };
  const ResponseHead response{.status = 101, .header_count = answer.empty() ? 3u : 4u};
  ServerHandshake taken;
  MR_CHECK(read_server_handshake(response, answered, handshake.key, taken) == ErrorCode::None);
  MR_CHECK(taken.extensions == answer);
}

// From memory of the input's size, for the sanitizer.
int parse_exact(Bytes input, size_t last_length, size_t bytes_max, uint32_t count_max) {
  const std::vector<char> exact(input.begin(), input.end());
  std::vector<HeaderField> fields(count_max);
  ResponseHead head;
  return parse_response_head(Bytes(exact.data(), exact.size()), last_length, bytes_max,
                             fields.data(), count_max, head);
}

void check_splits(Bytes input, size_t bytes_max, uint32_t count_max, int whole) {
  int before = -2;
  size_t last_length = 0;
  for (size_t length = 0; length <= input.size(); length++) {
    const Bytes prefix = input.substr(0, length);
    const int result = parse_exact(prefix, 0, bytes_max, count_max);
    if (before != -2) {
      MR_CHECK(result == before);
      continue;
    }
    MR_CHECK(parse_exact(prefix, last_length, bytes_max, count_max) == result);
    if (result == -2) MR_CHECK(parse_exact(input, length, bytes_max, count_max) == whole);
    before = result;
    last_length = length;
  }
  MR_CHECK(before == whole);
}

void check_server(Bytes input, size_t bytes_max, uint32_t count_max) {
  HeaderField fields[kCountMax];
  ResponseHead head;
  const int result = parse_response_head(input, 0, bytes_max, fields, count_max, head);
  MR_CHECK(result == -2 || result == -1 || (result > 0 && head.header_count <= count_max));
  if (input.size() <= 512) check_splits(input, bytes_max, count_max, result);

  // What follows a good status line is what HTTP's parser says it is.
  const size_t line_feed = input.substr(0, bytes_max).find('\n');
  if (line_feed != Bytes::npos) {
    const std::string line = std::string(input.substr(0, line_feed + 1)) + "\r\n";
    ResponseHead alone;
    if (parse_response_head(line, 0, line.size(), fields, 0, alone) > 0) {
      HeaderField others[kCountMax];
      uint32_t count = 0;
      ErrorCode error = ErrorCode::None;
      const size_t begin = line_feed + 1;
      const millrace::http1::HeadLimits limits{.header_bytes_max = bytes_max - begin,
                                               .header_count_max = count_max,
                                               .request_line_bytes_max = 0};
      const int other = parse_fields(input.substr(begin), 0, limits, others, count, error);
      MR_CHECK(result == (other > 0 ? other + static_cast<int>(begin) : other));
      (void)parse_response_head(input, 0, bytes_max, fields, count_max, head);
      if (result > 0) {
        MR_CHECK(count == head.header_count);
        MR_CHECK(std::equal(fields, fields + count, others, is_same));
      }
    }
  }
  if (result <= 0) return;
  ServerHandshake handshake;
  if (read_server_handshake(head, fields, kKey, handshake) == ErrorCode::None) {
    MR_CHECK(head.status == 101);
    MR_CHECK(input.find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") != Bytes::npos);
    MR_CHECK(handshake.extensions.empty() || millrace::ws::is_extension_list(handshake.extensions));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 7) return 0;
  millrace::fuzz::Input input(data, 7);
  const uint32_t way = input.below(4);
  const DeflateSettings settings = read_settings(input);
  const DeflateSettings other = read_settings(input);
  const Bytes text(reinterpret_cast<const char*>(data) + 7, size - 7);
  constexpr size_t kBytesMax[] = {4096, 64, 1, 17, 100};
  check_both_ends(settings, other);
  switch (way) {
    case 0: check_client(text, settings); break;
    case 1:
      check_server(text, kBytesMax[data[1] % std::size(kBytesMax)], data[2] % kCountMax);
      break;
    case 2: check_offers(text, settings); break;
    default: check_answer(text, settings); break;
  }
  return 0;
}
