// FileAnswer: an answer that is a file: what was asked, and what is to be said once the disk has
// found it. Pure but for the text it makes. Owned by: its answer, loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/disk/find_file.h"
#include "core/model/head.h"
#include "core/model/route.h"
#include "core/proto/files/byteranges.h"
#include "core/proto/files/conditions.h"
#include "core/proto/files/encodings.h"

namespace millrace::http1 {

// What the disk is asked, and what of the request decides about the answer.
struct FileAnswer {
  FindRequest find;
  uint64_t ticket = 0;    // 0: the disk has not been asked
  uint16_t refusal = 0;   // the status of a path that leads to no file; then nothing is looked for
  uint16_t status = 200;  // another: no conditions and ranges
  uint16_t flags = 0;     // kCommandHas… of `lines`
  Method method = Method::Get;
  bool precompressed = false;
  bool from_handler = false;  // JavaScript is told of failures, and answers
  std::string lines;          // header lines of the application
  std::string type;           // Content-Type, which is never in `lines`; "": by the name
  std::string location;       // of the redirect to a folder
  files::EncodingOrder encodings;
  std::string if_match, if_none_match, if_modified_since, if_unmodified_since, if_range, range;
};

// What is sent: head lines, and the file's bytes between texts.
struct FilePlan {
  uint16_t status = 200;
  bool has_length = true;
  uint64_t length = 0;
  uint64_t size = 0;  // of the whole file
  std::string lines;
  std::string text;        // instead of the file: of failures
  files::RangeSet ranges;  // none: the whole file, where the status has a body
  files::Boundary boundary{};
  std::string part_type;  // of several ranges
  bool sends_file = false;
};

// Reads what a File route needs of a request.
[[nodiscard]] std::unique_ptr<FileAnswer> file_answer_of(const Route& route,
                                                         const RouteMatch& match,
                                                         const RequestHead& head,
                                                         uint32_t path_length);
// From the content of a SendFile command: texts with a NUL behind each.
[[nodiscard]] std::unique_ptr<FileAnswer> file_answer_of(Bytes content);

// errno to a status: 404, 403, 503, 500.
[[nodiscard]] uint16_t file_error_status(int error);
[[nodiscard]] FilePlan plan_file(const FileAnswer& answer, const FindFileWork& found,
                                 UnixSeconds now);

}  // namespace millrace::http1
