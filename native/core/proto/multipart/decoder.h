// Multipart decoder: a multipart/form-data body (RFC 7578, RFC 2046 5.1), piece by piece. Pure: no
// body bytes are kept, only the head of the current part. Transfer encodings of a part are not
// undone (RFC 7578 4.7).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/base/bytes.h"
#include "core/model/error.h"
#include "core/proto/multipart/boundary.h"
#include "core/proto/multipart/disposition.h"

namespace millrace {

// Each is the most that is allowed: 0 allows none.
struct MultipartLimits {
  uint64_t parts_max = UINT64_MAX;
  uint64_t fields_max = UINT64_MAX;  // parts without a filename
  uint64_t files_max = UINT64_MAX;   // parts with one, be it empty
  uint64_t field_bytes_max = UINT64_MAX;
  uint64_t file_bytes_max = UINT64_MAX;
  uint64_t total_bytes_max = UINT64_MAX;  // of the body, to the end of the last delimiter
  uint64_t header_bytes_max = 16384;      // of a part's head, line ends and empty line included
  uint64_t header_count_max = 64;         // of a part
};

struct PartHead {
  Bytes name;
  Bytes filename;
  bool has_filename = false;
  Bytes headers;  // as in model/event.h: one "\n", then "name\0value\n" each, names in lower case
};

// Owned by: whoever reads the body.
class MultipartDecoder final {
 public:
  // Bytes at most that a step leaves although it asks for more.
  static constexpr size_t held_max(size_t boundary_length) { return boundary_length + 5; }

  // `boundary` is one that is_multipart_boundary() accepts; it is copied.
  MultipartDecoder(Bytes boundary, const MultipartLimits& limits);
  MultipartDecoder(const MultipartDecoder&) = delete;
  MultipartDecoder& operator=(const MultipartDecoder&) = delete;

  enum class Found : uint8_t { NeedMore, Part, Content, PartEnd, End, Broken };
  struct Step {
    Found found = Found::NeedMore;
    size_t consumed = 0;                // 0 when Broken
    Bytes content = {};                 // Content: the consumed bytes, never none of them
    ErrorCode error = ErrorCode::None;  // Broken: BadMultipart, MultipartLimit, PartHeadersTooLarge
  };

  // Offers all that is unread and answers with the next thing in it. What is not consumed comes
  // again at the front of the next offer, with more behind it after NeedMore. One Part, any number
  // of Contents and one PartEnd for each part; then End, which consumes all that comes (RFC 2046's
  // epilogue) and stays, as Broken does. Which parts, bytes and error come does not depend on how
  // the body was cut.
  // A delimiter is CRLF (or the start of the body), "--boundary", and then "--", or CRLF, or white
  // space that CRLF must follow. Anything else is content: a bare LF, a longer word.
  [[nodiscard]] Step decode(Bytes unread);

  // The last Part found. Valid from then to the decode() after its PartEnd.
  [[nodiscard]] const PartHead& part() const { return part_; }
  // A body that ends before this is true has lost its end.
  [[nodiscard]] bool is_complete() const { return phase_ == Phase::Closed; }
  [[nodiscard]] uint64_t total() const { return total_; }  // bytes consumed so far

 private:
  enum class Phase : uint8_t { Start, Preamble, Boundary, Padding, Head, Content, Closed, Broken };
  // What the bytes behind "--boundary" make of it.
  enum class Behind : uint8_t { Undecided, Delimiter, Text };
  struct Match {
    size_t at = 0;  // the length of the text when there is none
    Behind behind = Behind::Text;
  };

  // These take from the front of `rest` and say whether to go on; if not, `step` is the answer.
  bool take_start(Bytes& rest);
  bool take_preamble(Bytes& rest);
  bool take_boundary(Bytes& rest, Step& step);
  bool take_padding(Bytes& rest, Step& step);
  bool take_head(Bytes& rest, Step& step);
  bool take_content(Bytes& rest, Step& step);

  bool begin_part(Step& step);
  ErrorCode take_head_line(Bytes line);
  bool finish_head(Step& step);
  bool fail(Step& step, ErrorCode error);
  [[nodiscard]] Match find_delimiter(Bytes text) const;
  [[nodiscard]] static Behind judge(Bytes behind);
  [[nodiscard]] Bytes delimiter() const { return {delimiter_.data(), delimiter_length_}; }

  const MultipartLimits limits_;
  std::array<char, MultipartBoundary::kLengthMax + 4> delimiter_{};  // "\r\n--boundary"
  uint8_t delimiter_length_ = 0;
  Phase phase_ = Phase::Start;
  ErrorCode error_ = ErrorCode::None;
  uint64_t total_ = 0;
  uint64_t parts_ = 0;
  uint64_t fields_ = 0;
  uint64_t files_ = 0;

  // Of the current part.
  uint64_t content_bytes_ = 0;
  uint64_t content_bytes_max_ = 0;
  uint64_t head_bytes_ = 0;
  uint64_t head_lines_ = 0;
  bool has_disposition_ = false;
  std::string line_;  // the beginning of a head line whose end has not come
  std::string headers_;
  Disposition disposition_;
  PartHead part_;
};

}  // namespace millrace
