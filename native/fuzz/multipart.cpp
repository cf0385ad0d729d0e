// Fuzzes the multipart decoder: vector against scalar scanner, whole against splits, a complete
// body against a reader that splits it with find() alone, and how much is held back.
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/proto/multipart/scan.h"
#include "fuzz/input.h"
#include "test/multipart_rig.h"

namespace {

using millrace::Bytes;
using millrace::MultipartLimits;
using millrace::test::decode_form;
using millrace::test::FoundForm;
using millrace::test::FoundPart;
using millrace::test::split_naively;

constexpr MultipartLimits kLimits[] = {
    {},
    {.parts_max = 2, .field_bytes_max = 5, .file_bytes_max = 9, .header_bytes_max = 64},
    {.fields_max = 1, .files_max = 1, .total_bytes_max = 150, .header_count_max = 1},
};
constexpr Bytes kBoundaries[] = {
    "b", "--", "q1", "aXb cY:'()+_,-./=?",
    "0123456789012345678901234567890123456789012345678901234567890123456789"};

void check_scanners(Bytes text) {
  const char* end = text.data() + text.size();
  const char* at = text.data();
  while (true) {
    const char* found = millrace::multipart::VectorScanner::candidate(at, end);
    MR_CHECK(found == millrace::multipart::ScalarScanner::candidate(at, end));
    if (found == end) break;
    at = found + 1;
  }
}

void check_limits(const FoundForm& result, const MultipartLimits& limits) {
  uint64_t fields = 0;
  uint64_t files = 0;
  for (const FoundPart& part : result.parts) {
    (part.has_filename ? files : fields)++;
    MR_CHECK(part.content.size() <=
             (part.has_filename ? limits.file_bytes_max : limits.field_bytes_max));
  }
  MR_CHECK(fields <= limits.fields_max && files <= limits.files_max);
  MR_CHECK(result.parts.size() <= limits.parts_max);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  millrace::fuzz::Input input(data, 2);
  const Bytes boundary = kBoundaries[input.below(std::size(kBoundaries))];
  const MultipartLimits& limits = kLimits[input.below(std::size(kLimits))];
  const Bytes body(reinterpret_cast<const char*>(data) + 2, size - 2);
  uint64_t seed = 0x9e3779b97f4a7c15u ^ size;
  for (size_t i = 0; i < size; i++) seed = (seed ^ data[i]) * 0x100000001b3u;
  const auto random = [&seed](uint64_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((seed >> 33) % below);
  };

  check_scanners(body);
  const FoundForm whole = decode_form(boundary, limits, body, [](size_t left) { return left; });
  check_limits(whole, limits);
  if (whole.is_complete) {
    const std::vector<std::string> contents = split_naively(boundary, body);
    MR_CHECK(contents.size() == whole.parts.size());
    for (size_t i = 0; i < contents.size(); i++) {
      MR_CHECK(whole.parts[i].content == contents[i] && whole.parts[i].has_end);
    }
  }
  if (size <= 1024) {
    const auto one = [](size_t left) { return left == 0 ? size_t{0} : size_t{1}; };
    MR_CHECK(decode_form(boundary, limits, body, one) == whole);
  }
  const auto any = [&](size_t left) { return random(left + 1); };
  const auto few = [&](size_t left) { return left < 9 ? left : 1 + random(8); };
  MR_CHECK(decode_form(boundary, limits, body, any) == whole);
  MR_CHECK(decode_form(boundary, limits, body, few) == whole);
  return 0;
}
