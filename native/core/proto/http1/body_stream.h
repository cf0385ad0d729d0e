// BodyStream: where the bytes of a streamed request body go, once its framing is off: to JavaScript
// under credit, as they are or part by part, into a file, or nowhere. Nothing is taken before
// JavaScript has asked. Owned by: its session, loop thread.
#pragma once

#include <cstdint>
#include <memory>

#include "core/base/blob.h"
#include "core/model/exchange.h"
#include "core/proto/http1/parts_reader.h"
#include "core/proto/http1/saving.h"
#include "core/proto/session.h"

namespace millrace::http1 {

// What an event takes of the credit besides its bytes, so that many small ones are bounded too;
// src/incoming.ts and src/form.ts count the same.
constexpr uint32_t kEventCost = 64;

void emit_body(ExchangeId id, Bytes bytes, Sink& sink);

class BodyStream final {
 public:
  explicit BodyStream(ExchangeId id) : id_(id) {}

  [[nodiscard]] ExchangeId id() const { return id_; }
  // Somebody has asked for the body: the client may be told to send it.
  [[nodiscard]] bool is_wanted() const { return target_ != Target::Undecided; }
  [[nodiscard]] bool is_dropped() const { return target_ == Target::Nowhere; }

  // --- what JavaScript asks for ---
  void read(uint32_t credit);
  void read_parts(std::unique_ptr<PartsReader> parts, uint32_t credit);
  // The whole body, or the part that waits. False when neither can be saved any more.
  [[nodiscard]] bool can_save() const;
  void save(std::unique_ptr<Saving> saving);
  void take_part(uint32_t number, bool skip);
  // What comes from now on is dropped, `bytes_max` of it.
  void drop(uint64_t bytes_max);

  // --- what the session does with it, in this order ---
  // Hands on what can be; again after each command, room in the lane, and news of the disk.
  void advance(Sink& sink);
  // What advance() found to be wrong with the body.
  [[nodiscard]] ErrorCode error() const;
  // False: whoever gets the bytes has to act first. Else all that feed() is given is taken.
  [[nodiscard]] bool wants_more(Sink& sink) const;
  // False when more is dropped than may be.
  [[nodiscard]] bool feed(Bytes bytes, Sink& sink);
  // All of it has been fed.
  void finish();
  // All of it has been handed on; end() is due, while the sink can emit.
  [[nodiscard]] bool is_settled() const;
  // `trailers` in the form of write_fields_text().
  void end(Bytes trailers, Sink& sink);

  // False when the work is not of this body.
  [[nodiscard]] bool disk_done(std::unique_ptr<DiskWork>& work);

 private:
  enum class Target : uint8_t { Undecided, Events, Parts, File, Nowhere };

  [[nodiscard]] Saving* saving() const;

  const ExchangeId id_;
  Target target_ = Target::Undecided;
  int64_t credit_ = 0;
  uint64_t droppable_ = 0;
  std::unique_ptr<PartsReader> parts_;
  std::unique_ptr<Saving> saving_;  // of the whole body
  bool is_reported_ = false;        // the file's end
};

}  // namespace millrace::http1
