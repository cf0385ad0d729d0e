// PartsReader: a multipart/form-data body, handed on part by part: to JavaScript under credit, into
// files, or skipped. A part with a filename waits until somebody has said which.
// Owned by: its body stream, loop thread.
#pragma once

#include <cstdint>
#include <memory>

#include "core/base/blob.h"
#include "core/proto/http1/saving.h"
#include "core/proto/multipart/decoder.h"
#include "core/proto/session.h"

namespace millrace::http1 {

class PartsReader final {
 public:
  PartsReader(ExchangeId id, Bytes boundary, const MultipartLimits& limits)
      : id_(id), decoder_(boundary, limits) {}

  // All that was fed is handed on, but for the beginning of what may be a delimiter.
  [[nodiscard]] bool wants_more() const { return is_waiting_for_bytes_ || decoder_.is_complete(); }
  void feed(Bytes bytes);
  void finish() { has_all_ = true; }
  // Hands on what credit, lane, disk and the waiting part allow.
  void advance(int64_t& credit, Sink& sink);
  [[nodiscard]] bool is_settled() const { return has_all_ && wants_more() && saving_ == nullptr; }
  // Also what is wrong with a body that has come to its end.
  [[nodiscard]] ErrorCode error() const;

  void take_part(uint32_t number, bool skip);
  // False when no part waits: the file is not taken then.
  [[nodiscard]] bool can_save() const { return is_gated_; }
  void save_part(std::unique_ptr<Saving> saving);
  [[nodiscard]] Saving* saving() { return saving_.get(); }

 private:
  enum class Target : uint8_t { Events, Nowhere, File };

  [[nodiscard]] bool settle_file(Sink& sink);
  [[nodiscard]] bool decode_one(int64_t& credit, Sink& sink);
  void begin_part(int64_t& credit, Sink& sink);
  void end_part(int64_t& credit, Sink& sink);
  void keep_rest();

  const ExchangeId id_;
  MultipartDecoder decoder_;
  Blob pending_;  // fed and not decoded
  size_t begin_ = 0;
  size_t end_ = 0;
  std::unique_ptr<Saving> saving_;
  uint32_t number_ = 0;  // of the part, from 1 on
  Target target_ = Target::Events;
  ErrorCode error_ = ErrorCode::None;
  bool is_in_content_ = false;
  bool is_gated_ = false;
  bool is_part_over_ = false;  // its last byte went to the file
  bool is_waiting_for_bytes_ = true;
  bool has_all_ = false;
};

}  // namespace millrace::http1
