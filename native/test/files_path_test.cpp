// Paths below a served folder: what is decoded, what is refused, and every limit.
#include "core/proto/files/path.h"

#include <string>
#include <vector>

#include "test/harness.h"

namespace {

using namespace millrace::files;

// "file a/b", "folder a" or the status.
std::string resolved(millrace::Bytes tail, DotfilePolicy dotfiles = DotfilePolicy::Ignore) {
  std::string out = "left over";
  // A heap copy of the exact size, for the sanitizer.
  const std::vector<char> exact(tail.begin(), tail.end());
  const PathVerdict verdict =
      resolve_path(millrace::Bytes(exact.data(), exact.size()), dotfiles, out);
  if (verdict == PathVerdict::File) return "file " + out;
  if (verdict == PathVerdict::Folder) return "folder " + out;
  EXPECT(out.empty());
  return std::to_string(path_status(verdict));
}

struct Row {
  const char* tail;
  const char* result;
};

void check(std::initializer_list<Row> rows) {
  for (const Row& row : rows) {
    millrace::test::context = row.tail;
    EXPECT(resolved(row.tail) == row.result);
  }
}

TEST("a path is decoded once and stripped of its slashes") {
  check({
      {"", "folder "},
      {"/", "folder "},
      {"a", "file a"},
      {"/a", "file a"},
      {"a/", "folder a"},
      {"a/b.txt", "file a/b.txt"},
      {"//a///b//", "folder a/b"},
      {"///", "folder "},
      {"a%20b", "file a b"},
      {"%61%2E%62", "file a.b"},
      {"%7Euser", "file ~user"},
      {"a%252fb", "file a%2fb"},
      {"%252e%252e", "file %2e%2e"},
      {"%25", "file %"},
      {"a+b", "file a+b"},
      {"a%3Fb%23c", "file a?b#c"},
      {"%C3%A9", "file \xc3\xa9"},
      {"\xff%fe", "file \xff\xfe"},
      {"...", "404"},  // begins with a dot
      {"a..", "file a.."},
      {"a..b/c.", "file a..b/c."},
      {"~", "file ~"},
      {"a:b", "file a:b"},
      {"CON", "file CON"},
  });
}

TEST("a path never leaves its folder") {
  check({
      {".", "404"},
      {"..", "404"},
      {"../", "404"},
      {"/..", "404"},
      {"a/..", "404"},
      {"a/../b", "404"},
      {"a/./b", "404"},
      {"./a", "404"},
      {"%2e", "404"},
      {"%2e%2e", "404"},
      {".%2E/etc", "404"},
      {"%2E./etc", "404"},
      {"a/%2e%2e/b", "404"},
      {"%2f", "404"},
      {"a%2Fb", "404"},
      {"%2fetc/passwd", "404"},
      {"..%2f..", "404"},
      {"..%2fetc", "404"},
      {"a/..%2f..%2fb", "404"},
      {"%2e%2e%2f", "404"},
      {"//../a", "404"},
  });
  for (const char* tail : {".", "..", "a/../b", "%2e%2e/a", "./a"}) {
    EXPECT(resolved(tail, DotfilePolicy::Allow) == "404");
    EXPECT(resolved(tail, DotfilePolicy::Deny) == "404");
  }
}

TEST("a backslash is a character like others") {
  check({{"a\\b", "file a\\b"}, {"a%5Cb", "file a\\b"}, {"a\\..\\b", "file a\\..\\b"}});
  EXPECT(resolved("..\\a") == "404");  // begins with a dot
  EXPECT(resolved("..\\a", DotfilePolicy::Allow) == "file ..\\a");
}

TEST("broken escapes and control bytes are malformed") {
  check({
      {"%", "400"},      {"a%", "400"},          {"a%2", "400"},  {"%2/f", "400"},  {"%zz", "400"},
      {"%g0", "400"},    {"%0g", "400"},         {"%%20", "400"}, {"%-1", "400"},   {"% 1", "400"},
      {"%00", "400"},    {"a%00.txt", "400"},    {"%01", "400"},  {"%1f", "400"},   {"%7f", "400"},
      {"%0a", "400"},    {"a%0d%0aX: y", "400"}, {"a\tb", "400"}, {"a\x7f", "400"}, {"%09", "400"},
      {"%u0041", "400"},
  });
  EXPECT(resolved(millrace::Bytes("a\0b", 3)) == "400");
  EXPECT(resolved("%20") == "file  ");
  EXPECT(resolved("%80") == "file \x80");
}

TEST("dotfiles are not found, forbidden or served as the policy has it") {
  for (const char* tail : {".git", ".git/config", "a/.env", "a/.b/c", "%2egit", ".a/", "...",
                           ".well-known/.secret", ".well-known2", ".Well-Known", "a/..b"}) {
    millrace::test::context = tail;
    EXPECT(resolved(tail, DotfilePolicy::Ignore) == "404");
    EXPECT(resolved(tail, DotfilePolicy::Deny) == "403");
    EXPECT(resolved(tail, DotfilePolicy::Allow).substr(0, 1) == "f");
  }
  for (DotfilePolicy policy : {DotfilePolicy::Ignore, DotfilePolicy::Deny, DotfilePolicy::Allow}) {
    EXPECT(resolved(".well-known/acme-challenge/x", policy) == "file .well-known/acme-challenge/x");
    EXPECT(resolved("%2ewell-known/", policy) == "folder .well-known");
    EXPECT(resolved("a.b", policy) == "file a.b");
  }
}

TEST("each verdict has its status") {
  EXPECT(path_status(PathVerdict::File) == 200 && path_status(PathVerdict::Folder) == 200);
  EXPECT(path_status(PathVerdict::Malformed) == 400);
  EXPECT(path_status(PathVerdict::Forbidden) == 403);
  EXPECT(path_status(PathVerdict::NotFound) == 404);
}

TEST("the first reason met decides") {
  EXPECT(resolved(".git/%zz") == "404");
  EXPECT(resolved("a/%zz/.git") == "400");
  EXPECT(resolved("%2f%zz") == "400");
}

TEST("a name has at most 255 bytes, decoded") {
  const std::string below(kPathSegmentBytesMax - 1, 'a');
  const std::string at(kPathSegmentBytesMax, 'a');
  EXPECT(resolved(below) == "file " + below);
  EXPECT(resolved(at + "/b") == "file " + at + "/b");
  EXPECT(resolved(at + "a") == "404");
  EXPECT(resolved("b/" + at + "a/") == "404");
  EXPECT(resolved(below + "%61") == "file " + at);
}

TEST("a path has at most 4095 bytes, decoded") {
  std::string path;
  while (path.size() + 101 <= kPathBytesMax - 1) path += std::string(100, 'a') + "/";
  path += std::string(kPathBytesMax - 1 - path.size(), 'b');
  EXPECT(path.size() == kPathBytesMax - 1);
  EXPECT(resolved(path) == "file " + path);
  EXPECT(resolved(path + "b") == "file " + path + "b");
  EXPECT(resolved(path + "bb") == "404");
  EXPECT(resolved("/" + path + "b/") == "folder " + path + "b");
  EXPECT(resolved(std::string(100000, '/') + "a") == "file a");
}

}  // namespace
