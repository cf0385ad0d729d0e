// Writes response heads. Stateless but for the cached Date line, whose clock is fed from outside.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/bytes.h"
#include "core/base/clock.h"

namespace millrace::http1 {

// "" when it is neither registered nor one that Node has besides (418, 509).
[[nodiscard]] Bytes reason_phrase(uint16_t status);

// "Date: Sat, 21 Nov 2026 05:00:00 GMT\r\n"; remade only when the second changes. Times outside
// the years 1970 to 9999 are taken for the nearest second inside. Owned by: loop thread.
class DateLine final {
 public:
  [[nodiscard]] Bytes at(UnixSeconds now);

 private:
  UnixSeconds made_at_ = -1;
  char text_[40] = {};
  size_t length_ = 0;
};

// Cgi: "Status: NNN Reason" (RFC 3875 6.3.3), and nothing of the connection: no date_line, chunked,
// close and keep_alive, which are the gateway's.
enum class HeadForm : uint8_t { Http, Cgi };

struct ResponseHead {
  uint16_t status = 200;        // 100 to 999
  Bytes date_line = {};         // empty: none
  Bytes header_lines = {};      // "Name: value\r\n", already checked
  bool content_length = false;  // write Content-Length
  uint64_t length = 0;
  bool chunked = false;     // write Transfer-Encoding: chunked
  bool close = false;       // Connection: close; goes before keep_alive
  bool keep_alive = false;  // Connection: keep-alive (an HTTP/1.0 client asked for it)
  HeadForm form = HeadForm::Http;
};

[[nodiscard]] size_t response_head_size_max(const ResponseHead& head);
// Returns the bytes written; `out` has response_head_size_max() bytes. Status line always
// "HTTP/1.1 NNN Reason"; then date_line, header_lines, Content-Length, Connection, empty line.
size_t write_response_head(const ResponseHead& head, char* out);

// "1f4\r\n" in front of a chunk of that many bytes (RFC 9112 7.1), so that it ends at `end`; it has
// at most kChunkSizeBytesMax bytes. Returns where it begins.
constexpr size_t kChunkSizeBytesMax = 10;
char* write_chunk_size_before(uint32_t size, char* end);

}  // namespace millrace::http1
