#include "core/proto/http1/saving.h"

#include <cerrno>
#include <cstring>

namespace millrace::http1 {

void Saving::report(ExchangeId id, Sink& sink) const {
  int error = writer_->error() == 0 && is_over_limit_ ? EFBIG : writer_->error();
  bool with_digest = has_digest_ && error == 0;
  uint64_t written = writer_->written();
  size_t size = with_digest ? sizeof(Sha256::Digest) : 0;
  Event* event = sink.begin_event(id, sizeof(Event) + size);
  MR_CHECK(event != nullptr);
  event->kind = static_cast<uint16_t>(EventKind::Saved);
  event->exchange = id;
  event->status = static_cast<uint16_t>(error);
  event->head_a = static_cast<uint32_t>(written);
  event->head_b = static_cast<uint32_t>(written >> 32);
  event->body_length = static_cast<uint32_t>(size);
  if (with_digest) {
    std::memcpy(reinterpret_cast<char*>(event) + sizeof(Event), writer_->digest().data(), size);
  }
  sink.end_event(event);
}

}  // namespace millrace::http1
