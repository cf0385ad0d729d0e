// Files that a fuzzer's loop serves, and what every answer with one of them must be: framed as its
// head says, and of the file the bytes that it speaks of. A part of one is never the end of a
// connection that looks whole.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/base/check.h"
#include "fuzz/input.h"
#include "test/files_rig.h"

namespace millrace::fuzz {

using test::FileWish;
using test::kLargeFile;

class ServedFiles final {
 public:
  static ServedFiles& of_process() {
    static ServedFiles files;
    return files;
  }
  [[nodiscard]] test::RigFiles rig_files() const { return {folder_.routes()}; }

  // A handler's: always one that can be satisfied, as 416 has none of the handler's lines.
  FileWish wish(Input& input, bool is_head) {
    constexpr std::array names = {"large.bin", "small.txt", "empty.txt", "nothing"};
    constexpr std::array ranges = {
        "",          "bytes=0-9",  "bytes=7-70000", "bytes=-17", "bytes=0-1,50-69,90000-90100",
        "bytes=31-", "bytes=9-2,", "bytes=0-0"};
    FileWish wish;
    uint8_t choice = input.byte();
    wish.path = folder_.folder.at(names[choice % 4]);
    wish.lines = "X-Type: " + std::string(kTypes[choice % 4]) + "\r\n";
    wish.range = ranges[choice >> 2 & 7];
    if ((choice & 32) != 0) wish.if_none_match = "*";
    if ((choice & 64) != 0) wish.accept_encoding = "gzip";
    wish.is_head = is_head;
    return wish;
  }
  // Of a route: GET below "/f/", HEAD of "/plain".
  static std::string request(Input& input) {
    constexpr std::array targets = {"/f/large.bin", "/f/small.txt", "/f/", "/f/nothing",
                                    "/f/empty.txt"};
    constexpr std::array lines = {"",
                                  "Range: bytes=3-12\r\n",
                                  "Range: bytes=-99\r\n",
                                  "Range: bytes=1-2,9-9,99000-\r\n",
                                  "Range: bytes=200000-\r\n",
                                  "If-None-Match: *\r\nRange: bytes=0-0\r\n",
                                  "If-Match: \"a\"\r\n",
                                  "If-Range: \"a\"\r\nRange: bytes=0-0\r\n",
                                  "Accept-Encoding: br, gzip\r\n",
                                  "Connection: close\r\n"};
    uint8_t choice = input.byte();
    if (choice >= 250) return test::request("HEAD", "/plain", lines[choice % 10]);
    return test::request("GET", targets[choice % 5], lines[choice / 5 % 10]);
  }
  // Not below what every wish can be satisfied with.
  void shorten(Input& input) {
    size_ = std::min<size_t>(size_, 100 + input.below(65536));
    const std::string path = folder_.folder.at("large.bin");
    MR_CHECK(::truncate(path.c_str(), static_cast<off_t>(size_)) == 0);
  }
  void restore() {
    if (size_ == kLargeFile) return;
    size_ = kLargeFile;
    folder_.add("large.bin", content_);
  }

  // What was sent to one client, who has taken all of it. `is_cut`: it saw a reset.
  void check(const std::string& text, bool is_cut) const {
    size_t at = 0;
    for (; (at = text.find("Accept-Ranges: bytes\r\n", at)) != std::string::npos; at++) {
      const size_t begin = text.rfind("HTTP/1.1 ", at);
      const size_t end = text.find("\r\n\r\n", at);
      MR_CHECK(begin != std::string::npos && (end != std::string::npos || is_cut));
      if (end == std::string::npos) continue;
      check_answer(text.substr(begin, end + 4 - begin), text.substr(end + 4), is_cut);
    }
  }

 private:
  static constexpr std::array<const char*, 4> kTypes = {"application/octet-stream", "text/plain",
                                                        "text/plain", ""};

  ServedFiles() { folder_.add("small.txt.gz", test::numbered(70'000)); }

  void check_answer(const std::string& head, const std::string& rest, bool is_cut) const {
    const bool is_of_route = !test::field_of(head, "X-Route").empty();
    if (!is_of_route && !is_get(head)) return check_next(rest);
    const size_t length = std::stoul(test::field_of(head, "Content-Length"));
    MR_CHECK(rest.size() >= length || is_cut);
    if (rest.size() > length) check_next(rest.substr(length));
    const std::string body = rest.substr(0, length);
    const std::string type = test::field_of(head, "Content-Type");
    // Of small files no wish has several parts.
    MR_CHECK(type.starts_with(test::field_of(head, "X-Type")) || type.starts_with("multipart/"));
    if (type.starts_with("multipart/byteranges")) return check_parts(body, length, type);
    check_bytes(test::field_of(head, "Content-Range"), length, body);
  }
  // SendFile for HEAD and CONNECT says so in a line of its own.
  static bool is_get(const std::string& head) {
    return !test::field_of(head, "X-Number").empty() && test::field_of(head, "X-Bodiless").empty();
  }
  static void check_next(const std::string& rest) {
    const std::string start = "HTTP/1.1 ";
    MR_CHECK(start.starts_with(rest.substr(0, start.size())));
  }
  // `range` as Content-Range has it, "" for the whole file.
  void check_bytes(const std::string& range, size_t length, const std::string& body) const {
    size_t first = 0;
    if (!range.empty()) {
      first = std::stoul(range.substr(6));
      const size_t last = std::stoul(range.substr(range.find('-') + 1));
      const size_t size = std::stoul(range.substr(range.find('/') + 1));
      MR_CHECK(first <= last && last < size && last - first + 1 == length);
    }
    MR_CHECK(first + length <= kLargeFile);
    MR_CHECK(content_.compare(first, body.size(), body) == 0);
  }
  // `body` is what has come of it.
  void check_parts(const std::string& body, size_t length, const std::string& type) const {
    const std::string mark = "--" + type.substr(type.find("boundary=") + 9);
    size_t at = 0;
    for (bool is_first = true;; is_first = false) {
      const std::string delimiter = (is_first ? "" : "\r\n") + mark;
      if (body.compare(at, delimiter.size(), delimiter) != 0) break;
      at += delimiter.size();
      if (body.substr(at) == "--\r\n") {
        MR_CHECK(at + 4 == length);
        return;
      }
      const size_t end = body.find("\r\n\r\n", at);
      if (end == std::string::npos) break;
      const std::string range = test::field_of(body.substr(at, end + 4 - at), "Content-Range");
      const size_t first = std::stoul(range.substr(6));
      const size_t size = std::stoul(range.substr(range.find('-') + 1)) - first + 1;
      check_bytes(range, size, body.substr(end + 4, size));
      at = std::min(end + 4 + size, body.size());
    }
    MR_CHECK(body.size() < length);  // cut
  }

  test::ServedFolder folder_;
  const std::string content_ = test::numbered(kLargeFile);
  size_t size_ = kLargeFile;  // of the large one; shorten() and restore() change it
};

}  // namespace millrace::fuzz
