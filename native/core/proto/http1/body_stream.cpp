#include "core/proto/http1/body_stream.h"

#include <algorithm>
#include <cstring>

#include "core/base/check.h"

namespace millrace::http1 {

void emit_body(ExchangeId id, Bytes bytes, Sink& sink) {
  bool is_inline = bytes.size() <= kInlineBodyMax;
  Event* event = sink.begin_event(id, sizeof(Event) + (is_inline ? bytes.size() : 0));
  MR_CHECK(event != nullptr);
  event->kind = static_cast<uint16_t>(EventKind::Body);
  event->exchange = id;
  event->body_length = static_cast<uint32_t>(bytes.size());
  if (is_inline) {
    std::memcpy(reinterpret_cast<char*>(event) + sizeof(Event), bytes.data(), bytes.size());
  } else {
    event->flags |= kEventBodyIsBlob;
    event->blob = reinterpret_cast<uint64_t>(Blob::copy(bytes).release());
  }
  sink.end_event(event);
}

void BodyStream::read(uint32_t credit) {
  if (target_ == Target::Undecided) target_ = Target::Events;
  credit_ += credit;
}

void BodyStream::read_parts(std::unique_ptr<PartsReader> parts, uint32_t credit) {
  if (target_ != Target::Undecided) return;
  target_ = Target::Parts;
  parts_ = std::move(parts);
  credit_ = credit;
}

bool BodyStream::can_save() const {
  return target_ == Target::Undecided || (target_ == Target::Parts && parts_->can_save());
}

void BodyStream::save(std::unique_ptr<Saving> saving) {
  if (target_ == Target::Parts) return parts_->save_part(std::move(saving));
  target_ = Target::File;
  saving_ = std::move(saving);
}

void BodyStream::take_part(uint32_t number, bool skip) {
  if (target_ == Target::Parts) parts_->take_part(number, skip);
}

void BodyStream::drop(uint64_t bytes_max) {
  target_ = Target::Nowhere;
  droppable_ = bytes_max;
  parts_ = nullptr;
  saving_ = nullptr;
}

void BodyStream::advance(Sink& sink) {
  if (target_ == Target::Parts) parts_->advance(credit_, sink);
  if (target_ != Target::File || is_reported_ || !saving_->is_done() || !sink.can_emit()) return;
  saving_->report(id_, sink);
  is_reported_ = true;
}

ErrorCode BodyStream::error() const {
  return target_ == Target::Parts ? parts_->error() : ErrorCode::None;
}

bool BodyStream::wants_more(Sink& sink) const {
  switch (target_) {
    case Target::Undecided: return false;
    case Target::Events: return credit_ > 0 && sink.can_emit();
    case Target::Parts: return parts_->wants_more();
    case Target::File: return saving_->wants_more();
    case Target::Nowhere: return true;
  }
  return false;
}

bool BodyStream::feed(Bytes bytes, Sink& sink) {
  if (bytes.empty()) return true;
  switch (target_) {
    case Target::Parts:
      parts_->feed(bytes);
      parts_->advance(credit_, sink);
      return true;
    case Target::File: saving_->append(bytes); return true;
    case Target::Nowhere: {
      bool fits = bytes.size() <= droppable_;
      droppable_ -= std::min<uint64_t>(bytes.size(), droppable_);
      return fits;
    }
    default: break;
  }
  credit_ -= static_cast<int64_t>(bytes.size() + kEventCost);
  emit_body(id_, bytes, sink);
  return true;
}

void BodyStream::finish() {
  if (target_ == Target::Parts) parts_->finish();
  if (target_ == Target::File) saving_->finish();
}

bool BodyStream::is_settled() const {
  switch (target_) {
    case Target::Undecided: return false;
    case Target::Parts: return parts_->is_settled();
    case Target::File: return is_reported_;
    default: return true;
  }
}

void BodyStream::end(Bytes trailers, Sink& sink) {
  if (target_ == Target::Nowhere) return;
  Event* event = sink.begin_event(id_, sizeof(Event) + trailers.size());
  MR_CHECK(event != nullptr);
  event->kind = static_cast<uint16_t>(EventKind::BodyEnd);
  event->exchange = id_;
  event->header_length = static_cast<uint32_t>(trailers.size());
  if (!trailers.empty())
    std::memcpy(reinterpret_cast<char*>(event) + sizeof(Event), trailers.data(), trailers.size());
  sink.end_event(event);
}

bool BodyStream::disk_done(std::unique_ptr<DiskWork>& work) {
  Saving* of = saving();
  if (of == nullptr || work->ticket != of->ticket()) return false;
  of->on_done(std::move(work));
  return true;
}

Saving* BodyStream::saving() const { return parts_ != nullptr ? parts_->saving() : saving_.get(); }

}  // namespace millrace::http1
