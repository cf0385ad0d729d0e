// File answers of a whole session, over sim and a disk that works when it is told to: what is on
// the wire to the byte, whatever the requests are cut into and whatever part of a send is taken.
#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "test/files_rig.h"

namespace millrace::test {
namespace {

const std::string kDate = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
const std::string kAge = "Sat, 05 Nov 1994 01:46:40 GMT";
const std::string kTextType = "text/plain; charset=utf-8";
const std::string kBinaryType = "application/octet-stream";

struct Span {
  size_t first;
  size_t last;
};

// One file, as answers of the folder's route speak of it.
struct Served {
  std::string target;
  std::string type;
  std::string content;
  std::string tag = "";

  [[nodiscard]] std::string lines() const {
    return "X-Route: f\r\nETag: " + tag + "\r\nLast-Modified: " + kAge +
           "\r\nVary: Accept-Encoding\r\n";
  }
  [[nodiscard]] std::string answer(const std::string& status, const std::string& more,
                                   const std::string& body) const {
    return "HTTP/1.1 " + status + "\r\n" + kDate + lines() + "Accept-Ranges: bytes\r\n" + more +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  [[nodiscard]] std::string whole() const {
    return answer("200 OK", "Content-Type: " + type + "\r\n", content);
  }
  [[nodiscard]] std::string content_range(Span span) const {
    return "Content-Range: bytes " + std::to_string(span.first) + "-" + std::to_string(span.last) +
           "/" + std::to_string(content.size()) + "\r\n";
  }
  [[nodiscard]] std::string bytes(Span span) const {
    return content.substr(span.first, span.last - span.first + 1);
  }
  // `boundary` is the answer's own where there are several.
  [[nodiscard]] std::string part(const std::vector<Span>& spans,
                                 const std::string& boundary) const {
    const std::string status = "206 Partial Content";
    if (spans.size() == 1) {
      return answer(status, "Content-Type: " + type + "\r\n" + content_range(spans[0]),
                    bytes(spans[0]));
    }
    std::string body;
    for (Span span : spans) {
      body += (body.empty() ? "--" : "\r\n--") + boundary + "\r\nContent-Type: " + type + "\r\n" +
              content_range(span) + "\r\n" + bytes(span);
    }
    return answer(status, "Content-Type: multipart/byteranges; boundary=" + boundary + "\r\n",
                  body + "\r\n--" + boundary + "--\r\n");
  }
  [[nodiscard]] std::string outside() const {
    return "HTTP/1.1 416 Range Not Satisfiable\r\n" + kDate +
           "Content-Type: text/plain;charset=utf-8\r\nContent-Range: bytes */" +
           std::to_string(content.size()) + "\r\nContent-Length: 22\r\n\r\nRange Not Satisfiable\n";
  }
  [[nodiscard]] std::string not_modified() const {
    return "HTTP/1.1 304 Not Modified\r\n" + kDate + lines() + "\r\n";
  }
};

Served small_file(FilesRig& rig) {
  Served file{"/f/small.txt", kTextType, numbered(kSmallFile)};
  file.tag = field_of(rig.ask(request("HEAD", file.target)), "ETag");
  return file;
}
Served large_file(FilesRig& rig) {
  Served file{"/f/large.bin", kBinaryType, numbered(kLargeFile)};
  file.tag = field_of(rig.ask(request("HEAD", file.target)), "ETag");
  return file;
}

std::string boundary_of(const std::string& answer) {
  std::string type = field_of(answer, "Content-Type");
  size_t at = type.find("boundary=");
  return at == std::string::npos ? "" : type.substr(at + 9);
}

std::string head_of(const std::string& answer) {
  return answer.substr(0, answer.find("\r\n\r\n") + 4);
}

// --- what is said ---

// Of a file of n bytes.
struct RangeCase {
  std::string field;
  std::vector<Span> spans;  // none: the whole file
};

std::vector<RangeCase> range_cases(size_t n) {
  const std::string size = std::to_string(n);
  return {
      {"bytes=0-0", {{0, 0}}},
      {"bytes=0-9", {{0, 9}}},
      {"bytes=7-12", {{7, 12}}},
      {"bytes=" + std::to_string(n - 1) + "-", {{n - 1, n - 1}}},
      {"bytes=30-" + size, {{30, n - 1}}},
      {"bytes=0-99999999999999999999", {{0, n - 1}}},
      {"bytes=-5", {{n - 5, n - 1}}},
      {"bytes=-" + std::to_string(2 * n), {{0, n - 1}}},
      {"bytes=0-3,2-9", {{0, 9}}},
      {"bytes=9-12," + size + "-,0-3", {{0, 3}, {9, 12}}},
      {"bytes=0-1,5-9,-3", {{0, 1}, {5, 9}, {n - 3, n - 1}}},
      {"bytes=5-2", {}},
      {"bytes=", {}},
      {"lines=0-1", {}},
  };
}

void check_ranges(FilesRig& rig, const Served& file) {
  SimPeer peer = rig.connect();
  for (const RangeCase& one : range_cases(file.content.size())) {
    context = file.target + " " + one.field;
    const std::string lines = "Range: " + one.field + "\r\n";
    std::string got = rig.ask(peer, request("GET", file.target, lines));
    EXPECT(got == (one.spans.empty() ? file.whole() : file.part(one.spans, boundary_of(got))));
    EXPECT(rig.ask(peer, request("HEAD", file.target, lines)) == head_of(file.whole()));
    EXPECT(rig.open_files() == 0);
  }
  const std::string behind = "Range: bytes=" + std::to_string(file.content.size()) + "-\r\n";
  EXPECT(rig.ask(peer, request("GET", file.target, behind)) == file.outside());
  EXPECT(rig.ask(peer, request("GET", file.target, "Range: bytes=-0\r\n")) == file.outside());
}

TEST("every kind of range is answered with its bytes, from memory and from the file") {
  FilesRig rig;
  check_ranges(rig, small_file(rig));
  check_ranges(rig, large_file(rig));
  context.clear();
}

TEST("conditions decide what is sent of a file") {
  FilesRig rig;
  for (const Served& file : {small_file(rig), large_file(rig)}) {
    SimPeer peer = rig.connect();
    auto ask = [&](const std::string& lines) {
      context = file.target + " " + lines;
      return rig.ask(peer, request("GET", file.target, lines));
    };
    const std::string range = "Range: bytes=3-5\r\n";
    const std::string part = file.part({{3, 5}}, "");
    EXPECT(ask("If-None-Match: " + file.tag + "\r\n" + range) == file.not_modified());
    EXPECT(ask("If-None-Match: \"a\", W/" + file.tag + "\r\n") == file.not_modified());
    EXPECT(ask("If-None-Match: \"a\"\r\n") == file.whole());
    EXPECT(ask("If-Modified-Since: " + kAge + "\r\n") == file.not_modified());
    EXPECT(ask("If-Range: " + file.tag + "\r\n" + range) == part);
    EXPECT(ask("If-Range: " + kAge + "\r\n" + range) == part);
    EXPECT(ask("If-Range: W/" + file.tag + "\r\n" + range) == file.whole());
    EXPECT(ask("If-Range: \"other\"\r\n" + range) == file.whole());
    EXPECT(ask("If-Match: " + file.tag + "\r\n" + range) == part);
    EXPECT(ask("If-Match: \"other\"\r\n" + range) ==
           "HTTP/1.1 412 Precondition Failed\r\n" + kDate +
               "Content-Type: text/plain;charset=utf-8\r\nContent-Length: 20\r\n\r\n"
               "Precondition Failed\n");
    EXPECT(rig.open_files() == 0);
  }
  context.clear();
}

TEST("an empty file is whole whatever part of it is asked for") {
  FilesRig rig;
  Served file{"/f/empty.txt", kTextType, ""};
  SimPeer peer = rig.connect();
  std::string head = rig.ask(peer, request("HEAD", file.target));
  file.tag = field_of(head, "ETag");
  EXPECT(head == file.whole());
  for (const char* range : {"", "Range: bytes=0-\r\n", "Range: bytes=-1\r\n"})
    EXPECT(rig.ask(peer, request("GET", file.target, range)) == file.whole());
}

TEST("a sibling is sent to who accepts it, with a tag and ranges of its own") {
  FilesRig rig;
  rig.served().add("large.bin.br", "brotli!");
  rig.served().add("large.bin.gz", numbered(70'000));
  rig.served().add("small.txt.gz", "outdated", kOldFile - 10);
  const Served plain = large_file(rig);
  SimPeer peer = rig.connect();
  auto encoded = [&](const std::string& accepted, const std::string& coding, Served file) {
    context = accepted;
    const std::string lines = "Accept-Encoding: " + accepted + "\r\n";
    file.tag = field_of(rig.ask(peer, request("HEAD", file.target, lines)), "ETag");
    EXPECT(file.tag != plain.tag);
    file.type = "application/octet-stream";
    std::string got = rig.ask(peer, request("GET", file.target, lines));
    const std::string coded = "Content-Encoding: " + coding + "\r\nContent-Type: " + file.type;
    EXPECT(got == file.answer("200 OK", coded + "\r\n", file.content));
    got = rig.ask(peer, request("GET", file.target, lines + "Range: bytes=2-4\r\n"));
    EXPECT(got == file.answer("206 Partial Content", coded + "\r\n" + file.content_range({2, 4}),
                              file.bytes({2, 4})));
    got = rig.ask(peer, request("GET", file.target, lines + "If-None-Match: " + file.tag + "\r\n"));
    EXPECT(got == file.not_modified());
  };
  Served brotli = plain;
  brotli.content = "brotli!";
  Served gzip = plain;
  gzip.content = numbered(70'000);
  encoded("gzip, br", "br", brotli);
  encoded("gzip, br;q=0.5", "gzip", gzip);
  encoded("zstd, x-gzip", "gzip", gzip);
  for (const char* accepted : {"identity", "zstd", "br;q=0", ""}) {
    context = accepted;
    const std::string lines = "Accept-Encoding: " + std::string(accepted) + "\r\n";
    EXPECT(rig.ask(peer, request("GET", plain.target, lines)) == plain.whole());
  }
  const std::string gzip_lines = "Accept-Encoding: gzip\r\n";
  EXPECT(rig.ask(peer, request("GET", "/f/small.txt", gzip_lines)) == small_file(rig).whole());
  // A route that does not look for any.
  std::string got = rig.ask(peer, request("GET", "/plain", gzip_lines));
  EXPECT(body_of(got) == plain.content && field_of(got, "Vary").empty());
  context.clear();
}

TEST("what is no file is answered in its place, and the connection goes on") {
  FilesRig rig;
  EXPECT(::mkdir(rig.at("folder").c_str(), 0755) == 0);
  EXPECT(::mkfifo(rig.at("fifo").c_str(), 0644) == 0);
  SimPeer peer = rig.connect();
  auto status = [&](const std::string& target) {
    std::string got = rig.ask(peer, request("GET", target));
    return got.size() < 12 ? got : got.substr(9, 3);
  };
  EXPECT(status("/f/nothing") == "404");
  EXPECT(status("/f/.hidden") == "404");
  EXPECT(status("/f/a%2f..%2fb") == "404");
  EXPECT(status("/f/folder/") == "404");  // without an index
  EXPECT(status("/f/fifo") == "403");
  EXPECT(status("/f/small.txt/") == "404");
  std::string moved = rig.ask(peer, request("GET", "/f/folder?a=b"));
  EXPECT(moved.substr(9, 3) == "301" && field_of(moved, "Location") == "/f/folder/?a=b");
  EXPECT(field_of(moved, "Content-Length") == "0");
  EXPECT(rig.ask(peer, request("GET", "/f/")) == small_file(rig).whole());
}

TEST("a file of more than one piece goes out with each piece from its place") {
  FilesRig rig;
  const size_t size = (size_t{1} << 20) + 300'077;
  const std::string content = numbered(size);
  rig.served().add("long.bin", content);
  SimPeer peer = rig.connect();
  std::string got = rig.ask(peer, request("GET", "/f/long.bin"));
  EXPECT(body_of(got) == content);
  got = rig.ask(peer, request("GET", "/f/long.bin", "Range: bytes=100001-1300000\r\n"));
  EXPECT(body_of(got) == content.substr(100'001, 1'200'000));
}

// --- handlers ---

TEST("a handler's file goes out with the handler's lines, and is told of") {
  FilesRig rig;
  SimPeer peer = rig.connect();
  ExchangeId id = rig.handled(peer, request("GET", "/x"));
  rig.send_file(id, {.path = rig.at("large.bin"), .range = "bytes=8-10", .lines = "X-A: b\r\n"});
  EXPECT(rig->take().empty());
  std::string got = rig.read_all(peer);
  EXPECT(field_of(got, "X-A") == "b" && field_of(got, "Content-Range") == "bytes 8-10/100000");
  EXPECT(body_of(got) == "000");
  Taken taken = rig->take_one();
  EXPECT(taken.kind == EventKind::File && taken.id == id && taken.status == 0);
}

TEST("a tag of the application's own is what conditions are compared with") {
  FilesRig rig;
  SimPeer peer = rig.connect();
  auto ask = [&](FileWish wish) {
    ExchangeId id = rig.handled(peer, request("GET", "/x"));
    wish.path = rig.at("large.bin");
    wish.lines = "X-A: b\r\neTag:  \"own\"\r\nX-C: d\r\n";
    rig.send_file(id, wish);
    std::string got = rig.read_all(peer);
    static_cast<void>(rig->take());
    return got.substr(9, 4) + body_of(got).substr(0, 20);
  };
  EXPECT(ask({.if_none_match = "\"own\""}) == "304 ");
  EXPECT(ask({.if_none_match = "\"other\""}) == "200 " + numbered(20));
  EXPECT(ask({.range = "bytes=0-7", .if_match = "\"own\""}) == "206 0000000;");
  EXPECT(ask({.if_match = "\"other\""}) == "412 Precondition Failed\n");
  EXPECT(ask({.range = "bytes=0-7", .if_range = "\"own\""}) == "206 0000000;");
  EXPECT(ask({.range = "bytes=0-7", .if_range = "\"other\""}) == "200 " + numbered(20));
}

TEST("a tag that the application leaves empty, or weak, or without quotes stays the only one") {
  FilesRig rig;
  SimPeer peer = rig.connect();
  auto ask = [&](const std::string& line, FileWish wish) {
    ExchangeId id = rig.handled(peer, request("GET", "/x"));
    wish.path = rig.at("large.bin");
    wish.lines = line + "\r\n";
    rig.send_file(id, wish);
    std::string got = rig.read_all(peer);
    static_cast<void>(rig->take());
    EXPECT(count_of(got, "ETag:") == (got.substr(9, 3) == "412" ? 0u : 1u));
    return got.substr(9, 3);
  };
  EXPECT(ask("ETag:", {}) == "200");
  EXPECT(ask("ETag:", {.if_none_match = "\"\""}) == "200");
  EXPECT(ask("ETag: \"\"", {.if_none_match = "\"\""}) == "304");
  EXPECT(ask("ETag: own", {.if_none_match = "own, \"own\""}) == "200");
  EXPECT(ask("ETag: own", {.if_match = "\"own\""}) == "412");
  EXPECT(ask("ETag: own", {.range = "bytes=0-7", .if_range = "\"own\""}) == "200");
  EXPECT(ask("ETag: W/\"own\"", {.if_none_match = "\"own\""}) == "304");
  EXPECT(ask("ETag: W/\"own\"", {.if_match = "W/\"own\""}) == "412");
  EXPECT(ask("ETag: W/\"own\"", {.range = "bytes=0-7", .if_range = "W/\"own\""}) == "200");
}

TEST("a handler whose file is not there answers in its place, in order") {
  FilesRig rig;
  SimPeer peer = rig.connect();
  ExchangeId id = rig.handled(peer, request("GET", "/x") + request("GET", "/f/small.txt"));
  rig.send_file(id, {.path = rig.at("nothing")});
  EXPECT(rig.read_all(peer).empty());
  Taken taken = rig->take_one();
  EXPECT(taken.kind == EventKind::File && taken.status == ENOENT);
  rig->respond(id, "none");
  std::string got = rig.read_all(peer);
  EXPECT(body_of(got) == "none" + small_file(rig).whole());
}

TEST("a page of an error is a file that no condition or range changes") {
  FilesRig rig;
  SimPeer peer = rig.connect();
  ExchangeId id = rig.handled(peer, request("GET", "/x"));
  rig.send_file(id, {.path = rig.at("small.txt"),
                     .range = "bytes=0-1",
                     .if_none_match = "*",
                     .status = 404,
                     .flags = kCommandClose});
  std::string got = rig.read_all(peer);
  EXPECT(got.starts_with("HTTP/1.1 404 Not Found\r\n"));
  EXPECT(field_of(got, "Connection") == "close");
  EXPECT(body_of(got) == numbered(kSmallFile));
  EXPECT(rig->sim().saw_half_close(peer));
  static_cast<void>(rig->take());
}

TEST("a file for a CONNECT has no body and no length, RFC 9110 9.3.6") {
  for (const char* name : {"small.txt", "large.bin"}) {
    context = name;
    FilesRig rig;
    SimPeer peer = rig.connect();
    ExchangeId id = rig.handled(peer, request("CONNECT", "a:80"));
    rig.send_file(id, {.path = rig.at(name)});
    std::string got = rig.read_all(peer);
    EXPECT(got.starts_with("HTTP/1.1 200 OK\r\n") && got.ends_with("\r\n\r\n"));
    EXPECT(field_of(got, "Content-Length").empty());
    EXPECT(body_of(got).empty());
    EXPECT(rig->sim().saw_half_close(peer));
    static_cast<void>(rig->take());
  }
  context.clear();
}

TEST("a status without content says so in a way that the next answer can follow") {
  for (uint16_t status : {uint16_t{204}, uint16_t{205}, uint16_t{304}}) {
    context = std::to_string(status);
    FilesRig rig;
    SimPeer peer = rig.connect();
    ExchangeId id = rig.handled(peer, request("GET", "/x"));
    rig.send_file(id, {.path = rig.at("small.txt"), .status = status});
    std::string got = rig.read_all(peer);
    EXPECT(body_of(got).empty());
    EXPECT(field_of(got, "Content-Length") == (status == 205 ? "0" : ""));
    static_cast<void>(rig->take());
  }
  context.clear();
}

// --- pipelines ---

// Requests of all kinds; the third and the seventh are a handler's.
std::string mixed_requests() {
  return request("GET", "/static") + request("GET", "/f/large.bin", "Range: bytes=-9\r\n") +
         request("GET", "/x") + request("HEAD", "/f/large.bin") + request("GET", "/f/nothing") +
         request("GET", "/f/large.bin", "Range: bytes=1-2,9000-9009,-1\r\n") + post("/y", 3) +
         request("GET", "/f/small.txt") + request("GET", "/f/large.bin", "Range: bytes=0-0\r\n") +
         request("GET", "/ready");
}

// As a handler does with "/x" and "/y".
void answer_handled(FilesRig& rig) {
  for (const Taken& taken : rig->take()) {
    if (taken.kind != EventKind::Request) continue;
    if (taken.target == "/x") {
      rig.send_file(taken.id, {.path = rig.at("large.bin"), .range = "bytes=80-89"});
    } else {
      EXPECT(put_response(rig->lane(), taken.id, "of y"));
    }
  }
}

std::string settle(FilesRig& rig, SimPeer peer) {
  std::string got;
  for (int i = 0; i < 4; i++) {
    got += rig.read_all(peer);
    answer_handled(rig);
  }
  return same_boundary(std::move(got));
}

std::string mixed_answers(FilesRig& rig) {
  const Served small = small_file(rig);
  const Served large = large_file(rig);
  std::string of_handler = large.part({{80, 89}}, "");
  for (const char* line : {"X-Route: f\r\n", "Vary: Accept-Encoding\r\n"})
    of_handler.erase(of_handler.find(line), std::strlen(line));
  auto plain = [](const std::string& body) {
    return "HTTP/1.1 200 OK\r\n" + kDate + "Content-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  };
  return plain("fixed") + large.part({{99'991, 99'999}}, "") + of_handler + head_of(large.whole()) +
         "HTTP/1.1 404 Not Found\r\n" + kDate +
         "Content-Type: text/plain;charset=utf-8\r\nContent-Length: 10\r\n\r\nNot Found\n" +
         large.part({{1, 2}, {9000, 9009}, {99'999, 99'999}}, std::string(32, 'B')) +
         plain("of y") + small.whole() + large.part({{0, 0}}, "") + plain("fixed");
}

TEST("pipelined files and other answers are the same wherever the requests are cut") {
  FilesRig rig;
  const std::string requests = mixed_requests();
  const std::string expected = mixed_answers(rig);
  for (size_t at = 0; at <= requests.size(); at++) {
    context = "cut at " + std::to_string(at);
    SimPeer peer = rig->connect(requests.substr(0, at));
    // Now and then the disk has found what was asked before the rest comes.
    if (at % 3 == 0) rig.run_disk();
    rig->send(peer, requests.substr(at));
    if (!EXPECT(settle(rig, peer) == expected)) break;
    rig->sim().close(peer);
  }
  SimPeer peer = rig.connect();
  for (char byte : requests) rig->send(peer, std::string(1, byte));
  EXPECT(settle(rig, peer) == expected);
  context.clear();
}

TEST("pipelined files are the same whatever part of a send the peer takes") {
  FilesRig rig;
  const std::string requests = mixed_requests();
  const std::string expected = mixed_answers(rig);
  for (uint64_t window = 1; window < 400; window += 1 + window / 16) {
    context = "window of " + std::to_string(window);
    SimPeer peer = rig.connect_slow(window);
    std::string got;
    rig->send(peer, requests);
    for (int idle = 0; idle < 4;) {
      rig->turn(1);
      rig.run_disk();
      answer_handled(rig);
      std::string more = rig->sim().read(peer);
      EXPECT(more.size() <= window);
      idle = more.empty() ? idle + 1 : 0;
      got += more;
      rig->sim().limit_window(peer, window);
    }
    if (!EXPECT(same_boundary(got) == expected)) break;
    EXPECT(rig.open_files() == 0);
    rig->sim().close(peer);
  }
  context.clear();
}

}  // namespace
}  // namespace millrace::test
