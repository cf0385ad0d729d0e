// All that a client's fields and path do to a served file. The input: size and age of the file,
// then lines, one per field; each line also goes to every other parser.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "core/base/http_date.h"
#include "core/proto/files/byteranges.h"
#include "core/proto/files/conditions.h"
#include "core/proto/files/content_type.h"
#include "core/proto/files/encodings.h"
#include "core/proto/files/path.h"
#include "core/proto/files/ranges.h"
#include "core/proto/files/validators.h"
#include "core/proto/http1/file_answer.h"

namespace millrace {
namespace {

using namespace files;

constexpr size_t kFixedBytes = 16;
constexpr size_t kConditionLines = 6;
constexpr UnixSeconds kNow = 1795237200;

// Bytes on the heap, exactly as many as there are, for the sanitizer.
class Line final {
 public:
  explicit Line(Bytes text) : size_(text.size()), bytes_(new char[text.size()]) {
    if (!text.empty()) std::memcpy(bytes_.get(), text.data(), size_);
  }
  [[nodiscard]] Bytes text() const { return Bytes(bytes_.get(), size_); }

 private:
  size_t size_;
  std::unique_ptr<char[]> bytes_;
};

void check_date(Bytes text) {
  const UnixSeconds at = parse_http_date(text, kNow);
  MR_CHECK(at == kNoDate || (at >= 0 && at <= kHttpDateLast + 1));  // a leap second ends 9999
  if (at == kNoDate || at > kHttpDateLast) return;
  char written[kHttpDateBytes];
  write_http_date(at, written);
  MR_CHECK(parse_http_date(Bytes(written, sizeof(written)), kNow) == at);
}

void check_tags(Bytes text, const Representation& file) {
  const Bytes tag = file.tag.text();
  MR_CHECK(tags_are_equal(tag, tag, TagComparison::Weak));
  const bool strong = tag_list_has(text, tag, TagComparison::Strong);
  MR_CHECK(!strong || tag_list_has(text, tag, TagComparison::Weak));
  MR_CHECK(!strong || is_settled(file.mtime_ns, kNow) || trim_ows(text) == "*");
  MR_CHECK(tags_are_equal(text, tag, TagComparison::Strong) ==
           tags_are_equal(tag, text, TagComparison::Strong));
  if (tags_are_equal(text, text, TagComparison::Weak)) {  // well-formed: found in a list, too
    const std::string list = "\"other\" , " + std::string(text) + " , W/\"last\"";
    MR_CHECK(tag_list_has(list, text, TagComparison::Weak));
  }
}

// Sorted, apart, inside; and the frame around them has the length it says.
void check_set(const RangeSet& set, uint64_t size) {
  MR_CHECK(set.count > 0 && set.count <= kRangesMax);
  uint64_t total = 0;
  for (size_t i = 0; i < set.count; i++) {
    const ByteRange& range = set.ranges[i];
    MR_CHECK(range.first <= range.last && range.last < size);
    MR_CHECK(i == 0 || range.first > set.ranges[i - 1].last + 1);
    total += range.length();
  }
  MR_CHECK(total <= size);
  const Boundary boundary = make_boundary(size, total);
  const Byteranges parts{set, size, kUnknownType, boundary};
  std::string frame;
  for (size_t i = 0; i < set.count; i++) parts.append_part_head(i, frame);
  parts.append_end(frame);
  MR_CHECK(parts.content_length() == frame.size() + total);
}

void check_ranges(Bytes text, uint64_t size) {
  RangeSet set;
  const RangeVerdict verdict = parse_ranges(text, size, set);
  if (verdict != RangeVerdict::Partial) {
    MR_CHECK(set.count == 0);
    return;
  }
  check_set(set, size);
  // What was understood, written again, is understood in the same way.
  std::string again = "bytes=";
  for (const ByteRange& range : set.span()) {
    again += std::to_string(range.first) + "-" + std::to_string(range.last) + ",";
  }
  RangeSet other;
  MR_CHECK(parse_ranges(again, size, other) == RangeVerdict::Partial);
  MR_CHECK(other.count == set.count && other.ranges == set.ranges);
}

void check_encodings(Bytes text) {
  const EncodingOrder order = encoding_order(text);
  MR_CHECK(order.count <= kEncodingCount);
  std::array<bool, kEncodingCount> seen{};
  for (const Encoding encoding : order.span()) {
    bool& mark = seen[static_cast<size_t>(encoding)];
    MR_CHECK(!mark);
    mark = true;
    MR_CHECK(order.has(encoding));
  }
}

void check_name(Bytes name, DotfilePolicy dotfiles) {
  MR_CHECK(!name.empty() && name.size() <= kPathSegmentBytesMax && name != "." && name != "..");
  MR_CHECK(name[0] != '.' || dotfiles == DotfilePolicy::Allow || name == ".well-known");
}

// A path that may be used is one that nothing has to be looked for in.
bool check_path(Bytes text, DotfilePolicy dotfiles, std::string& out) {
  const PathVerdict verdict = resolve_path(text, dotfiles, out);
  if (verdict != PathVerdict::File && verdict != PathVerdict::Folder) {
    MR_CHECK(out.empty() && path_status(verdict) >= 400);
    return false;
  }
  MR_CHECK(verdict == PathVerdict::Folder || !out.empty());
  MR_CHECK(out.size() <= kPathBytesMax && out.size() <= text.size());
  for (const char c : out) MR_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  Bytes rest = out;
  while (!rest.empty()) {
    const size_t slash = rest.find('/');
    check_name(rest.substr(0, slash), dotfiles);
    if (slash == Bytes::npos) break;
    rest.remove_prefix(slash + 1);
    MR_CHECK(!rest.empty());
  }
  MR_CHECK(!content_type_of(out).empty());
  return true;
}

void check_paths(Bytes text) {
  std::string hidden;
  std::string denied;
  std::string shown;
  const bool ignore = check_path(text, DotfilePolicy::Ignore, hidden);
  const bool deny = check_path(text, DotfilePolicy::Deny, denied);
  const bool allow = check_path(text, DotfilePolicy::Allow, shown);
  MR_CHECK(ignore == deny && hidden == denied);
  MR_CHECK(!ignore || (allow && hidden == shown));
}

void check_decision(const Conditions& conditions, const Representation& file, Method method) {
  const Decision decision = evaluate(conditions, file, method, kNow);
  const bool reads = method == Method::Get || method == Method::Head;
  const bool preconditions = !conditions.if_match.empty() || !conditions.if_none_match.empty() ||
                             !conditions.if_unmodified_since.empty();
  switch (decision.verdict) {
    case Verdict::Send: break;
    case Verdict::NotModified:
      MR_CHECK(reads);
      MR_CHECK(!conditions.if_none_match.empty() || !conditions.if_modified_since.empty());
      break;
    case Verdict::PreconditionFailed: MR_CHECK(preconditions); break;
    case Verdict::Partial:
      MR_CHECK(method == Method::Get && !conditions.range.empty());
      check_set(decision.ranges, file.size);
      break;
    case Verdict::NotSatisfiable:
      MR_CHECK(method == Method::Get && !conditions.range.empty() && file.size > 0);
      break;
  }
}

size_t tags_in(Bytes lines) {
  size_t count = 0;
  for (size_t at = 0; (at = lines.find("ETag: ", at)) != Bytes::npos; at++) {
    count += at == 0 || lines[at - 1] == '\n' ? 1 : 0;
  }
  return count;
}

// The answer that comes of it: as long as it says, with one tag, in lines that end where they
// should.
uint16_t check_plan(const Conditions& conditions, const Representation& file, Bytes own_tag) {
  http1::FileAnswer answer;
  answer.if_match = conditions.if_match;
  answer.if_none_match = conditions.if_none_match;
  answer.if_modified_since = conditions.if_modified_since;
  answer.if_unmodified_since = conditions.if_unmodified_since;
  answer.if_range = conditions.if_range;
  answer.range = conditions.range;
  answer.lines = "X-A: b\r\n";
  if (!own_tag.empty()) answer.lines.append("ETag: ").append(own_tag).append("\r\n");
  FindFileWork found{FindRequest()};
  found.opened.size = file.size;
  found.opened.mtime_ns = file.mtime_ns;
  const http1::FilePlan plan = plan_file(answer, found, kNow);
  MR_CHECK(plan.lines.ends_with("\r\n") && plan.lines.find("\r\n\r\n") == std::string::npos);
  switch (plan.status) {
    case 200:
      MR_CHECK(plan.sends_file && plan.ranges.count == 0 && plan.length == file.size);
      break;
    case 206: {
      check_set(plan.ranges, file.size);
      const Byteranges parts{plan.ranges, plan.size, plan.part_type, plan.boundary};
      MR_CHECK(plan.sends_file && plan.size == file.size);
      MR_CHECK(plan.length ==
               (plan.ranges.count == 1 ? plan.ranges.ranges[0].length() : parts.content_length()));
      break;
    }
    case 304: MR_CHECK(!plan.sends_file && !plan.has_length && plan.text.empty()); break;
    default:
      MR_CHECK(plan.status == 412 || plan.status == 416);
      MR_CHECK(!plan.sends_file && plan.has_length && plan.length == plan.text.size());
      return plan.status;
  }
  MR_CHECK(tags_in(plan.lines) == 1);
  return plan.status;
}

void check_own_tag(Bytes text, const Representation& file) {
  const Bytes tag = trim_ows(text);
  const bool is_value = std::all_of(tag.begin(), tag.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
  });
  if (tag.empty() || !is_value || !tags_are_equal(tag, tag, TagComparison::Weak)) return;
  MR_CHECK(check_plan({.if_none_match = tag}, file, tag) == 304);
  MR_CHECK(check_plan({.if_none_match = file.tag.text()}, file, tag) ==
           (tags_are_equal(file.tag.text(), tag, TagComparison::Weak) ? 304 : 200));
}

uint64_t read_number(const uint8_t* data) {
  uint64_t value = 0;
  std::memcpy(&value, data, sizeof(value));
  return value;
}

// Small sizes more often than large ones, and ages around now.
Representation file_from(const uint8_t* data) {
  Representation file;
  const uint64_t size = read_number(data);
  file.size = (size & (UINT64_MAX >> 1)) >> (size % 64);
  const uint64_t age = read_number(data + 8);
  file.mtime_ns = age % 2 == 0 ? static_cast<int64_t>(age)
                               : kNow * 1'000'000'000 - static_cast<int64_t>(age % 5'000'000'000);
  file.tag = make_entity_tag({.size = file.size, .mtime_ns = file.mtime_ns, .inode = age},
                             static_cast<Encoding>(age % kEncodingCount), kNow);
  return file;
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  if (size < kFixedBytes) return 0;
  const Representation file = file_from(data);
  Bytes rest(reinterpret_cast<const char*>(data) + kFixedBytes, size - kFixedBytes);
  std::vector<Line> lines;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    lines.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const std::string own_tag(file.tag.text());
  std::array<Bytes, kConditionLines> fields{};
  for (size_t i = 0; i < lines.size() && i < kConditionLines; i++) {
    // One byte stands for the right tag, which nothing could guess.
    fields[i] = lines[i].text() == "$" ? Bytes(own_tag) : lines[i].text();
  }
  const Conditions conditions{.if_match = fields[0],
                              .if_none_match = fields[1],
                              .if_modified_since = fields[2],
                              .if_unmodified_since = fields[3],
                              .if_range = fields[4],
                              .range = fields[5]};
  for (const Method method : {Method::Get, Method::Head, Method::Post}) {
    check_decision(conditions, file, method);
  }
  static_cast<void>(check_plan(conditions, file, {}));
  for (const Line& line : lines) {
    check_own_tag(line.text(), file);
    check_date(line.text());
    check_tags(line.text(), file);
    check_ranges(line.text(), file.size);
    check_encodings(line.text());
    check_paths(line.text());
    static_cast<void>(is_compressible(line.text()));
  }
  return 0;
}
