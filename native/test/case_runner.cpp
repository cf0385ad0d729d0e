#include "test/case_runner.h"

#include <utility>

#include "core/model/error.h"
#include "core/proto/http1/encoder.h"
#include "test/harness.h"

namespace millrace::test {
namespace {

constexpr Bytes kProbe = "GET /open HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr Bytes kScgiProbe("24:CONTENT_LENGTH\0000\0SCGI\0001\0,", 28);

std::string printable(Bytes bytes) {
  std::string text;
  for (char c : bytes.substr(0, 600)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\r') {
      text += "\\r";
    } else if (c == '\n') {
      text += "\\n";
    } else if (byte < 0x20 || byte >= 0x7f) {
      char hex[8];
      std::snprintf(hex, sizeof(hex), "\\x%02x", byte);
      text += hex;
    } else {
      text += c;
    }
  }
  return text;
}

// "HTTP/1.1 200 OK" or "Status: 200 OK", and the Date where it is ours.
std::string first_lines(int64_t status, bool is_scgi) {
  std::string text = is_scgi ? "Status: " : "HTTP/1.1 ";
  text += std::to_string(status) + " ";
  text += http1::reason_phrase(static_cast<uint16_t>(status));
  return text + (is_scgi ? "\r\n" : "\r\nDate: *\r\n");
}

std::string answer_text(int64_t status, Bytes headers, Bytes body, bool is_scgi) {
  std::string text = first_lines(status, is_scgi);
  text += headers;
  text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  text += body;
  return text;
}

class Run final {
 public:
  Run(const CaseScript& script, World& world, Cut cut)
      : script_(script), world_(world), cut_(cut), is_scgi_(script.protocol == "scgi") {}

  bool run() {
    for (const Step& step : script_.steps) {
      if (!walk(step)) return false;
    }
    if (!no_more(script_.steps.back())) return false;
    const std::string left = world_.leftovers();
    return left.empty() || fail(script_.steps.back(), "left behind: " + left);
  }

 private:
  struct Asked {
    SeenEvent event;
    bool answered = false;
    std::string chunks;   // of its streamed body, not looked at yet
    int64_t written = 0;  // bytes that were said to be with the kernel, likewise
    SeenEvent end = {};   // BodyEnd
  };

  bool walk(const Step& step) {
    switch (step.kind) {
      case StepKind::Send: return send(step);
      case StepKind::HalfClose: world_.half_close(); return true;
      case StepKind::Reset: world_.reset(); return true;
      case StepKind::Drain: world_.start_draining(); return true;
      case StepKind::Stop: world_.stop(); return true;
      case StepKind::Advance: world_.advance(step.amount); return true;
      case StepKind::Window: world_.limit_window(static_cast<uint64_t>(step.amount)); return true;
      case StepKind::Request:
      case StepKind::Header:
      case StepKind::Body:
      case StepKind::Variable:
      case StepKind::Aborted:
      case StepKind::PeerClosed: return see(step);
      case StepKind::Chunks:
      case StepKind::BodyEnd:
      case StepKind::Trailer:
      case StepKind::BodyFailed:
      case StepKind::Written: return see_stream(step);
      case StepKind::Read:
      case StepKind::Begin:
      case StepKind::Write:
      case StepKind::End:
      case StepKind::Reply:
      case StepKind::Inform:
      case StepKind::Cut: return answer(step);
      case StepKind::Expect: return expect_bytes(step, step.text);
      case StepKind::ExpectMaybe: maybe_ = step.text; return true;
      case StepKind::Answered:
        return expect_bytes(step, answer_text(step.amount, step.headers, step.text, is_scgi_));
      case StepKind::Refused: return refused(step);
      case StepKind::Open: return open(step);
      case StepKind::Closed:
        return world_.sends_no_more() || fail(step, "the connection is still open");
      case StepKind::Over:
        return (world_.sends_no_more() && !world_.still_reads()) ||
               fail(step, "the connection is not over");
      case StepKind::Lingers:
        return (world_.sends_no_more() && !world_.is_reset() && world_.still_reads()) ||
               fail(step, "the connection does not linger");
      case StepKind::Quiet:
        return no_more(step) && (!world_.sends_no_more() || fail(step, "the connection ended"));
    }
    return false;
  }

  bool send(const Step& step) {
    std::string all;
    for (const std::string& read : step.reads) all += read;
    const size_t begin = sent_;
    sent_ += all.size();
    if (cut_.at == Cut::kAsWritten) {
      for (const std::string& read : step.reads) world_.feed(read);
    } else if (cut_.at == Cut::kByteByByte) {
      for (size_t i = 0; i < all.size(); i++) world_.feed(Bytes(all).substr(i, 1));
    } else if (cut_.at > begin && cut_.at < sent_) {
      world_.feed(Bytes(all).substr(0, cut_.at - begin));
      world_.feed(Bytes(all).substr(cut_.at - begin));
    } else {
      world_.feed(all);
    }
    return true;
  }

  void pull() {
    for (SeenEvent& event : world_.take_events()) {
      if (!is_counted(event)) events_.push_back(std::move(event));
    }
    written_ += world_.take_written();
  }

  // How many pieces a body comes in, and when writes are acknowledged, is a matter of timing.
  bool is_counted(const SeenEvent& event) {
    if (event.kind != EventKind::Body && event.kind != EventKind::Written) return false;
    for (Asked& asked : asked_) {
      if (asked.event.exchange != event.exchange) continue;
      if (event.kind == EventKind::Body) asked.chunks += event.body;
      if (event.kind == EventKind::Written) asked.written += event.head_a;
      return true;
    }
    return false;
  }

  bool see_stream(const Step& step) {
    pull();
    if (asked_.empty() || step.number > asked_.size()) return fail(step, "no such request yet");
    Asked& asked = asked_[step.number == 0 ? asked_.size() - 1 : step.number - 1];
    if (step.kind == StepKind::Chunks) {
      const std::string chunks = std::exchange(asked.chunks, {});
      return chunks == step.text || fail(step, "chunks are " + printable(chunks));
    }
    if (step.kind == StepKind::Written) {
      const int64_t bytes = std::exchange(asked.written, 0);
      return bytes == step.amount || fail(step, "written were " + std::to_string(bytes));
    }
    if (step.kind == StepKind::Trailer) {
      std::string value;
      if (!asked.end.header(step.name, value)) return fail(step, "no such trailer");
      return value == step.text || fail(step, "trailer is " + printable(value));
    }
    if (events_.empty()) return fail(step, "no event");
    const SeenEvent event = std::move(events_.front());
    events_.pop_front();
    const bool is_end = step.kind == StepKind::BodyEnd;
    const EventKind kind = is_end ? EventKind::BodyEnd : EventKind::BodyFailed;
    if (event.kind != kind || event.exchange != asked.event.exchange) {
      return fail(step, "another event came");
    }
    if (is_end) {
      asked.end = event;
      return true;
    }
    const std::string code = error_code_name(static_cast<ErrorCode>(event.status));
    return code == "ERR_MILLRACE_" + step.name || fail(step, "it failed by " + code);
  }

  bool see(const Step& step) {
    if (step.kind == StepKind::Header) return see_header(step);
    if (step.kind == StepKind::Variable) return see_variable(step);
    if (step.kind == StepKind::Body) {
      if (asked_.empty()) return fail(step, "no request yet");
      const std::string& body = asked_.back().event.body;
      return body == step.text || fail(step, "body is " + printable(body));
    }
    pull();
    if (events_.empty()) return fail(step, "no event");
    const SeenEvent event = std::move(events_.front());
    events_.pop_front();
    if (step.kind == StepKind::Request) {
      const bool fits = event.kind == EventKind::Request && event.method == step.name &&
                        event.target == step.text && event.http10 == step.http10;
      if (!fits) return fail(step, "event is " + printable(event.method + " " + event.target));
      asked_.push_back({event, false, {}, 0, {}});
      return true;
    }
    const EventKind kind =
        step.kind == StepKind::Aborted ? EventKind::Aborted : EventKind::PeerClosed;
    return event.kind == kind || fail(step, "another event came");
  }

  bool see_header(const Step& step) {
    std::string value;
    if (asked_.empty() || !asked_.back().event.header(step.name, value)) {
      return fail(step, "no such header");
    }
    return value == step.text || fail(step, "header is " + printable(value));
  }

  bool see_variable(const Step& step) {
    const std::string nul(1, '\0');
    if (asked_.empty()) return fail(step, "no request yet");
    const std::string text = nul + asked_.back().event.trailers;
    const bool is_there = text.find(nul + step.name + nul + step.text + nul) != std::string::npos;
    return is_there || fail(step, "variables are " + printable(text));
  }

  bool answer(const Step& step) {
    size_t index = step.number;
    if (index == 0 && step.kind == StepKind::Read) {
      index = asked_.size();
    } else if (index == 0) {
      while (index < asked_.size() && asked_[index].answered) index++;
      index++;
    }
    if (index == 0 || index > asked_.size()) return fail(step, "there is no request to answer");
    Asked& asked = asked_[index - 1];
    CommandText text;
    text.status = static_cast<uint16_t>(step.amount);
    text.header_lines = step.headers;
    text.body = step.text;
    text.kind = kind_of(step.kind);
    if (step.kind == StepKind::Read) text.amount = static_cast<uint32_t>(step.amount);
    if (step.kind == StepKind::Cut || step.kind == StepKind::Reply || step.kind == StepKind::End) {
      asked.answered = true;
    }
    if (step.kind != StepKind::Inform && step.kind != StepKind::End) take_flags(step, text);
    world_.answer(asked.event.exchange, text);
    return true;
  }

  static CommandKind kind_of(StepKind kind) {
    switch (kind) {
      case StepKind::Inform: return CommandKind::Informational;
      case StepKind::Cut: return CommandKind::Cut;
      case StepKind::Read: return CommandKind::Read;
      case StepKind::Begin: return CommandKind::Begin;
      case StepKind::Write: return CommandKind::Write;
      case StepKind::End: return CommandKind::End;
      default: return CommandKind::Respond;
    }
  }

  // As src/lines.ts does: Connection: close becomes a flag, Content-Length and Date are announced.
  void take_flags(const Step& step, CommandText& text) {
    if (step.headers == "Connection: close\r\n") {
      text.flags |= kCommandClose;
      text.header_lines = {};
    }
    if (step.headers.find("Content-Length:") != std::string::npos) text.flags |= kCommandHasLength;
    if (step.headers.find("Date:") != std::string::npos) text.flags |= kCommandHasDate;
  }

  bool expect_bytes(const Step& step, const std::string& expected) {
    pull();
    if (!maybe_.empty() && !written_.starts_with(expected) && written_.starts_with(maybe_)) {
      written_.erase(0, maybe_.size());
    }
    maybe_.clear();
    if (!written_.starts_with(expected)) return fail(step, "wrote " + printable(written_));
    written_.erase(0, expected.size());
    return true;
  }

  // The whole of a refusal, and that nothing behind it is taken for a request.
  bool refused(const Step& step) {
    pull();
    if (!maybe_.empty() && written_.starts_with(maybe_)) written_.erase(0, maybe_.size());
    maybe_.clear();
    const std::string code = "ERR_MILLRACE_" + step.name + ": ";
    const size_t end = written_.find("\r\n\r\n");
    if (end == std::string::npos) return fail(step, "wrote " + printable(written_));
    const std::string body = written_.substr(end + 4);
    const std::string head = written_.substr(0, end + 4);
    std::string expected = first_lines(step.amount, is_scgi_);
    expected += "Content-Type: text/plain;charset=utf-8\r\nContent-Length: ";
    expected += std::to_string(body.size());
    expected += is_scgi_ ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n";
    if (head != expected || !body.starts_with(code)) {
      return fail(step, "wrote " + printable(written_));
    }
    written_.clear();
    if (!world_.sends_no_more()) return fail(step, "the connection stays open");
    if (world_.is_reset()) return fail(step, "the connection was reset");
    world_.feed(is_scgi_ ? kScgiProbe : kProbe);
    return no_more(step);
  }

  // An open connection answers.
  bool open(const Step& step) {
    if (!no_more(step)) return false;
    if (world_.sends_no_more()) return fail(step, "the connection ended");
    world_.feed(kProbe);
    pull();
    if (events_.size() == 1 && events_.front().target == "/open") {
      world_.answer(events_.front().exchange, {.status = 204});
      events_.clear();
      pull();
    }
    const bool answered =
        written_.starts_with("HTTP/1.1 204 ") || written_.starts_with("HTTP/1.1 404 ");
    if (!answered) return fail(step, "one more request got " + printable(written_));
    written_.clear();
    return true;
  }

  bool no_more(const Step& step) {
    pull();
    if (!maybe_.empty() && written_ == maybe_) written_.clear();
    maybe_.clear();
    if (!written_.empty()) return fail(step, "also wrote " + printable(written_));
    for (size_t i = 0; i < asked_.size(); i++) {
      if (asked_[i].chunks.empty()) continue;
      return fail(step,
                  "also chunks of #" + std::to_string(i + 1) + ": " + printable(asked_[i].chunks));
    }
    return events_.empty() ||
           fail(step, "also an event of kind " +
                          std::to_string(static_cast<int>(events_.front().kind)) + ": " +
                          events_.front().method + " " + printable(events_.front().target));
  }

  bool fail(const Step& step, const std::string& what) {
    context = script_.file + ":" + std::to_string(step.line) + " (" + script_.title + ", ";
    if (cut_.at == Cut::kAsWritten) {
      context += "as written";
    } else if (cut_.at == Cut::kByteByByte) {
      context += "byte by byte";
    } else {
      context += "cut at " + std::to_string(cut_.at);
    }
    context += "): " + what;
    const bool case_holds = false;
    return EXPECT(case_holds);
  }

  const CaseScript& script_;
  World& world_;
  const Cut cut_;
  const bool is_scgi_;
  size_t sent_ = 0;
  std::deque<SeenEvent> events_;
  std::vector<Asked> asked_;
  std::string written_;
  std::string maybe_;
};

}  // namespace

size_t bytes_of(const CaseScript& script) {
  size_t bytes = 0;
  for (const Step& step : script.steps) {
    for (const std::string& read : step.reads) bytes += read.size();
  }
  return bytes;
}

bool run_case(const CaseScript& script, World& world, Cut cut) {
  return Run(script, world, cut).run();
}

}  // namespace millrace::test
