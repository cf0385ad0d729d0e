// The reader that judges what a storm's peers receive must itself see each kind of fault.
#include "test/storm_wire.h"

#include <string>
#include <vector>

#include "test/harness.h"
#include "test/storm_dice.h"

namespace millrace::test {
namespace {

using Step = WireReader::Step;

Step read_one(const std::string& bytes, WireResponse& response, Bytes method = "GET") {
  WireReader reader;
  reader.feed(bytes);
  return reader.next(method, response);
}

TEST("a well-formed response is read with its number, length and body") {
  WireReader reader;
  reader.feed(
      "HTTP/1.1 200 OK\r\nX-Storm: 7\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhiHTTP");
  WireResponse response;
  EXPECT(reader.next("GET", response) == Step::Response);
  EXPECT(response.status == 200 && response.number == 7 && response.close);
  EXPECT(response.body == "hi");
  EXPECT(reader.next("GET", response) == Step::NeedMore);
  EXPECT(!reader.is_between_responses());
}

TEST("a response is read the same byte by byte") {
  const std::string bytes = "HTTP/1.1 404 \r\nContent-Length: 3\r\n\r\nabc";
  WireReader reader;
  WireResponse response;
  for (size_t i = 0; i < bytes.size(); i++) {
    EXPECT(reader.next("GET", response) == Step::NeedMore);
    reader.feed(Bytes(bytes).substr(i, 1));
  }
  EXPECT(reader.next("GET", response) == Step::Response);
  EXPECT(response.body == "abc");
}

TEST("responses without content end with their head") {
  WireResponse response;
  EXPECT(read_one("HTTP/1.1 204 No Content\r\n\r\n", response) == Step::Response);
  EXPECT(read_one("HTTP/1.1 304 Not Modified\r\n\r\n", response) == Step::Response);
  EXPECT(read_one("HTTP/1.1 100 Continue\r\n\r\n", response) == Step::Response);
  EXPECT(read_one("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", response, "HEAD") ==
         Step::Response);
  EXPECT(read_one("HTTP/1.1 200 OK\r\n\r\n", response, "CONNECT") == Step::Response);
  EXPECT(read_one("HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n", response, "HEAD") ==
         Step::NeedMore);
}

TEST("a stream that is no row of responses is broken") {
  const char* const wrong[] = {
      "abc",
      "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\n\r\n",
      "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX-Storm: 1\r\nX-Storm: 2\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nA B: c\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nDate: yesterday\r\nContent-Length: 0\r\n\r\n",
  };
  for (const char* bytes : wrong) {
    context = bytes;
    WireResponse response;
    EXPECT(read_one(bytes, response) == Step::Broken);
  }
}

TEST("a body that is one byte too short or too long shows") {
  WireResponse response;
  EXPECT(read_one("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", response) == Step::NeedMore);
  WireReader reader;
  reader.feed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab");
  EXPECT(reader.next("GET", response) == Step::Response);
  EXPECT(reader.next("GET", response) == Step::Broken);
}

TEST("no two requests share a body, nor a request and its response") {
  EXPECT(body_of(12, 'q', 4) != body_of(13, 'q', 4));
  EXPECT(body_of(12, 'q', 4) != body_of(12, 'r', 4));
  EXPECT(body_of(1, 'q', 5) != body_of(12, 'q', 5));
  EXPECT(body_of(12, 'q', 70'000).size() == 70'000);
}

TEST("dice from a stream give zeros when it has run out") {
  Dice dice(Bytes("\x05", 1));
  EXPECT(dice.below(256) == 5);
  EXPECT(dice.is_spent());
  EXPECT(dice.below(1000) == 0);
  EXPECT(!dice.chance(900));
}

}  // namespace
}  // namespace millrace::test
