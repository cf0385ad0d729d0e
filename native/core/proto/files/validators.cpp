#include "core/proto/files/validators.h"

#include <algorithm>
#include <cstring>

#include "core/base/http_date.h"

namespace millrace::files {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr UnixSeconds kSettleSeconds = 2;

// Rounds down, also before 1970.
UnixSeconds floor_seconds(int64_t time_ns) {
  const int64_t whole = time_ns / kSecondNs;
  return time_ns % kSecondNs < 0 ? whole - 1 : whole;
}

// One to one, and each bit in moves about half of the bits out: an odd factor, and the upper half
// folded into the lower, twice.
uint64_t scramble(uint64_t value) {
  for (int round = 0; round < 2; round++) {
    value = (value ^ (value >> 32)) * 0x9e3779b97f4a7c15u;
  }
  return value ^ (value >> 29);
}

class TagWriter final {
 public:
  explicit TagWriter(EntityTag& tag) : tag_(tag) {}
  void put(Bytes text) {
    for (char c : text) tag_.bytes[tag_.length++] = c;
  }
  void put_hex(uint64_t value) {
    int shift = 60;
    while (shift > 0 && value >> shift == 0) shift -= 4;
    for (; shift >= 0; shift -= 4) {
      tag_.bytes[tag_.length++] = "0123456789abcdef"[(value >> shift) & 15];
    }
  }

 private:
  EntityTag& tag_;
};

Bytes tag_suffix(Encoding encoding) {
  switch (encoding) {
    case Encoding::Brotli: return "-br";
    case Encoding::Gzip: return "-gzip";
    case Encoding::Zstd: return "-zstd";
    case Encoding::Identity: break;
  }
  return "";
}

struct TagView {
  Bytes opaque;  // with its quotes; empty: malformed
  bool weak = false;
};

// RFC 9110 8.8.3 etagc: neither a quote nor a space nor a control; commas belong to it.
bool is_tag_char(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != '"' && byte != 0x7f;
}

// Takes a tag off the front; an opaque part of no bytes when there is none.
TagView take_tag(Bytes& rest) {
  TagView tag;
  Bytes text = rest;
  if (text.substr(0, 2) == "W/") {  // case-sensitive
    tag.weak = true;
    text.remove_prefix(2);
  }
  if (text.empty() || text.front() != '"') return {};
  size_t end = 1;
  while (end < text.size() && is_tag_char(text[end])) end++;
  if (end == text.size() || text[end] != '"') return {};
  tag.opaque = text.substr(0, end + 1);
  rest = text.substr(end + 1);
  return tag;
}

TagView whole_tag(Bytes text) {
  const TagView tag = take_tag(text);
  return text.empty() ? tag : TagView{};
}

bool are_equal(const TagView& one, const TagView& other, TagComparison comparison) {
  if (one.opaque.empty() || one.opaque != other.opaque) return false;
  return comparison == TagComparison::Weak || (!one.weak && !other.weak);
}

}  // namespace

bool is_settled(int64_t mtime_ns, UnixSeconds now) {
  const UnixSeconds changed = floor_seconds(mtime_ns);
  // `now` has no fraction, so an mtime within the last of the two seconds counts as too young.
  return changed + kSettleSeconds < now ||
         (changed + kSettleSeconds == now && mtime_ns % kSecondNs == 0);
}

EntityTag make_entity_tag(const FileStamp& stamp, Encoding encoding, UnixSeconds now) {
  EntityTag tag;
  TagWriter writer(tag);
  if (!is_settled(stamp.mtime_ns, now)) writer.put("W/");
  writer.put("\"");
  writer.put_hex(stamp.size);
  writer.put("-");
  // The inode tells two files apart that came into being with one and the same mtime, as archives
  // and reproducible builds set it. Hashed, because it is nobody's business.
  writer.put_hex(scramble(static_cast<uint64_t>(stamp.mtime_ns) + scramble(stamp.inode)));
  writer.put(tag_suffix(encoding));
  writer.put("\"");
  return tag;
}

bool tags_are_equal(Bytes one, Bytes other, TagComparison comparison) {
  return are_equal(whole_tag(one), whole_tag(other), comparison);
}

bool tag_list_has(Bytes list, Bytes tag, TagComparison comparison) {
  Bytes rest = trim_ows(list);
  if (rest == "*") return true;
  const TagView wanted = whole_tag(tag);
  while (!rest.empty()) {
    const Bytes member = rest;
    const TagView found = take_tag(rest);
    rest = trim_ows(rest);
    const bool ends = rest.empty() || rest.front() == ',';
    if (found.opaque.empty() || !ends) {
      rest = member;  // a comma inside what only looks like a tag separates, too
    } else if (are_equal(found, wanted, comparison)) {
      return true;
    }
    const size_t comma = rest.find(',');
    if (comma == Bytes::npos) return false;
    rest = trim_ows(rest.substr(comma + 1));
  }
  return false;
}

UnixSeconds modified_at(int64_t mtime_ns) {
  return std::max<UnixSeconds>(floor_seconds(mtime_ns), 0);
}

void append_validator_lines(const EntityTag& tag, int64_t mtime_ns, UnixSeconds now,
                            std::string& out) {
  char date[kHttpDateBytes];
  write_http_date(std::min(modified_at(mtime_ns), now), date);
  out.append("ETag: ").append(tag.text());
  out.append("\r\nLast-Modified: ").append(date, sizeof(date)).append("\r\n");
}

}  // namespace millrace::files
