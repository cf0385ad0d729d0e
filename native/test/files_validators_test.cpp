// Entity tags: what changes them, when they are weak, and the tables of RFC 9110 8.8.3.2.
#include "core/proto/files/validators.h"

#include <cstdint>
#include <set>
#include <string>

#include "test/harness.h"

namespace {

using millrace::Bytes;
using millrace::UnixSeconds;
using namespace millrace::files;

constexpr int64_t kNs = 1'000'000'000;
constexpr UnixSeconds kNow = 1795237200;
constexpr int64_t kOldNs = (kNow - 1000) * kNs + 5;

std::string tag_of(const FileStamp& stamp, Encoding encoding = Encoding::Identity) {
  return std::string(make_entity_tag(stamp, encoding, kNow).text());
}

bool strong(Bytes one, Bytes other) { return tags_are_equal(one, other, TagComparison::Strong); }
bool weak(Bytes one, Bytes other) { return tags_are_equal(one, other, TagComparison::Weak); }

TEST("a tag changes with size, mtime, inode and coding, and with nothing else") {
  const FileStamp stamp{.size = 10, .mtime_ns = kOldNs, .inode = 7};
  std::set<std::string> tags = {
      tag_of(stamp),
      tag_of({.size = 11, .mtime_ns = kOldNs, .inode = 7}),
      tag_of({.size = 10, .mtime_ns = kOldNs + 1, .inode = 7}),
      tag_of({.size = 10, .mtime_ns = kOldNs, .inode = 8}),
      tag_of({.size = 10, .mtime_ns = kOldNs, .inode = 0}),
      tag_of({.size = 10, .mtime_ns = kOldNs + 1, .inode = 6}),
      tag_of({.size = 10, .mtime_ns = kOldNs - 1, .inode = 8}),
      tag_of(stamp, Encoding::Brotli),
      tag_of(stamp, Encoding::Gzip),
      tag_of(stamp, Encoding::Zstd),
  };
  EXPECT(tags.size() == 10);
  EXPECT(tag_of(stamp) == tag_of(stamp));
  EXPECT(make_entity_tag(stamp, Encoding::Identity, kNow + 5000).text() == tag_of(stamp));
}

TEST("a tag is a quoted pair of hexadecimal numbers, with the coding behind") {
  const std::string plain = tag_of({.size = 0x1f, .mtime_ns = kOldNs, .inode = 1});
  EXPECT(plain.substr(0, 4) == "\"1f-");
  EXPECT(plain.back() == '"');
  EXPECT(plain.find_first_not_of("0123456789abcdef-\"") == std::string::npos);
  const std::string brotli =
      tag_of({.size = 0x1f, .mtime_ns = kOldNs, .inode = 1}, Encoding::Brotli);
  EXPECT(brotli == plain.substr(0, plain.size() - 1) + "-br\"");
  EXPECT(tag_of({}).substr(0, 3) == "\"0-");
}

TEST("the longest tag has room") {
  const FileStamp stamp{.size = UINT64_MAX, .mtime_ns = INT64_MAX, .inode = UINT64_MAX};
  const std::string tag = tag_of(stamp, Encoding::Zstd);
  EXPECT(tag.size() <= sizeof(EntityTag::bytes));
  EXPECT(tag.substr(0, 20) == "W/\"ffffffffffffffff-");
  EXPECT(tag.substr(tag.size() - 6) == "-zstd\"");
}

TEST("a tag is weak until its file is two seconds old, and keeps its text") {
  const auto weak_at = [](int64_t mtime_ns) {
    const std::string tag = tag_of({.size = 1, .mtime_ns = mtime_ns, .inode = 1});
    EXPECT(is_settled(mtime_ns, kNow) == (tag.substr(0, 2) != "W/"));
    return tag.substr(0, 2) == "W/";
  };
  EXPECT(!weak_at((kNow - 2) * kNs - 1));
  EXPECT(!weak_at((kNow - 2) * kNs));
  EXPECT(weak_at((kNow - 2) * kNs + 1));
  EXPECT(weak_at((kNow - 1) * kNs));
  EXPECT(weak_at(kNow * kNs));
  EXPECT(weak_at((kNow + 100) * kNs));
  EXPECT(!weak_at(0));
  EXPECT(!weak_at(-1));
  EXPECT(!weak_at(INT64_MIN));
  EXPECT(weak_at(INT64_MAX));
  const FileStamp young{.size = 1, .mtime_ns = kNow * kNs, .inode = 1};
  const std::string later(make_entity_tag(young, Encoding::Identity, kNow + 2).text());
  EXPECT("W/" + later == tag_of(young));
}

TEST("comparison of tags is RFC 9110's table") {
  EXPECT(!strong("W/\"1\"", "W/\"1\"") && weak("W/\"1\"", "W/\"1\""));
  EXPECT(!strong("W/\"1\"", "W/\"2\"") && !weak("W/\"1\"", "W/\"2\""));
  EXPECT(!strong("W/\"1\"", "\"1\"") && weak("W/\"1\"", "\"1\""));
  EXPECT(!strong("\"1\"", "W/\"1\"") && weak("\"1\"", "W/\"1\""));
  EXPECT(strong("\"1\"", "\"1\"") && weak("\"1\"", "\"1\""));
  EXPECT(strong("\"\"", "\"\""));
  EXPECT(!weak("\"a\"", "\"A\""));
}

TEST("a malformed tag equals none") {
  for (const char* text : {"", "1", "\"", "\"1", "1\"", "W/", "W/1", "w/\"1\"", "W/ \"1\"",
                           " \"1\"", "\"1\" ", "\"1\"x", "\"1 2\"", "\"1\x7f\"", "\"1\t\"", "*"}) {
    millrace::test::context = text;
    EXPECT(!weak(text, text));
  }
  EXPECT(weak("\"\xff,'\\\"", "\"\xff,'\\\""));
}

struct ListRow {
  const char* list;
  bool strong;
  bool weak;
};

TEST("a list of tags is searched, and what is malformed in it passed over") {
  const ListRow rows[] = {
      {"*", true, true},
      {" * ", true, true},
      {"**", false, false},
      {"*, \"b\"", false, false},
      {"*, \"a\"", true, true},
      {"\"a\"", true, true},
      {"W/\"a\"", false, true},
      {"\"b\"", false, false},
      {"\"b\", \"a\"", true, true},
      {"\"b\",\"a\"", true, true},
      {"\"b\"\t,\t\"a\"\t", true, true},
      {",, ,\"a\",,", true, true},
      {"W/\"a\", \"a\"", true, true},
      {"W/\"b\", W/\"a\"", false, true},
      {"", false, false},
      {",", false, false},
      {"a", false, false},
      {"a, \"a\"", true, true},
      {"\"a", false, false},
      {"\"b, \"a\"", true, true},
      {"\"b\" \"a\"", false, false},
      {"\"b\"x, \"a\"", true, true},
      {"\"a\"x, \"b\"", false, false},
      {"\"a\";q=1", false, false},
      {"w/\"a\"", false, false},
      {"w/\"b\", W/\"a\"", false, true},
      {"\"b,c\", \"a\"", true, true},
      {"\"b,\"a\"", true, true},
      {"\"a,b\"", false, false},
      {"'a'", false, false},
  };
  for (const ListRow& row : rows) {
    millrace::test::context = row.list;
    EXPECT(tag_list_has(row.list, "\"a\"", TagComparison::Strong) == row.strong);
    EXPECT(tag_list_has(row.list, "\"a\"", TagComparison::Weak) == row.weak);
  }
  EXPECT(tag_list_has("\"x\", \"b,c\"", "\"b,c\"", TagComparison::Strong));
  EXPECT(!tag_list_has("\"a\"", "W/\"a\"", TagComparison::Strong));
  EXPECT(tag_list_has("\"a\"", "W/\"a\"", TagComparison::Weak));
}

TEST("a list of ten thousand tags is searched to its end") {
  std::string list;
  for (int i = 0; i < 10000; i++) list += "\"" + std::to_string(i) + "\", ";
  EXPECT(!tag_list_has(list, "\"a\"", TagComparison::Weak));
  EXPECT(tag_list_has(list + "\"a\"", "\"a\"", TagComparison::Weak));
}

TEST("Last-Modified rounds down, and is neither before 1970 nor ahead of now") {
  EXPECT(modified_at(5 * kNs + 999'999'999) == 5);
  EXPECT(modified_at(0) == 0 && modified_at(-1) == 0 && modified_at(INT64_MIN) == 0);
  EntityTag tag = make_entity_tag({.size = 1, .mtime_ns = kOldNs}, Encoding::Identity, kNow);
  std::string out;
  append_validator_lines(tag, 784111777 * kNs + 1, kNow, out);
  EXPECT(out == "ETag: " + std::string(tag.text()) +
                    "\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
  out.clear();
  append_validator_lines(tag, (kNow + 60) * kNs, kNow, out);
  EXPECT(out.find("Last-Modified: Sat, 21 Nov 2026 05:00:00 GMT\r\n") != std::string::npos);
}

}  // namespace
