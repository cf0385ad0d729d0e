// Answers that are files: looked for by the disk threads when their turn has come, then queued for
// the kernel to send. What they say is decided in file_answer.cpp.
#include <cerrno>
#include <utility>

#include "core/proto/http1/session.h"

namespace millrace::http1 {
namespace {

// Bytes of earlier answers that may still wait when a file is looked for.
constexpr size_t kBeforeFileMax = 64 * 1024;

}  // namespace

// Only the answer whose turn it is, and only when what was written before has left, or most of it:
// descriptors and contents are held for what is about to be sent. True when it was answered at
// once.
bool Http1Session::look_for_file(Sink& sink) {
  if (answers_.is_empty()) return false;
  FileAnswer* file = answers_.front().file.get();
  if (file == nullptr || file->ticket != 0) return false;
  if (sink.files_queued() > 0 || sink.buffered() > kBeforeFileMax)
    return false;  // flushed() is due
  file->ticket = sink.new_ticket();
  auto work = std::make_unique<FindFileWork>(std::move(file->find));
  if (file->refusal != 0) {
    file_found(answers_.front(), *work, sink);
    return true;
  }
  work->ticket = file->ticket;
  sink.submit(std::move(work));
  return false;
}

bool Http1Session::disk_done(std::unique_ptr<DiskWork>& work, Sink& sink) {
  if (!answers_.is_empty() && answers_.front().file != nullptr &&
      answers_.front().file->ticket == work->ticket) {
    // Only such work has such a ticket.
    file_found(answers_.front(), static_cast<FindFileWork&>(*work), sink);
    advance(sink);
    arm(sink);
    return false;  // what is left of it is closed where that may take its time
  }
  if (reading_ == nullptr || reading_->stream == nullptr) return false;
  if (!reading_->stream->disk_done(work)) return false;
  sink.resume();
  return true;
}

void Http1Session::file_found(Answer& answer, FindFileWork& found, Sink& sink) {
  std::unique_ptr<FileAnswer> file = std::move(answer.file);
  if (file->from_handler) {
    int error = found.needs_slash ? EISDIR : found.opened.error;
    sink.notify({answer.id, EventKind::File, static_cast<uint16_t>(error)});
    if (error != 0) return;  // the handler answers
  }
  FilePlan plan = plan_file(*file, found, sink.wall_clock());
  Response response;
  response.status = plan.status;
  response.flags = file->flags;
  plan.lines.append(answer.route_lines);
  response.header_lines = plan.lines;
  bool close = answer.close || (file->flags & kCommandClose) != 0 || is_last(answer, sink) ||
               (sink.draining() && answers_.is_back(answer)) ||
               (is_streaming(answer.id) && cannot_leave(sink));
  if (close) last_request_ = true;
  expect_more_of(plan.lines.size() + plan.text.size() + found.opened.content.size(), sink);
  if (answer.id.is_valid()) close_exchange(answer, true, sink);
  // RFC 9110 9.3.6
  bool is_tunnel = answer.is_connect && plan.status < 300;
  bool has_body = !answer.is_head && !is_tunnel;
  bool has_length = plan.has_length && !is_tunnel;
  answers_.encode_head(answer, response, has_length ? &plan.length : nullptr, close, sink);
  if (has_body && answer.access != nullptr) answer.access->bytes_out += plan.length;
  if (has_body)
    send_plan(plan, std::move(found.opened.file), std::move(found.opened.content), sink);
  if (is_streaming(answer.id)) leave_body(sink);
}

void Http1Session::send_plan(FilePlan& plan, Fd file, Blob content, Sink& sink) {
  if (!plan.sends_file) return sink.write(plan.text);
  // A file that came with its bytes has no descriptor.
  auto send = [&](uint64_t offset, uint64_t size, bool is_last_range) {
    if (!file.is_open()) {
      Bytes bytes = content.bytes();
      return sink.write(bytes.substr(static_cast<size_t>(offset), static_cast<size_t>(size)));
    }
    if (!is_last_range) return sink.write_file_part(file.get(), offset, size);
    sink.write_file(std::move(file), offset, size);
  };
  if (plan.ranges.count <= 1) {
    return send(plan.ranges.count == 0 ? 0 : plan.ranges.ranges[0].first, plan.length, true);
  }
  files::Byteranges parts{plan.ranges, plan.size, plan.part_type, plan.boundary};
  for (size_t i = 0; i < plan.ranges.count; i++) {
    std::string head;
    parts.append_part_head(i, head);
    sink.write(head);
    const files::ByteRange& range = plan.ranges.ranges[i];
    send(range.first, range.length(), i + 1u == plan.ranges.count);
  }
  std::string end;
  parts.append_end(end);
  sink.write(end);
}

}  // namespace millrace::http1
