#include "core/proto/http1/file_answer.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "core/proto/files/content_type.h"
#include "core/proto/files/path.h"
#include "core/proto/files/validators.h"
#include "core/proto/http1/encoder.h"

namespace millrace::http1 {
namespace {

constexpr size_t kContentMax = 64 * 1024;  // files of up to this size come with the news of them

// Fields of one name joined with commas (RFC 9110 5.3).
void add_field(std::string& to, Bytes value) {
  if (!to.empty()) to += ", ";
  to.append(value);
}

struct FieldPlace {
  Bytes name;
  std::string FileAnswer::*place;
};
constexpr std::array kFields = {
    FieldPlace{"if-match", &FileAnswer::if_match},
    FieldPlace{"if-none-match", &FileAnswer::if_none_match},
    FieldPlace{"if-modified-since", &FileAnswer::if_modified_since},
    FieldPlace{"if-unmodified-since", &FileAnswer::if_unmodified_since},
    FieldPlace{"if-range", &FileAnswer::if_range},
    FieldPlace{"range", &FileAnswer::range},
};

void accept(FileAnswer& answer, Bytes accept_encoding) {
  if (!answer.precompressed) return;
  answer.encodings = files::encoding_order(accept_encoding);
  size_t count = 0;
  for (files::Encoding encoding : answer.encodings.span()) {
    answer.find.extensions[count++] = files::encoding_extension(encoding);
    if (encoding == files::Encoding::Identity) break;
  }
}

void read_fields(FileAnswer& answer, const RequestHead& head) {
  std::string accept_encoding;
  for (uint32_t i = 0; i < head.header_count; i++) {
    const HeaderField& field = head.headers[i];
    if (equals_folded(field.name, "accept-encoding")) add_field(accept_encoding, field.value);
    for (const FieldPlace& each : kFields) {
      if (equals_folded(field.name, each.name)) add_field(answer.*each.place, field.value);
    }
  }
  accept(answer, accept_encoding);
}

// "/a/b" to "/a/b/", with the query; never "//a", which would name another host.
std::string with_slash(Bytes target, uint32_t path_length) {
  Bytes path = target.substr(0, path_length);
  size_t authority = path.find("://");
  if (authority != Bytes::npos) {
    size_t slash = path.find('/', authority + 3);
    path = slash == Bytes::npos ? Bytes("/") : path.substr(slash);
  }
  while (path.size() > 1 && path[1] == '/') path.remove_prefix(1);
  return std::string(path).append("/").append(target.substr(path_length));
}

// The value of the first line of that name; without one a view of nothing, whose data() is null.
Bytes line_value(Bytes lines, Bytes name) {
  while (!lines.empty()) {
    size_t end = std::min(lines.find('\n'), lines.size() - 1) + 1;
    Bytes line = lines.substr(0, end);
    if (line.size() > name.size() && line[name.size()] == ':' &&
        equals_folded(line.substr(0, name.size()), name)) {
      return trim_ows(line.substr(name.size() + 1, line.find_last_not_of("\r\n") - name.size()));
    }
    lines.remove_prefix(end);
  }
  return {};
}

void fail(FilePlan& plan, uint16_t status) {
  plan.status = status;
  plan.lines = "Content-Type: text/plain;charset=utf-8\r\n";
  plan.text = std::string(reason_phrase(status)) + "\n";
  plan.length = plan.text.size();
}

uint64_t mixed(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

void plan_parts(FilePlan& plan, const FindFileWork& found, Bytes type, uint64_t ticket) {
  // Nobody who does not see this answer knows it, which is what a file would have to know.
  uint64_t seed = mixed(ticket ^ static_cast<uint64_t>(found.opened.mtime_ns));
  plan.boundary = files::make_boundary(mixed(seed), mixed(seed ^ found.opened.inode));
  plan.part_type = type;
  files::append_multipart_type_line(plan.boundary, plan.lines);
  files::Byteranges parts{plan.ranges, found.opened.size, plan.part_type, plan.boundary};
  plan.length = parts.content_length();
}

}  // namespace

std::unique_ptr<FileAnswer> file_answer_of(const Route& route, const RouteMatch& match,
                                           const RequestHead& head, uint32_t path_length) {
  auto answer = std::make_unique<FileAnswer>();
  const FileSource& source = *route.file;
  answer->method = method_of(head.method);
  answer->lines = route.headers;
  answer->type = source.type;
  answer->precompressed = source.precompressed;
  answer->find.root = source.path;
  answer->find.index = source.index;
  answer->find.is_folder = source.is_folder;
  answer->find.follow_links = source.follow_links;
  answer->find.content_max = kContentMax;
  if (source.is_folder) {
    Bytes tail;
    if (match.param_count > 0) {
      const ParamSpan& span = match.params[match.param_count - 1u];
      // To the end of the path: a slash there says that a folder is meant.
      tail = head.target.substr(span.offset, path_length - span.offset);
    }
    auto policy = static_cast<files::DotfilePolicy>(source.dotfiles);
    files::PathVerdict verdict = files::resolve_path(tail, policy, answer->find.path);
    answer->find.wants_folder = verdict == files::PathVerdict::Folder;
    uint16_t status = files::path_status(verdict);
    if (status != 200) answer->refusal = status;
    Bytes path = head.target.substr(0, path_length);
    if (tail.empty() && !path.empty() && path.back() != '/') answer->find.wants_folder = false;
    if (!answer->find.wants_folder) answer->location = with_slash(head.target, path_length);
  }
  read_fields(*answer, head);
  return answer;
}

std::unique_ptr<FileAnswer> file_answer_of(Bytes content) {
  auto answer = std::make_unique<FileAnswer>();
  auto next = [&content] {
    size_t end = content.find('\0');
    MR_CHECK(end != Bytes::npos);
    Bytes text = content.substr(0, end);
    content.remove_prefix(end + 1);
    return text;
  };
  answer->from_handler = true;
  answer->find.content_max = kContentMax;
  Bytes flags = next();
  MR_CHECK(flags.size() == 4);
  answer->precompressed = flags[0] == '1';
  answer->find.is_folder = flags[1] == '1';
  answer->find.follow_links = flags[2] == '1';
  answer->method = flags[3] == '1' ? Method::Head : Method::Get;
  answer->find.root = next();
  answer->find.path = next();
  answer->type = next();
  Bytes accept_encoding = next();
  for (const FieldPlace& each : kFields) (*answer).*each.place = next();
  accept(*answer, accept_encoding);
  return answer;
}

uint16_t file_error_status(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP:
    case EXDEV: return 404;
    case EACCES:
    case EPERM: return 403;
    case EMFILE:
    case ENFILE: return 503;
    default: return 500;
  }
}

FilePlan plan_file(const FileAnswer& answer, const FindFileWork& found, UnixSeconds now) {
  FilePlan plan;
  if (answer.refusal != 0) {
    fail(plan, answer.refusal);
    return plan;
  }
  if (found.opened.error != 0) {
    fail(plan, file_error_status(found.opened.error));
    return plan;
  }
  if (found.needs_slash) {
    plan.status = 301;
    plan.lines = "Location: " + answer.location + "\r\n";
    return plan;
  }
  const OpenedFile& file = found.opened;
  auto encoding = file.sibling < 0 ? files::Encoding::Identity
                                   : answer.encodings.encodings[static_cast<size_t>(file.sibling)];
  files::EntityTag tag =
      files::make_entity_tag({file.size, file.mtime_ns, file.inode}, encoding, now);
  Bytes own_tag = line_value(answer.lines, "etag");
  files::Decision decision;
  if (answer.status == 200) {
    files::Conditions conditions{answer.if_match,          answer.if_none_match,
                                 answer.if_modified_since, answer.if_unmodified_since,
                                 answer.if_range,          answer.range};
    decision =
        files::evaluate(conditions, {file.size, file.mtime_ns, tag, own_tag}, answer.method, now);
  }
  plan.status = decision.verdict == files::Verdict::Send ? answer.status
                                                         : files::verdict_status(decision.verdict);
  plan.lines = answer.lines;
  if (decision.verdict == files::Verdict::PreconditionFailed) {
    fail(plan, plan.status);
    return plan;
  }
  if (decision.verdict == files::Verdict::NotSatisfiable) {
    fail(plan, plan.status);
    files::append_unsatisfied_range_line(file.size, plan.lines);
    return plan;
  }
  if (own_tag.data() == nullptr) {
    files::append_validator_lines(tag, file.mtime_ns, now, plan.lines);
  }
  // Several lines of one name add up (RFC 9110 5.3).
  if (answer.precompressed) plan.lines += "Vary: Accept-Encoding\r\n";
  if (decision.verdict == files::Verdict::NotModified) {
    plan.has_length = false;
    return plan;
  }
  plan.lines += "Accept-Ranges: bytes\r\n";
  if (encoding != files::Encoding::Identity) {
    plan.lines.append("Content-Encoding: ").append(files::encoding_token(encoding)).append("\r\n");
  }
  std::string type =
      answer.type.empty() ? std::string(files::content_type_of(found.name)) : answer.type;
  // RFC 9110 15.3.5, 15.3.6, 15.4.5: these have no content, and that of a 205 is of length 0.
  if (plan.status == 204 || plan.status == 205 || plan.status == 304) {
    plan.has_length = plan.status == 205;
    return plan;
  }
  plan.sends_file = true;
  plan.ranges = decision.ranges;
  plan.length = plan.size = file.size;
  if (plan.ranges.count > 1) {
    plan_parts(plan, found, type, answer.ticket);
    return plan;
  }
  plan.lines += "Content-Type: " + type + "\r\n";
  if (plan.ranges.count == 1) {
    plan.length = plan.ranges.ranges[0].length();
    files::append_content_range_line(plan.ranges.ranges[0], file.size, plan.lines);
  }
  return plan;
}

}  // namespace millrace::http1
