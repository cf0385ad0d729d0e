#include "core/proto/http1/parts_reader.h"

#include <algorithm>
#include <cstring>

#include "core/proto/http1/body_stream.h"

namespace millrace::http1 {

void PartsReader::feed(Bytes bytes) {
  size_t kept = end_ - begin_;
  if (pending_.size() - end_ < bytes.size()) {
    Blob larger = Blob::uninitialized(std::max(kept + bytes.size(), pending_.size()));
    if (kept > 0) std::memcpy(larger.data(), pending_.data() + begin_, kept);
    pending_ = std::move(larger);
    begin_ = 0;
    end_ = kept;
  }
  std::memcpy(pending_.data() + end_, bytes.data(), bytes.size());
  end_ += bytes.size();
  is_waiting_for_bytes_ = false;
}

ErrorCode PartsReader::error() const {
  if (error_ != ErrorCode::None) return error_;
  // Also in the middle of a file that is being saved, which nothing else would end.
  bool is_cut_off = has_all_ && is_waiting_for_bytes_ && !decoder_.is_complete();
  return is_cut_off ? ErrorCode::BadMultipart : ErrorCode::None;
}

void PartsReader::take_part(uint32_t number, bool skip) {
  if (number != number_) return;  // it has come to its end meanwhile
  if (skip && target_ == Target::Events) target_ = Target::Nowhere;
  is_gated_ = false;
}

void PartsReader::save_part(std::unique_ptr<Saving> saving) {
  saving_ = std::move(saving);
  target_ = Target::File;
  is_gated_ = false;
}

void PartsReader::advance(int64_t& credit, Sink& sink) {
  // A disk that fails is not told of by the peer's next bytes only.
  if (saving_ != nullptr && saving_->is_done()) static_cast<void>(settle_file(sink));
  while (error_ == ErrorCode::None && !is_gated_ && !is_waiting_for_bytes_) {
    if (saving_ != nullptr && !settle_file(sink)) return;
    // Content that JavaScript does not get needs no credit.
    bool is_free = is_in_content_ && target_ != Target::Events;
    if ((!is_free && credit <= 0) || !sink.can_emit()) return;
    if (!decode_one(credit, sink)) break;
  }
  keep_rest();
}

// False while the file has to be waited for.
bool PartsReader::settle_file(Sink& sink) {
  if (!saving_->is_done()) return !is_part_over_ && saving_->wants_more();
  if (!sink.can_emit()) return false;
  saving_->report(id_, sink);
  saving_ = nullptr;
  target_ = Target::Nowhere;  // after a failure there may be more of the part
  if (is_part_over_) {
    is_part_over_ = false;
    sink.notify({id_, EventKind::PartEnd, 0, number_});
  }
  return true;
}

// False when there is nothing more to decode.
bool PartsReader::decode_one(int64_t& credit, Sink& sink) {
  MultipartDecoder::Step step = decoder_.decode(Bytes(pending_.data() + begin_, end_ - begin_));
  begin_ += step.consumed;
  switch (step.found) {
    case MultipartDecoder::Found::NeedMore:
    case MultipartDecoder::Found::End: is_waiting_for_bytes_ = true; return false;
    case MultipartDecoder::Found::Part: begin_part(credit, sink); return true;
    case MultipartDecoder::Found::PartEnd: end_part(credit, sink); return true;
    case MultipartDecoder::Found::Broken: error_ = step.error; return false;
    case MultipartDecoder::Found::Content: break;
  }
  if (target_ == Target::File) saving_->append(step.content);
  if (target_ == Target::Events) {
    credit -= static_cast<int64_t>(step.content.size() + kEventCost);
    emit_body(id_, step.content, sink);
  }
  return true;
}

void PartsReader::begin_part(int64_t& credit, Sink& sink) {
  const PartHead& part = decoder_.part();
  number_++;
  is_in_content_ = true;
  is_gated_ = part.has_filename;
  target_ = Target::Events;
  size_t text = part.name.size() + part.filename.size() + part.headers.size();
  Event* event = sink.begin_event(id_, sizeof(Event) + text);
  MR_CHECK(event != nullptr);
  event->kind = static_cast<uint16_t>(EventKind::Part);
  event->exchange = id_;
  event->flags = part.has_filename ? kEventHasFilename : 0;
  event->target_length = static_cast<uint32_t>(part.name.size() + part.filename.size());
  event->path_length = static_cast<uint32_t>(part.name.size());
  event->header_length = static_cast<uint32_t>(part.headers.size());
  event->head_a = number_;
  char* out = reinterpret_cast<char*>(event) + sizeof(Event);
  for (Bytes each : {part.name, part.filename, part.headers}) {
    if (!each.empty()) std::memcpy(out, each.data(), each.size());
    out += each.size();
  }
  sink.end_event(event);
  credit -= static_cast<int64_t>(kEventCost + text);
}

void PartsReader::end_part(int64_t& credit, Sink& sink) {
  is_in_content_ = false;
  credit -= static_cast<int64_t>(kEventCost);
  if (saving_ != nullptr) {
    saving_->finish();
    is_part_over_ = true;
    return;
  }
  sink.notify({id_, EventKind::PartEnd, 0, number_});
}

void PartsReader::keep_rest() {
  size_t kept = end_ - begin_;
  if (kept == 0) {
    begin_ = end_ = 0;
  } else if (begin_ > 0 && kept < 256) {
    std::memmove(pending_.data(), pending_.data() + begin_, kept);
    begin_ = 0;
    end_ = kept;
  }
}

}  // namespace millrace::http1
