// The opening handshake: the example of RFC 6455, each rule of 4.1 and 4.2.1 broken once, and
// response heads at every split.
#include "core/proto/ws/handshake.h"

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "test/harness.h"

namespace millrace::ws {
namespace {

constexpr Bytes kKey = "dGhlIHNhbXBsZSBub25jZQ==";
constexpr Bytes kAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

using FieldList = std::vector<HeaderField>;

FieldList good_request() {
  return {{"Host", "a.test"},
          {"Connection", "Upgrade"},
          {"Upgrade", "websocket"},
          {"Sec-WebSocket-Key", kKey},
          {"Sec-WebSocket-Version", "13"}};
}

FieldList without(FieldList fields, Bytes name) {
  std::erase_if(fields, [&](const HeaderField& field) { return field.name == name; });
  return fields;
}

FieldList with(FieldList fields, Bytes name, Bytes value) {
  fields.push_back({name, value});
  return fields;
}

FieldList replaced(FieldList fields, Bytes name, Bytes value) {
  return with(without(std::move(fields), name), name, value);
}

RequestHead head_of(const FieldList& fields) {
  return {.method = "GET",
          .target = "/ws",
          .headers = fields.data(),
          .header_count = static_cast<uint32_t>(fields.size())};
}

ErrorCode verdict_of(const FieldList& fields) {
  ClientHandshake handshake;
  return read_client_handshake(head_of(fields), handshake);
}

TEST("the accept of a key is the one in RFC 6455") {
  const auto accept = accept_of(kKey);
  EXPECT(Bytes(accept.data(), accept.size()) == kAccept);
  const auto other = accept_of("x3JJHMbDL1EzLkh9GBhXDw==");
  EXPECT(Bytes(other.data(), other.size()) == "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
}

TEST("a key is 16 bytes in base64") {
  for (Bytes key : {kKey, Bytes("AAAAAAAAAAAAAAAAAAAAAA=="), Bytes("++++++++++//////////9w==")}) {
    EXPECT(is_valid_key(key));
  }
  EXPECT(is_valid_key("dGhlIHNhbXBsZSBub25jZR=="));  // bits left over
  for (Bytes key :
       {"", "short", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZWE=", "dGhlIHNhbXBsZSBub25jZWFh",
        "dGhlIHNhbXBsZSBub25j-Q==", " GhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==dGhl",
        "dGhlIHNhbXBsZSBub25j====", "========================"}) {
    test::context = key;
    EXPECT(!is_valid_key(key));
  }
}

TEST("a complete client handshake is read") {
  ClientHandshake handshake;
  const FieldList fields = good_request();
  EXPECT(asks_for_websocket(head_of(fields)));
  EXPECT(read_client_handshake(head_of(fields), handshake) == ErrorCode::None);
  EXPECT(handshake.key.data() == kKey.data() && handshake.key.size() == kKey.size());
  EXPECT(handshake.extensions.empty());
  // Names and values in any case, and among others, as Firefox sends them.
  const FieldList firefox = {
      {"host", "a.test"},          {"sec-websocket-version", "13"},
      {"origin", "http://a.test"}, {"sec-websocket-extensions", "permessage-deflate"},
      {"SEC-WEBSOCKET-KEY", kKey}, {"connection", "keep-alive, UPGRADE"},
      {"pragma", "no-cache"},      {"upgrade", "WebSocket"}};
  EXPECT(read_client_handshake(head_of(firefox), handshake) == ErrorCode::None);
  EXPECT(handshake.extensions == "permessage-deflate");
}

TEST("extensions in several fields are one list") {
  ClientHandshake handshake;
  FieldList fields = with(good_request(), "Sec-WebSocket-Extensions", "foo; a=\"1\"");
  fields.push_back({"X", "y"});
  fields.push_back({"sec-websocket-extensions", "permessage-deflate, bar"});
  EXPECT(read_client_handshake(head_of(fields), handshake) == ErrorCode::None);
  EXPECT(handshake.extensions == "foo; a=\"1\", permessage-deflate, bar");
  // One that failed leaves nothing of the one before.
  EXPECT(read_client_handshake(head_of(FieldList()), handshake) == ErrorCode::WsHandshake);
  EXPECT(handshake.extensions.empty() && handshake.key.empty());
}

// The requests wsh-01 to wsh-06 of the seeds, in this order.
TEST("a request without Connection, Upgrade, key or version is no handshake") {
  for (Bytes name : {"Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version"}) {
    test::context = name;
    EXPECT(verdict_of(without(good_request(), name)) == ErrorCode::WsHandshake);
  }
  EXPECT(verdict_of(replaced(good_request(), "Sec-WebSocket-Version", "8")) ==
         ErrorCode::WsVersion);
  EXPECT(verdict_of(replaced(good_request(), "Sec-WebSocket-Key", "short")) ==
         ErrorCode::WsHandshake);
}

TEST("only GET in HTTP/1.1 is a handshake") {
  const FieldList fields = good_request();
  ClientHandshake handshake;
  for (Bytes method : {"POST", "HEAD", "get", "CONNECT", "OPTIONS"}) {
    RequestHead head = head_of(fields);
    head.method = method;
    EXPECT(asks_for_websocket(head));
    EXPECT(read_client_handshake(head, handshake) == ErrorCode::WsHandshake);
  }
  RequestHead head = head_of(fields);
  head.minor_version = 0;
  EXPECT(!asks_for_websocket(head));
  EXPECT(read_client_handshake(head, handshake) == ErrorCode::WsHandshake);
}

TEST("Connection and Upgrade are lists and their words stand alone") {
  for (Bytes value : {"upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade ,close", ",upgrade"}) {
    EXPECT(verdict_of(replaced(good_request(), "Connection", value)) == ErrorCode::None);
  }
  for (Bytes value : {"", "close", "upgrades", "keep-alive Upgrade", "\"upgrade\"", "websocket"}) {
    EXPECT(verdict_of(replaced(good_request(), "Connection", value)) == ErrorCode::WsHandshake);
    EXPECT(!asks_for_websocket(head_of(replaced(good_request(), "Connection", value))));
  }
  for (Bytes value : {"WebSocket", "h2c, websocket"}) {
    EXPECT(verdict_of(replaced(good_request(), "Upgrade", value)) == ErrorCode::None);
  }
  for (Bytes value : {"", "websockets", "websocket/13", "h2c", "web socket"}) {
    EXPECT(verdict_of(replaced(good_request(), "Upgrade", value)) == ErrorCode::WsHandshake);
  }
  const FieldList split =
      with(replaced(good_request(), "Connection", "keep-alive"), "Connection", "upgrade");
  EXPECT(verdict_of(split) == ErrorCode::None);
}

TEST("a version is one plain number, and 13") {
  for (Bytes value : {"0", "7", "8", "12", "14", "99", "100", "255", "299"}) {
    test::context = value;
    EXPECT(verdict_of(replaced(good_request(), "Sec-WebSocket-Version", value)) ==
           ErrorCode::WsVersion);
  }
  for (Bytes value :
       {"", "013", "13.0", "+13", "-1", "13, 8", "thirteen", "1 3", "300", "1313", "00", "13;"}) {
    test::context = value;
    EXPECT(verdict_of(replaced(good_request(), "Sec-WebSocket-Version", value)) ==
           ErrorCode::WsHandshake);
  }
  EXPECT(verdict_of(with(good_request(), "sec-websocket-version", "13")) == ErrorCode::WsHandshake);
  // Other versions have other keys.
  const FieldList old =
      without(replaced(good_request(), "Sec-WebSocket-Version", "7"), "Sec-WebSocket-Key");
  EXPECT(verdict_of(old) == ErrorCode::WsVersion);
}

TEST("a second key, a body, or a malformed list is no handshake") {
  const FieldList broken[] = {
      with(good_request(), "sec-websocket-key", kKey),
      with(good_request(), "Transfer-Encoding", "chunked"),
      with(good_request(), "Content-Length", "1"),
      with(with(good_request(), "Content-Length", "0"), "Content-Length", "0"),
      with(good_request(), "Sec-WebSocket-Extensions", ""),
      with(good_request(), "Sec-WebSocket-Extensions", "a;"),
      with(with(good_request(), "Sec-WebSocket-Extensions", "a"), "Sec-WebSocket-Extensions", "="),
      with(good_request(), "Sec-WebSocket-Protocol", ""),
      with(good_request(), "Sec-WebSocket-Protocol", " , "),
      with(good_request(), "Sec-WebSocket-Protocol", "chat room"),
      with(good_request(), "Sec-WebSocket-Protocol", "a/b"),
      with(good_request(), "Sec-WebSocket-Protocol", "chat, b, chat"),
      with(with(good_request(), "Sec-WebSocket-Protocol", "chat"), "Sec-WebSocket-Protocol",
           "chat"),
  };
  for (const FieldList& fields : broken) {
    test::context = std::string(fields.back().name) + ": " + std::string(fields.back().value);
    EXPECT(verdict_of(fields) == ErrorCode::WsHandshake);
  }
  const FieldList good[] = {
      with(good_request(), "Content-Length", "0"),
      with(good_request(), "Sec-WebSocket-Protocol", "chat, Chat,superchat,,v2.json"),
      with(with(good_request(), "Sec-WebSocket-Protocol", "a"), "Sec-WebSocket-Protocol", "b, c"),
  };
  for (const FieldList& fields : good) {
    test::context = fields.back().value;
    EXPECT(verdict_of(fields) == ErrorCode::None);
  }
}

// ── response heads ──

constexpr uint32_t kCountMax = 8;

struct Parsed {
  int result = 0;
  ResponseHead head = {};
  std::array<HeaderField, kCountMax> fields = {};
};

// From memory that ends exactly where the input does, so that a sanitizer sees one byte too many.
int result_of(Bytes input, size_t last_length, size_t bytes_max, uint32_t count_max) {
  const std::unique_ptr<char[]> exact(new char[input.size()]);
  for (size_t i = 0; i < input.size(); i++) exact[i] = input[i];
  const std::unique_ptr<HeaderField[]> fields(new HeaderField[count_max]);
  ResponseHead head;
  const Bytes copy(exact.get(), input.size());
  return parse_response_head(copy, last_length, bytes_max, fields.get(), count_max, head);
}

// One verdict however the bytes are cut, with and without last_length, and at the same byte.
void expect_result(Bytes input, int wanted, size_t bytes_max = 4096,
                   uint32_t count_max = kCountMax) {
  test::context = input;
  int before = -2;
  for (size_t length = 0; length <= input.size(); length++) {
    const Bytes prefix = input.substr(0, length);
    const int fresh = result_of(prefix, 0, bytes_max, count_max);
    if (before != -2) EXPECT(fresh == before);
    if (length > 0 && before == -2) {
      EXPECT(result_of(prefix, length - 1, bytes_max, count_max) == fresh);
      EXPECT(result_of(input, length - 1, bytes_max, count_max) == wanted);
    }
    before = fresh;
  }
  EXPECT(before == wanted);
}

void expect_good(Bytes input) { expect_result(input, static_cast<int>(input.size())); }

std::string with_line(const std::string& line) { return line + "\r\nA: b\r\n\r\n"; }
std::string with_field(const std::string& field) {
  return "HTTP/1.1 101 Switching Protocols\r\n" + field + "\r\n\r\n";
}

TEST("a response head is read into its parts") {
  const std::string input =
      "HTTP/1.1 101 Switching \xc3\xa4\r\nUpgrade: websocket\r\nConnection:Upgrade\r\n"
      "X-Empty:\r\nX-Spaced: \t a b\t \r\n\r\n";
  expect_good(input);
  expect_result(input + "\x81\x02hi", static_cast<int>(input.size()));
  Parsed parsed;
  parsed.result = parse_response_head(input, 0, 4096, parsed.fields.data(), kCountMax, parsed.head);
  EXPECT(parsed.head.status == 101 && parsed.head.minor_version == 1);
  EXPECT(parsed.head.reason == "Switching \xc3\xa4" && parsed.head.header_count == 4);
  EXPECT(parsed.fields[0].name == "Upgrade" && parsed.fields[0].value == "websocket");
  EXPECT(parsed.fields[1].name == "Connection" && parsed.fields[1].value == "Upgrade");
  EXPECT(parsed.fields[2].name == "X-Empty" && parsed.fields[2].value.empty());
  EXPECT(parsed.fields[3].value == "a b");
  EXPECT(parse_response_head("HTTP/1.0 999 \r\n\r\n", 0, 99, nullptr, 0, parsed.head) == 17);
  EXPECT(parsed.head.status == 999 && parsed.head.minor_version == 0);
  EXPECT(parsed.head.reason.empty() && parsed.head.header_count == 0);
}

TEST("malformed status lines are refused") {
  for (const char* line : {"HTTP/1.1 101",
                           "HTTP/1.1 10 OK",
                           "HTTP/1.1 1010 OK",
                           "HTTP/1.1 099 OK",
                           "HTTP/1.1  101 OK",
                           "HTTP/1.1 1a1 OK",
                           "HTTP/1.2 101 OK",
                           "HTTP/2.0 101 OK",
                           "HTTP/2 101 OK",
                           "HTTP/1 101 OK",
                           "http/1.1 101 OK",
                           "HTTP/11 101 OK",
                           " HTTP/1.1 101 OK",
                           "\r\nHTTP/1.1 101 OK",
                           "HTTP/1.1\t101 OK",
                           "HTTP/1.1 101\tOK",
                           "HTTP/1.1 101 O\x01K",
                           "HTTP/1.1 101 O\x7fK",
                           "HTTP/1.1 101 O\nK",
                           "HTTP/1.1 101 O\rK",
                           "HTTP/1.1 -10 OK",
                           "",
                           "SSH-2.0-x"}) {
    expect_result(with_line(line), -1);
  }
  for (const char* line : {"HTTP/1.1 101 ", "HTTP/1.1 200  x\ty ", "HTTP/1.0 503 No"}) {
    expect_good(with_line(line));
  }
}

TEST("malformed fields of a response are refused") {
  for (const char* field :
       {" folded", "A: b\r\n c", "A: b\r\n\tc", "A : b", "A\t: b", ": b", "A", "A b: c", "A\x01: b",
        "A\x80: b", "A: b\x0b", "A: b\x7f", "A: b\r c", "A: b\nC: d", "A: b\r\r\nC: d", "\nA: b"}) {
    expect_result(with_field(field), -1);
  }
  expect_result("HTTP/1.1 101 x\r\nA: b\n\n", -1);
  expect_result("HTTP/1.1 101 x\r\n\rx", -1);
  expect_result("HTTP/1.1 101 x\n\n", -1);
  for (const char* field : {"A:", "A: \t ", "A:b", "!#$%&'*+-.^_`|~09: ::", "A: \x80\xff"}) {
    expect_good(with_field(field));
  }
}

TEST("a response head is taken up to both limits and broken beyond") {
  std::string input = "HTTP/1.1 101 x\r\n";
  for (size_t count = 0; count <= 4; count++) {
    const std::string ended = input + "\r\n";
    const int size = static_cast<int>(ended.size());
    expect_result(ended, count <= 3 ? size : -1, 4096, 3);
    expect_result(ended, size, ended.size() + 1);
    expect_result(ended, size, ended.size());
    expect_result(ended, -1, ended.size() - 1);
    input += "A: b\r\n";
  }
  expect_result("HTTP/1.1 101 " + std::string(300, 'x'), -1, 200);
  expect_result("HTTP/1.1 101 x\r\nA: " + std::string(300, 'x'), -1, 200);
  expect_result("HTTP/1.1 101 x\r\n" + std::string(300, 'x'), -1, 200);
  expect_result("", -1, 0);
}

// Why: a server that sends byte by byte must not make its client read the square of the head.
TEST("a large response head byte by byte keeps its verdict") {
  std::string input = "HTTP/1.1 101 x\r\n";
  for (int i = 0; i < 90; i++) input += "X-Some-Field: " + std::string(300, 'v') + "\r\n";
  input += "\r\n";
  std::array<HeaderField, 100> fields;
  ResponseHead head;
  for (size_t length = 1; length <= input.size(); length++) {
    const int result = parse_response_head(Bytes(input).substr(0, length), length - 1, 65536,
                                           fields.data(), 100, head);
    const int wanted = length < input.size() ? -2 : static_cast<int>(length);
    if (result != wanted) EXPECT(result == wanted);
  }
  EXPECT(head.header_count == 90);
}

// ── the server's answer ──

FieldList good_answer() {
  return {{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Accept", kAccept}};
}

ErrorCode answer_verdict(const FieldList& fields, ServerHandshake& handshake, uint16_t status = 101,
                         uint8_t minor_version = 1) {
  const ResponseHead head{.status = status,
                          .minor_version = minor_version,
                          .header_count = static_cast<uint32_t>(fields.size())};
  return read_server_handshake(head, fields.data(), kKey, handshake);
}

TEST("a complete answer is taken, with protocol and extensions") {
  ServerHandshake handshake;
  EXPECT(answer_verdict(good_answer(), handshake) == ErrorCode::None);
  EXPECT(handshake.protocol.empty() && handshake.extensions.empty());
  FieldList fields = {{"CONNECTION", "keep-alive, uPgrade"},
                      {"upgrade", "WebSocket"},
                      {"sec-websocket-protocol", "chat"},
                      {"Sec-WebSocket-Extensions", "permessage-deflate; a=b"},
                      {"sec-websocket-accept", kAccept}};
  EXPECT(answer_verdict(fields, handshake) == ErrorCode::None);
  EXPECT(handshake.protocol == "chat" && handshake.extensions == "permessage-deflate; a=b");
  EXPECT(answer_verdict(with(good_answer(), "Connection", "x"), handshake) == ErrorCode::None);
  EXPECT(handshake.protocol.empty() && handshake.extensions.empty());
}

TEST("an answer that breaks a rule is a rejection") {
  ServerHandshake handshake;
  for (unsigned status : {100u, 102u, 200u, 301u, 400u, 401u, 426u, 999u}) {
    EXPECT(answer_verdict(good_answer(), handshake, static_cast<uint16_t>(status)) ==
           ErrorCode::WsRejected);
  }
  EXPECT(answer_verdict(good_answer(), handshake, 101, 0) == ErrorCode::WsRejected);
  const FieldList broken[] = {
      without(good_answer(), "Upgrade"),
      replaced(good_answer(), "Upgrade", "websocket, h2c"),
      replaced(good_answer(), "Upgrade", "h2c"),
      with(good_answer(), "Upgrade", "websocket"),
      without(good_answer(), "Connection"),
      replaced(good_answer(), "Connection", "close"),
      without(good_answer(), "Sec-WebSocket-Accept"),
      replaced(good_answer(), "Sec-WebSocket-Accept", ""),
      replaced(good_answer(), "Sec-WebSocket-Accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
      replaced(good_answer(), "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo"),
      replaced(good_answer(), "Sec-WebSocket-Accept", kKey),
      with(good_answer(), "sec-websocket-accept", kAccept),
      with(good_answer(), "Sec-WebSocket-Protocol", ""),
      with(good_answer(), "Sec-WebSocket-Protocol", "a, b"),
      with(with(good_answer(), "Sec-WebSocket-Protocol", "a"), "Sec-WebSocket-Protocol", "a"),
      with(good_answer(), "Sec-WebSocket-Extensions", ""),
      with(good_answer(), "Sec-WebSocket-Extensions", "a;;b"),
      with(with(good_answer(), "Sec-WebSocket-Extensions", "a"), "Sec-WebSocket-Extensions", "b"),
  };
  for (const FieldList& fields : broken) {
    test::context = std::string(fields.back().name) + ": " + std::string(fields.back().value);
    EXPECT(answer_verdict(fields, handshake) == ErrorCode::WsRejected);
  }
}

}  // namespace
}  // namespace millrace::ws
