// Response heads byte for byte, status lines, and the Date line against known instants.
#include "core/proto/http1/encoder.h"

#include <cstdlib>
#include <ctime>
#include <string>

#include "test/harness.h"

namespace {

using millrace::Bytes;
using millrace::UnixSeconds;
using millrace::http1::DateLine;
using millrace::http1::HeadForm;
using millrace::http1::reason_phrase;
using millrace::http1::response_head_size_max;
using millrace::http1::ResponseHead;
using millrace::http1::write_response_head;

// Into an allocation of exactly the promised size, so that a sanitizer sees one byte too many.
std::string written(const ResponseHead& head) {
  const size_t size_max = response_head_size_max(head);
  char* out = static_cast<char*>(std::malloc(size_max));
  const size_t length = write_response_head(head, out);
  EXPECT(length <= size_max);
  std::string text(out, length);
  std::free(out);
  return text;
}

TEST("a bare head is a status line and an empty line") {
  EXPECT(written({}) == "HTTP/1.1 200 OK\r\n\r\n");
  EXPECT(written({.status = 404}) == "HTTP/1.1 404 Not Found\r\n\r\n");
  EXPECT(written({.status = 101}) == "HTTP/1.1 101 Switching Protocols\r\n\r\n");
}

TEST("date, header lines, Content-Length and Connection follow in this order") {
  const ResponseHead head{.status = 201,
                          .date_line = "Date: x\r\n",
                          .header_lines = "A: b\r\nC: d\r\n",
                          .content_length = true,
                          .length = 1234,
                          .close = true};
  EXPECT(written(head) ==
         "HTTP/1.1 201 Created\r\nDate: x\r\nA: b\r\nC: d\r\nContent-Length: 1234\r\n"
         "Connection: close\r\n\r\n");
}

TEST("Content-Length 0 is written when asked for, and none otherwise") {
  EXPECT(written({.content_length = true}) == "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT(written({.status = 204, .length = 7}) == "HTTP/1.1 204 No Content\r\n\r\n");
}

TEST("close goes before keep-alive") {
  EXPECT(written({.keep_alive = true}) == "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n");
  EXPECT(written({.close = true, .keep_alive = true}) ==
         "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
}

TEST("CGI's form says the status in a field, and nothing that is the gateway's") {
  ResponseHead head{.status = 404,
                    .date_line = "Date: x\r\n",
                    .header_lines = "A: b\r\n",
                    .content_length = true,
                    .length = UINT64_MAX,
                    .chunked = true,
                    .close = true,
                    .form = HeadForm::Cgi};
  EXPECT(written(head) ==
         "Status: 404 Not Found\r\nA: b\r\nContent-Length: 18446744073709551615\r\n\r\n");
  EXPECT(written({.status = 599, .keep_alive = true, .form = HeadForm::Cgi}) ==
         "Status: 599 \r\n\r\n");
  EXPECT(written({.status = 511, .form = HeadForm::Cgi}) ==
         "Status: 511 Network Authentication Required\r\n\r\n");
}

TEST("an unknown status has an empty reason and keeps its space") {
  for (int number : {104, 299, 306, 419, 499, 599, 600, 999}) {
    const auto status = static_cast<uint16_t>(number);
    EXPECT(written({.status = status}) == "HTTP/1.1 " + std::to_string(number) + " \r\n\r\n");
    EXPECT(reason_phrase(status).empty());
  }
}

TEST("the size promised holds for the longest of everything") {
  for (uint16_t status = 100; status <= 999; status++) {
    const ResponseHead head{.status = status,
                            .date_line = "Date: Sat, 21 Nov 2026 05:00:00 GMT\r\n",
                            .header_lines = "A: b\r\n",
                            .content_length = true,
                            .length = UINT64_MAX,
                            .keep_alive = true};
    const std::string text = written(head);
    EXPECT(text.starts_with("HTTP/1.1 " + std::to_string(status) + " "));
    EXPECT(text.find("Content-Length: 18446744073709551615\r\n") != std::string::npos);
    EXPECT(text.ends_with("\r\n\r\n"));
  }
}

TEST("reason phrases are those of RFC 9110 and of the registry, with two that Node has besides") {
  EXPECT(reason_phrase(100) == "Continue");
  EXPECT(reason_phrase(200) == "OK");
  EXPECT(reason_phrase(304) == "Not Modified");
  EXPECT(reason_phrase(413) == "Content Too Large");
  EXPECT(reason_phrase(418) == "I'm a Teapot");
  EXPECT(reason_phrase(509) == "Bandwidth Limit Exceeded");
  EXPECT(reason_phrase(431) == "Request Header Fields Too Large");
  EXPECT(reason_phrase(505) == "HTTP Version Not Supported");
  EXPECT(reason_phrase(511) == "Network Authentication Required");
  for (int status : {0, 1, 99, 306, 512, 599, 600, 999, 65535}) {
    EXPECT(reason_phrase(static_cast<uint16_t>(status)).empty());
  }
}

TEST("the Date line is right at known instants") {
  DateLine line;
  EXPECT(line.at(0) == "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
  EXPECT(line.at(784111777) == "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");  // RFC 9110 5.6.7
  EXPECT(line.at(951782399) == "Date: Mon, 28 Feb 2000 23:59:59 GMT\r\n");
  EXPECT(line.at(951782400) == "Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n");
  EXPECT(line.at(951868800) == "Date: Wed, 01 Mar 2000 00:00:00 GMT\r\n");
  EXPECT(line.at(4107542399) == "Date: Sun, 28 Feb 2100 23:59:59 GMT\r\n");
  EXPECT(line.at(4107542400) == "Date: Mon, 01 Mar 2100 00:00:00 GMT\r\n");
  EXPECT(line.at(253402300799) == "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
}

TEST("the Date line agrees with the C library over 200 years") {
  DateLine line;
  for (UnixSeconds now = 0; now < 6311433600; now += 86400 * 3 + 3607) {
    const time_t seconds = static_cast<time_t>(now);
    tm parts{};
    gmtime_r(&seconds, &parts);
    char wanted[64];
    std::strftime(wanted, sizeof(wanted), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    if (line.at(now) != wanted) EXPECT(line.at(now) == wanted);
  }
}

TEST("the Date line is kept for its second and survives clocks that are wrong") {
  DateLine line;
  const Bytes first = line.at(784111777);
  const Bytes second = line.at(784111777);
  EXPECT(first.data() == second.data() && first == second);
  EXPECT(line.at(784111778) == "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
  EXPECT(line.at(784111776) == "Date: Sun, 06 Nov 1994 08:49:36 GMT\r\n");
  DateLine early;
  EXPECT(early.at(-1) == "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
  EXPECT(early.at(INT64_MIN) == "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
  EXPECT(early.at(INT64_MAX) == "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
}

}  // namespace
