// Answers: the unanswered requests of one connection, in the order they came. An answer that is
// ready too early waits here, encoded; bytes leave in order only (RFC 9112 9.3.2). Owned by: its
// session.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/blob.h"
#include "core/base/clock.h"
#include "core/model/exchange.h"
#include "core/proto/http1/access.h"
#include "core/proto/http1/encoder.h"
#include "core/proto/http1/file_answer.h"
#include "core/proto/session.h"
#include "core/proto/upgrade.h"

namespace millrace::http1 {

// How a body that is written piece by piece is delimited (RFC 9112 6.3).
enum class Framing : uint8_t {
  None,     // there is no body on the wire: HEAD, 204, 304
  Length,   // the header lines say Content-Length
  Chunked,  // RFC 9112 7.1
  Close,    // by the end of the connection: HTTP/1.0, CGI
};

struct Answer {
  std::unique_ptr<FileAnswer> file;     // it is a file; looked for when its turn comes
  std::unique_ptr<Upgrade> upgrade;     // what the connection may become instead
  std::unique_ptr<AccessEntry> access;  // where the log is wanted
  ExchangeId id;                        // not valid: answered on the loop
  Blob bytes;                           // encoded but not its turn yet: the first `held` of them
  Bytes route_lines;  // header lines that the route adds to whatever answers; the route table owns
                      // them
  Milliseconds started = 0;
  bool is_head = false;     // HEAD: no body on the wire
  bool is_connect = false;  // CONNECT: a 2xx has neither body nor length (RFC 9110 9.3.6)
  bool http10 = false;
  bool keep_alive = false;  // say Connection: keep-alive
  bool close = false;       // the connection ends behind it
  bool done = false;
  bool tells = false;  // JavaScript wants to know when it has left
  bool begun = false;  // its head is written, the body follows piece by piece
  Framing framing = Framing::None;
  size_t held = 0;
  uint32_t unacknowledged = 0;  // bytes of such pieces that JavaScript counts as not yet sent
  CloseCause cause = CloseCause::CloseCalled;
};

// A response as a session or a command has it.
struct Response {
  uint16_t status = 200;
  uint16_t flags = 0;  // kCommandHas…
  Bytes header_lines;
  Bytes body;  // also when `blob` owns it
  Blob blob;
  bool body_is_static = false;  // lives as long as the loops
};

class Answers final {
 public:
  explicit Answers(HeadForm form = HeadForm::Http) : form_(form) {}

  [[nodiscard]] bool is_empty() const { return first_ == answers_.size(); }
  [[nodiscard]] size_t size() const { return answers_.size() - first_; }
  [[nodiscard]] size_t unanswered() const { return unanswered_; }
  [[nodiscard]] size_t held_bytes() const { return held_bytes_; }
  [[nodiscard]] Answer& front() { return answers_[first_]; }
  [[nodiscard]] Answer& operator[](size_t i) { return answers_[first_ + i]; }

  Answer& push(Answer&& answer);
  void pop();
  // Null when no open exchange of that id waits here.
  [[nodiscard]] Answer* find(ExchangeId id);
  [[nodiscard]] bool is_front(const Answer& answer) const { return &answer == &answers_[first_]; }
  [[nodiscard]] bool is_back(const Answer& answer) const { return &answer == &answers_.back(); }

  // Encodes into the sink when it is the answer's turn, else into the answer. Marks it done.
  void encode(Answer& answer, Response&& response, bool close, Sink& sink);
  // The head of a response, at its turn; what is written next is its body. Marks it done.
  void encode_head(Answer& answer, const Response& response, const uint64_t* length, bool close,
                   Sink& sink);
  // The head of a response whose body comes by add(), and its end by finish(). `close`: as asked
  // for; a body that only the connection's end delimits closes too.
  void begin(Answer& answer, Response&& response, bool close, Sink& sink);
  // A blob holds the bytes between kBlobFront and kBlobBack spare ones.
  void add(Answer& answer, Bytes bytes, Blob blob, Sink& sink);
  void finish(Answer& answer, Bytes trailer_lines, Sink& sink);
  // The access log: answers that are written and have not left; those that have; what becomes of
  // them when the connection is over, and of those that are not written and never will be.
  [[nodiscard]] size_t leaving() const { return leaving_ == nullptr ? 0 : leaving_->size(); }
  void log_left(Sink& sink) {
    if (leaving_ != nullptr) leaving_->all_left(sink);
  }
  void log_lost(Sink& sink);
  // `but_begun`: without the front of which some is written.
  void log_given_up(bool but_begun, Sink& sink);
  // A 1xx response, or nothing for an HTTP/1.0 client and in CGI's form.
  void encode_informational(Answer& answer, uint16_t status, Bytes header_lines, Sink& sink);
  // Writes what the front has ready; true when the front is done and was popped. `closed` then says
  // whether it ends the connection, and why.
  [[nodiscard]] bool advance(Sink& sink, bool& closed, CloseCause& cause);

 private:
  void hold(Answer& answer, Bytes head, Bytes body);
  void put(Answer& answer, Bytes head, Bytes body, Sink& sink);

  const HeadForm form_;
  std::vector<Answer> answers_;
  size_t first_ = 0;
  std::unique_ptr<AccessLines> leaving_;
  size_t held_bytes_ = 0;
  size_t unanswered_ = 0;
};

}  // namespace millrace::http1
