#include "core/proto/http1/answers.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/proto/http1/encoder.h"

namespace millrace::http1 {
namespace {

constexpr size_t kStackHead = 2048;
constexpr size_t kKeptCapacity = 4;  // an idle connection keeps room for no more

// RFC 9110 6.4.1: these never have content, and no Content-Length either (8.6).
bool has_no_content(uint16_t status) { return status < 200 || status == 204 || status == 304; }

// Small heads are built on the stack, unusually large ones on the heap.
class HeadBuffer final {
 public:
  explicit HeadBuffer(const ResponseHead& head) {
    size_t size = response_head_size_max(head);
    if (size > kStackHead) large_ = Blob::uninitialized(size);
    char* out = large_.empty() ? small_ : large_.data();
    view_ = Bytes(out, write_response_head(head, out));
  }
  [[nodiscard]] Bytes view() const { return view_; }

 private:
  char small_[kStackHead];
  Blob large_;
  Bytes view_;
};

// What a head says before its framing, with the lines that the route adds.
ResponseHead head_of(Response& response, const Answer& answer, bool close, HeadForm form,
                     std::string& lines, Sink& sink) {
  ResponseHead head;
  head.form = form;
  head.status = response.status;
  if ((response.flags & kCommandHasDate) == 0) head.date_line = sink.date_line();
  if (!answer.route_lines.empty()) {
    lines = std::string(response.header_lines).append(answer.route_lines);
    response.header_lines = lines;
  }
  head.header_lines = response.header_lines;
  head.close = close;
  head.keep_alive = answer.keep_alive && !close;
  return head;
}

void note_bytes(Answer& answer, size_t count) {
  if (answer.access != nullptr) answer.access->bytes_out += count;
}

void note_head(Answer& answer, uint16_t status, size_t count) {
  if (answer.access != nullptr) answer.access->status = status;
  note_bytes(answer, count);
}

bool is_bodiless(const Answer& answer, uint16_t status) {
  return has_no_content(status) || (answer.is_connect && status < 300);
}

}  // namespace

Answer& Answers::push(Answer&& answer) {
  // In large steps: a burst of pipelined requests meets an empty table each time.
  if (answers_.size() == answers_.capacity())
    answers_.reserve(std::max(kKeptCapacity, answers_.size() * 4));
  unanswered_++;
  return answers_.emplace_back(std::move(answer));
}

void Answers::pop() {
  first_++;
  if (first_ < answers_.size()) {
    // Compacted once half of it is spent, so that a peer that never stops pipelining costs no
    // memory.
    if (first_ < 64 || first_ * 2 < answers_.size()) return;
    answers_.erase(answers_.begin(), answers_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
    return;
  }
  answers_.clear();
  first_ = 0;
  if (answers_.capacity() > kKeptCapacity) std::vector<Answer>().swap(answers_);
}

Answer* Answers::find(ExchangeId id) {
  for (size_t i = first_; i < answers_.size(); i++) {
    if (answers_[i].id == id && !answers_[i].done) return &answers_[i];
  }
  return nullptr;
}

void Answers::encode(Answer& answer, Response&& response, bool close, Sink& sink) {
  bool no_content = is_bodiless(answer, response.status);
  std::string lines;
  ResponseHead head = head_of(response, answer, close, form_, lines, sink);
  head.content_length = !no_content && (response.flags & kCommandHasLength) == 0;
  head.length = response.body.size();
  HeadBuffer text(head);
  sink.count_response(response.status);
  answer.done = true;
  unanswered_--;
  answer.close = close;
  Bytes body = answer.is_head || no_content ? Bytes() : response.body;
  note_head(answer, response.status, text.view().size() + body.size());
  if (!is_front(answer)) return hold(answer, text.view(), body);
  sink.write(text.view());
  if (body.empty()) return;
  if (!response.blob.empty()) return sink.write_blob(std::move(response.blob));
  if (response.body_is_static) return sink.write_static(body);
  sink.write(body);
}

void Answers::encode_head(Answer& answer, const Response& response, const uint64_t* length,
                          bool close, Sink& sink) {
  MR_CHECK(is_front(answer));
  ResponseHead head;
  head.form = form_;
  head.status = response.status;
  if ((response.flags & kCommandHasDate) == 0) head.date_line = sink.date_line();
  head.header_lines = response.header_lines;
  head.content_length = length != nullptr;
  head.length = length != nullptr ? *length : 0;
  head.close = close;
  head.keep_alive = answer.keep_alive && !close;
  HeadBuffer text(head);
  sink.count_response(response.status);
  answer.done = true;
  unanswered_--;
  answer.close = close;
  note_head(answer, response.status, text.view().size());
  sink.write(text.view());
}

// --- the access log ---

void Answers::log_lost(Sink& sink) {
  uint64_t unsent = leaving_ == nullptr && is_empty() ? 0 : sink.unsent();
  // The last bytes are those of an answer that has begun.
  if (!is_empty() && front().access != nullptr && front().held == 0)
    unsent = take_back(*front().access, unsent);
  if (leaving_ != nullptr) leaving_->all_lost(unsent, sink);
}

void Answers::log_given_up(bool but_begun, Sink& sink) {
  for (size_t i = first_; i < answers_.size(); i++) {
    Answer& answer = answers_[i];
    if (answer.access == nullptr || (but_begun && i == first_ && answer.begun)) continue;
    static_cast<void>(take_back(*answer.access, answer.held));
    std::exchange(answer.access, nullptr)->log(false, sink);
  }
}

// --- piece by piece ---

void Answers::begin(Answer& answer, Response&& response, bool close, Sink& sink) {
  bool no_content = is_bodiless(answer, response.status);
  bool has_length = (response.flags & kCommandHasLength) != 0;
  if (no_content || answer.is_head) {
    answer.framing = Framing::None;
  } else if (has_length) {
    answer.framing = Framing::Length;
  } else {
    bool is_chunked = form_ == HeadForm::Http && !answer.http10;
    answer.framing = is_chunked ? Framing::Chunked : Framing::Close;
  }
  answer.close = close || answer.framing == Framing::Close;
  std::string lines;
  ResponseHead head = head_of(response, answer, answer.close, form_, lines, sink);
  // A HEAD answer says what the GET would (RFC 9110 9.3.2).
  head.chunked = !no_content && !has_length && !answer.http10;
  HeadBuffer text(head);
  sink.count_response(response.status);
  answer.begun = true;
  note_head(answer, response.status, 0);
  put(answer, text.view(), {}, sink);
}

void Answers::add(Answer& answer, Bytes bytes, Blob blob, Sink& sink) {
  if (answer.framing == Framing::None || bytes.empty()) return;
  bool chunked = answer.framing == Framing::Chunked;
  if (blob.empty() || !is_front(answer)) {
    char size[kChunkSizeBytesMax];
    char* end = size + sizeof(size);
    char* begin = chunked ? write_chunk_size_before(static_cast<uint32_t>(bytes.size()), end) : end;
    put(answer, Bytes(begin, static_cast<size_t>(end - begin)), bytes, sink);
    if (chunked) put(answer, "\r\n", {}, sink);
    return;
  }
  char* begin = blob.data() + kBlobFront;
  size_t size = kBlobFront + bytes.size();
  if (chunked) {
    begin = write_chunk_size_before(static_cast<uint32_t>(bytes.size()), begin);
    std::memcpy(blob.data() + size, "\r\n", 2);
    size += 2;
  }
  auto from = static_cast<size_t>(begin - blob.data());
  blob.shrink(size);
  note_bytes(answer, size - from);
  sink.write_blob(std::move(blob), from);
}

void Answers::finish(Answer& answer, Bytes trailer_lines, Sink& sink) {
  if (answer.framing == Framing::Chunked) {
    put(answer, "0\r\n", trailer_lines, sink);
    put(answer, "\r\n", {}, sink);
  }
  answer.done = true;
  unanswered_--;
}

void Answers::put(Answer& answer, Bytes head, Bytes body, Sink& sink) {
  note_bytes(answer, head.size() + body.size());
  if (!is_front(answer)) return hold(answer, head, body);
  sink.write(head);
  sink.write(body);
}

void Answers::encode_informational(Answer& answer, uint16_t status, Bytes header_lines,
                                   Sink& sink) {
  if (answer.http10 || form_ == HeadForm::Cgi) return;  // RFC 9110 15.2
  ResponseHead head;
  head.status = status;
  head.header_lines = header_lines;
  HeadBuffer text(head);
  sink.count_response(status);
  if (!is_front(answer)) return hold(answer, text.view(), {});
  sink.write(text.view());
}

void Answers::hold(Answer& answer, Bytes head, Bytes body) {
  size_t size = answer.held + head.size() + body.size();
  // In steps: a body may come in very many pieces. Exactly, when it comes as one.
  if (size > answer.bytes.size())
    answer.bytes.grow(answer.held == 0 ? size : std::max(size, answer.held * 2));
  for (Bytes each : {head, body}) {
    if (!each.empty()) std::memcpy(answer.bytes.data() + answer.held, each.data(), each.size());
    answer.held += each.size();
  }
  held_bytes_ += head.size() + body.size();
}

bool Answers::advance(Sink& sink, bool& closed, CloseCause& cause) {
  if (is_empty()) return false;
  Answer& answer = front();
  if (answer.held > 0) {
    held_bytes_ -= answer.held;
    answer.bytes.shrink(std::exchange(answer.held, 0));
    sink.write_blob(std::move(answer.bytes));
  }
  if (!answer.done) return false;
  closed = answer.close;
  cause = answer.cause;
  if (answer.access != nullptr) {
    if (leaving_ == nullptr) leaving_ = std::make_unique<AccessLines>();
    leaving_->add(std::move(answer.access));
  }
  if (answer.tells) sink.tell_when_left(answer.id);
  pop();
  return true;
}

}  // namespace millrace::http1
