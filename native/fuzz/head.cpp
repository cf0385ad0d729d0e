// Fuzzes the head and field parsers: SIMD against scalar, whole against every kind of split, and
// what a served head must look like.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "core/base/check.h"
#include "core/proto/http1/head.h"

namespace {

using millrace::Bytes;
using millrace::ErrorCode;
using millrace::HeaderField;
using millrace::is_token;
using millrace::RequestHead;
using millrace::trim_ows;
using millrace::http1::HeadLimits;
using millrace::http1::kBroken;
using millrace::http1::kNeedMore;

constexpr HeadLimits kLimits[] = {
    {.header_bytes_max = 16384, .header_count_max = 100, .request_line_bytes_max = 8192},
    {.header_bytes_max = 96, .header_count_max = 3, .request_line_bytes_max = 40},
};

enum class Way { Vector, Scalar, Fields };

struct Parsed {
  int result = 0;
  ErrorCode error = ErrorCode::None;
  RequestHead head;
  std::vector<HeaderField> fields;
};

Parsed parse(Bytes input, size_t last_length, const HeadLimits& limits, Way way) {
  static HeaderField fields[100];
  Parsed parsed;
  uint32_t count = 0;
  switch (way) {
    case Way::Vector:
      parsed.result =
          parse_request_head(input, last_length, limits, parsed.head, fields, parsed.error);
      count = parsed.head.header_count;
      break;
    case Way::Scalar:
      parsed.result =
          parse_request_head_scalar(input, last_length, limits, parsed.head, fields, parsed.error);
      count = parsed.head.header_count;
      break;
    case Way::Fields:
      parsed.result = parse_fields(input, last_length, limits, fields, count, parsed.error);
      break;
  }
  if (parsed.result > 0) parsed.fields.assign(fields, fields + count);
  return parsed;
}

bool same_verdict(const Parsed& one, const Parsed& other) {
  return one.result == other.result && one.error == other.error;
}

bool same_bytes(Bytes one, Bytes other) {
  return one.data() == other.data() && one.size() == other.size();
}

void check_same(const Parsed& one, const Parsed& other) {
  MR_CHECK(same_verdict(one, other));
  if (one.result <= 0) return;
  MR_CHECK(same_bytes(one.head.method, other.head.method));
  MR_CHECK(same_bytes(one.head.target, other.head.target));
  MR_CHECK(one.head.minor_version == other.head.minor_version);
  MR_CHECK(one.fields.size() == other.fields.size());
  for (size_t i = 0; i < one.fields.size(); i++) {
    MR_CHECK(same_bytes(one.fields[i].name, other.fields[i].name));
    MR_CHECK(same_bytes(one.fields[i].value, other.fields[i].value));
  }
}

void check_served(Bytes input, const Parsed& parsed, const HeadLimits& limits, Way way) {
  MR_CHECK(parsed.error == ErrorCode::None);
  MR_CHECK(static_cast<size_t>(parsed.result) <= input.size());
  Bytes served = input.substr(0, static_cast<size_t>(parsed.result));
  if (way != Way::Fields) {
    if (served.starts_with("\r\n")) served.remove_prefix(2);
    MR_CHECK(is_token(parsed.head.method));
    MR_CHECK(served.starts_with(parsed.head.method));
    const size_t target_at = parsed.head.method.size() + 1;
    const size_t line_size = target_at + parsed.head.target.size() + 9;
    MR_CHECK(served.substr(target_at).starts_with(parsed.head.target));
    MR_CHECK(line_size <= limits.request_line_bytes_max && served.substr(line_size, 2) == "\r\n");
    for (char c : parsed.head.target) MR_CHECK(c > 0x20 && c < 0x7f && c != '#');
    MR_CHECK(served.ends_with("\r\n\r\n"));
  }
  MR_CHECK(served.size() <= limits.header_bytes_max && served.ends_with("\r\n"));
  MR_CHECK(parsed.fields.size() <= limits.header_count_max);
  const char* at = served.data();
  for (const HeaderField& field : parsed.fields) {
    MR_CHECK(is_token(field.name) && field.name.data() >= at);
    MR_CHECK(field.name.data() + field.name.size() < field.value.data());
    at = field.value.data() + field.value.size();
    MR_CHECK(at <= served.data() + served.size());
    MR_CHECK(trim_ows(field.value).size() == field.value.size());
    for (char c : field.value) {
      const auto byte = static_cast<unsigned char>(c);
      MR_CHECK(byte == '\t' || (byte >= 0x20 && byte != 0x7f));
    }
  }
}

// Offers growing prefixes as a connection would; `step` picks how much each read brings.
template <typename Step>
void check_split(Bytes input, const Parsed& whole, const HeadLimits& limits, Way way, Step step) {
  size_t last_length = 0;
  Parsed parsed;
  for (size_t length = 0; length < input.size();) {
    length += step(input.size() - length);
    const Bytes prefix = input.substr(0, length);
    parsed = parse(prefix, last_length, limits, way);
    MR_CHECK(same_verdict(parsed, parse(prefix, 0, limits, way)));
    if (parsed.result != kNeedMore) break;
    last_length = length;
  }
  if (!input.empty()) check_same(parsed, whole);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Exactly as large as the input, so that reading past the span is seen.
  const std::unique_ptr<char[]> copy(new char[size]);
  if (size != 0) std::memcpy(copy.get(), data, size);
  const Bytes input(copy.get(), size);
  uint64_t seed = 0x9e3779b97f4a7c15u ^ size;
  for (size_t i = 0; i < size; i++) seed = (seed ^ data[i]) * 0x100000001b3u;
  const auto random = [&seed](uint64_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
  };
  const uint64_t reads = random(8);
  for (const HeadLimits& limits : kLimits) {
    const Parsed vector = parse(input, 0, limits, Way::Vector);
    check_same(vector, parse(input, 0, limits, Way::Scalar));
    for (Way way : {Way::Vector, Way::Scalar, Way::Fields}) {
      const Parsed whole = way == Way::Fields ? parse(input, 0, limits, way) : vector;
      if (whole.result > 0) check_served(input, whole, limits, way);
      MR_CHECK((whole.result == kBroken) == (whole.error != ErrorCode::None));
      MR_CHECK(whole.result > 0 || whole.result == kBroken || whole.result == kNeedMore);
      if (reads == 0 && size <= 512) {
        check_split(input, whole, limits, way, [](size_t) { return size_t{1}; });
      }
      check_split(input, whole, limits, way,
                  [&](size_t left) { return static_cast<size_t>(1 + random(left)); });
      check_split(input, whole, limits, way, [&](size_t left) {
        const size_t most = left < 24 ? left : 24;
        return static_cast<size_t>(1 + random(most));
      });
    }
  }
  return 0;
}
