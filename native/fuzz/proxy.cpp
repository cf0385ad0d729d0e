// Fuzzes the PROXY protocol: the parser against a naive reading at every cut, and the session in
// front of HTTP, whole, byte by byte and at random splits. The first byte of an input chooses the
// mode, the limit and whether a checksum is made right.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/proto/protocols.h"
#include "core/proto/proxy/header.h"
#include "test/fake_sink.h"
#include "test/proxy_rig.h"

namespace {

using millrace::Bytes;
using millrace::ErrorCode;
using millrace::Limits;
using millrace::ProxyHeader;
using millrace::ProxyMode;
using millrace::Route;
using millrace::RouteKind;
using millrace::Router;
using millrace::test::FakeSink;
using millrace::test::SeenEvent;
using namespace millrace::proxy;

struct Setting {
  ProxyMode mode = ProxyMode::Accept;
  Limits limits;
};

// Of an allocation of exactly its size.
int parse(Bytes input, size_t bytes_max, HeaderView& out) {
  const std::unique_ptr<char[]> memory(new char[input.size()]);
  if (!input.empty()) std::memcpy(memory.get(), input.data(), input.size());
  const int result = parse_header(Bytes(memory.get(), input.size()), bytes_max, out);
  const char* end = memory.get() + input.size();
  MR_CHECK(out.tlvs.empty() ||
           (out.tlvs.data() >= memory.get() && out.tlvs.data() + out.tlvs.size() <= end));
  if (result > 0 && !out.tlvs.empty())
    out.tlvs = input.substr(static_cast<size_t>(out.tlvs.data() - memory.get()), out.tlvs.size());
  return result;
}

// --- a naive reading of whole headers: bytes, or -1 ---

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == ' ') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

bool is_port(const std::string& text) {
  return !text.empty() && text.size() < 6 &&
         text.find_first_not_of("0123456789") == std::string::npos && std::stoi(text) < 65536 &&
         std::to_string(std::stoi(text)) == text;
}

// By the letters alone: what addresses are is judged by their own test.
bool looks_like(const std::string& text, bool is_ipv6) {
  const char* letters = is_ipv6 ? "0123456789abcdefABCDEF:." : "0123456789.";
  const bool has_colon = text.find(':') != std::string::npos;
  return text.find_first_not_of(letters) == std::string::npos && has_colon == is_ipv6;
}

// Maybe more than is right, where only an address is wrong.
int read_text(Bytes input) {
  const size_t end = input.substr(0, kTextHeaderMax).find("\r\n");
  if (end == Bytes::npos) return -1;
  const std::string line(input.substr(0, end));
  for (char c : line) {
    if (c < ' ' || c > '~') return -1;
  }
  const auto size = static_cast<int>(end + 2);
  const std::vector<std::string> parts = split(line);
  if (parts.size() > 1 && parts[0] == "PROXY" && parts[1] == "UNKNOWN") return size;
  if (parts.size() != 6 || parts[0] != "PROXY") return -1;
  if (parts[1] != "TCP4" && parts[1] != "TCP6") return -1;
  const bool is_ipv6 = parts[1] == "TCP6";
  const bool ok = looks_like(parts[2], is_ipv6) && looks_like(parts[3], is_ipv6) &&
                  is_port(parts[4]) && is_port(parts[5]);
  return ok ? size : -1;
}

bool tile(Bytes tlvs, const std::string& header, size_t begin, bool is_outer) {
  size_t at = 0;
  while (at < tlvs.size()) {
    if (at + 3 > tlvs.size()) return false;
    const auto byte = [&tlvs](size_t i) {
      return static_cast<size_t>(static_cast<uint8_t>(tlvs[i]));
    };
    const size_t length = byte(at + 1) * 256 + byte(at + 2);
    if (at + 3 + length > tlvs.size()) return false;
    if (is_outer && byte(at) == 3) {
      if (length != 4) return false;
      if (millrace::test::with_crc(header, begin + at + 3) != header) return false;
    }
    if (is_outer && byte(at) == 0x20) {
      if (length < 5 || !tile(tlvs.substr(at + 8, length - 5), header, 0, false)) return false;
    }
    at += 3 + length;
  }
  return true;
}

int read_binary(Bytes input, size_t bytes_max) {
  if (input.size() < 16 || !input.starts_with(millrace::test::kSignature)) return -1;
  const auto byte = [&input](size_t i) {
    return static_cast<size_t>(static_cast<uint8_t>(input[i]));
  };
  const size_t size = 16 + byte(14) * 256 + byte(15);
  if (size > bytes_max || size > input.size()) return -1;
  if (byte(12) == 0x20) return static_cast<int>(size);
  if (byte(12) != 0x21) return -1;
  const size_t family = byte(13);
  if (family != 0 && family != 0x11 && family != 0x21 && family != 0x31) return -1;
  const size_t begin = 16 + (family == 0 ? 0u : family == 0x11 ? 12u : family == 0x21 ? 36u : 216u);
  if (begin > size) return -1;
  const std::string header(input.substr(0, size));
  return tile(Bytes(header).substr(begin), header, begin, true) ? static_cast<int>(size) : -1;
}

// --- what holds for the parser ---

void check_view(Bytes input, int size, const HeaderView& view) {
  const auto header = input.substr(0, static_cast<size_t>(size));
  MR_CHECK(view.version == (header[0] == 'P' ? 1 : 2));
  MR_CHECK(header.ends_with(view.tlvs));
  for (const millrace::Address* address : {&view.source, &view.destination}) {
    const bool is_unix = address->family == millrace::Family::Unix;
    MR_CHECK(address->length < sizeof(address->text) && is_unix == (address->length == 0));
    MR_CHECK(!view.is_local || (is_unix && address->port == 0));
  }
}

// All of them for short inputs; else those of the beginning, some, and those around the end.
std::vector<size_t> cuts_of(Bytes input, int end) {
  std::vector<size_t> cuts;
  for (size_t cut = 0; cut <= input.size(); cut++) {
    const auto from_end = std::abs(static_cast<int>(cut) - end);
    if (cut <= 300 || cut % 61 == 0 || from_end < 3 || cut == input.size()) cuts.push_back(cut);
  }
  return cuts;
}

void check_parser(Bytes input, size_t bytes_max) {
  const int naive = input.starts_with("P") ? read_text(input) : read_binary(input, bytes_max);
  int before = kNeedMore;
  HeaderView first;
  for (size_t cut : cuts_of(input, naive)) {
    HeaderView view;
    const Bytes part = input.substr(0, cut);
    const int result = parse(part, bytes_max, view);
    if (before != kNeedMore) {
      MR_CHECK(result == before);
    } else if (result > 0) {
      MR_CHECK(result == static_cast<int>(cut) && result == naive);
      check_view(input, result, view);
      first = view;
    }
    if (result > 0) {
      MR_CHECK(view.tlvs == first.tlvs && view.source.view() == first.source.view());
      MR_CHECK(view.destination.view() == first.destination.view());
    }
    const Signature signature = signature_of(part);
    if (signature == Signature::Unsure) MR_CHECK(result == kNeedMore);
    if (signature == Signature::None) MR_CHECK(result == kBroken);
    before = result;
  }
  // Only addresses of version 1 are read more strictly than by the naive reading.
  if (naive > 0 && !input.starts_with("P")) MR_CHECK(before == naive);
  if (naive < 0) MR_CHECK(before < 0);
}

// --- what holds for the session ---

const Router& router() {
  static const Router& made = []() -> const Router& {
    static Router routes;
    Route everything;
    everything.kind = RouteKind::Handler;
    routes.set_fallback(everything);
    routes.seal();
    return routes;
  }();
  return made;
}

struct Outcome {
  std::vector<std::string> seen;
  std::vector<ErrorCode> refusals;
  std::string written;
  bool operator==(const Outcome&) const = default;
};

class Connection final {
 public:
  explicit Connection(const Setting& setting)
      : sink_(setting.limits, router(), millrace::find_protocol("http", setting.mode)()) {}

  void feed(Bytes bytes) {
    sink_.feed(bytes);
    look();
    MR_CHECK(!sink_.is_open() || sink_.armed() != millrace::kNever);
  }

  Outcome end(bool falls_silent) {
    if (falls_silent) {
      for (int i = 0; i < 10 && sink_.is_open(); i++) sink_.advance(1'000'000'000);
    } else {
      sink_.half_close();
    }
    look();
    MR_CHECK(!sink_.is_open() && sink_.open_exchanges() == 0);
    Outcome outcome{{}, sink_.refusals, sink_.written};
    MR_CHECK(sink_.proxy_headers.size() <= 1);
    for (const ProxyHeader& header : sink_.proxy_headers) {
      outcome.seen.push_back(std::to_string(header.version) + (header.is_local ? " local " : " ") +
                             std::string(header.source.view()) + " " +
                             std::string(header.destination.view()) + " " + header.tlvs);
    }
    outcome.seen.insert(outcome.seen.end(), requests_.begin(), requests_.end());
    return outcome;
  }

 private:
  void look() {
    while (!sink_.events.empty()) {
      for (const SeenEvent& event : std::exchange(sink_.events, {})) {
        if (event.kind != millrace::EventKind::Request) continue;
        requests_.push_back(event.method + " " + event.target + event.headers + event.body);
        sink_.answer(event.exchange, {.body = "ok"});
      }
    }
  }

  FakeSink sink_;
  std::vector<std::string> requests_;
};

void check_session(Bytes input, const Setting& setting, bool falls_silent) {
  Connection whole(setting);
  whole.feed(input);
  const Outcome wanted = whole.end(falls_silent);
  // What is refused for its header was not answered.
  const bool is_refused =
      !wanted.refusals.empty() && wanted.refusals[0] == ErrorCode::BadProxyHeader;
  if (is_refused) MR_CHECK(wanted.seen.empty() && wanted.written.empty());
  HeaderView view;
  const int size = parse(input, static_cast<size_t>(setting.limits.proxy_bytes_max), view);
  const bool is_other = setting.mode == ProxyMode::Accept && signature_of(input) == Signature::None;
  MR_CHECK(is_refused == (size == kBroken && !is_other));
  if (size > 0) MR_CHECK(!wanted.seen.empty());
  if (size > 0 || is_other) {
    Setting plain = setting;
    plain.mode = ProxyMode::Off;
    Connection behind(plain);
    behind.feed(input.substr(size > 0 ? static_cast<size_t>(size) : 0));
    Outcome same = behind.end(falls_silent);
    if (size > 0) same.seen.insert(same.seen.begin(), wanted.seen[0]);
    MR_CHECK(same == wanted);
  }
  if (input.size() > 1024) return;
  Connection bytewise(setting);
  for (size_t i = 0; i < input.size(); i++) bytewise.feed(input.substr(i, 1));
  MR_CHECK(bytewise.end(falls_silent) == wanted);
  Connection pieces(setting);
  uint64_t seed = input.size() + 1;
  for (size_t at = 0; at < input.size();) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const size_t length = 1 + (seed >> 33) % 40;
    pieces.feed(input.substr(at, length));
    at += length;
  }
  MR_CHECK(pieces.end(falls_silent) == wanted);
}

// With a right sum where the first TLV is a checksum: no mutation finds one.
std::string with_right_sum(std::string input) {
  for (size_t tlvs_at : {size_t{16}, size_t{28}, size_t{52}, size_t{232}}) {
    if (input.size() < tlvs_at + 7 || input.compare(tlvs_at, 3, "\x03\0\x04", 3) != 0) continue;
    const auto byte = [&input](size_t i) {
      return static_cast<size_t>(static_cast<uint8_t>(input[i]));
    };
    const size_t size = 16 + byte(14) * 256 + byte(15);
    if (size < tlvs_at + 7 || size > input.size()) continue;
    return millrace::test::with_crc(input.substr(0, size), tlvs_at + 3) + input.substr(size);
  }
  return input;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  Setting setting;
  setting.mode = (data[0] & 1) != 0 ? ProxyMode::Require : ProxyMode::Accept;
  setting.limits.proxy_bytes_max = (data[0] & 2) != 0 ? 232 : 4096;
  std::string input(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & 4) != 0) input = with_right_sum(std::move(input));
  check_parser(input, static_cast<size_t>(setting.limits.proxy_bytes_max));
  check_session(input, setting, (data[0] & 8) != 0);
  return 0;
}
