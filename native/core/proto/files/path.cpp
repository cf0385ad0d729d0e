#include "core/proto/files/path.h"

#include <algorithm>

namespace millrace::files {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = ascii_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

// Appends the segment decoded; File when it is fit for use so far.
PathVerdict decode_segment(Bytes segment, std::string& out) {
  bool has_slash = false;
  for (size_t i = 0; i < segment.size(); i++) {
    char c = segment[i];
    if (c == '%') {
      if (segment.size() - i < 3) return PathVerdict::Malformed;
      const int high = hex_digit(segment[i + 1]);
      const int low = hex_digit(segment[i + 2]);
      if (high < 0 || low < 0) return PathVerdict::Malformed;
      c = static_cast<char>(high * 16 + low);
      i += 2;
      has_slash = has_slash || c == '/';
    }
    if (is_control(c)) return PathVerdict::Malformed;
    out.push_back(c);
  }
  return has_slash ? PathVerdict::NotFound : PathVerdict::File;
}

PathVerdict judge_name(Bytes name, DotfilePolicy dotfiles) {
  if (name == "." || name == ".." || name.size() > kPathSegmentBytesMax) {
    return PathVerdict::NotFound;
  }
  if (name.front() != '.' || name == ".well-known") return PathVerdict::File;
  switch (dotfiles) {
    case DotfilePolicy::Ignore: return PathVerdict::NotFound;
    case DotfilePolicy::Deny: return PathVerdict::Forbidden;
    case DotfilePolicy::Allow: break;
  }
  return PathVerdict::File;
}

PathVerdict append_segment(Bytes segment, DotfilePolicy dotfiles, std::string& out) {
  if (!out.empty()) out.push_back('/');
  const size_t start = out.size();
  const PathVerdict decoded = decode_segment(segment, out);
  if (decoded != PathVerdict::File) return decoded;
  if (out.size() > kPathBytesMax) return PathVerdict::NotFound;
  return judge_name(Bytes(out).substr(start), dotfiles);
}

}  // namespace

uint16_t path_status(PathVerdict verdict) {
  switch (verdict) {
    case PathVerdict::Malformed: return 400;
    case PathVerdict::Forbidden: return 403;
    case PathVerdict::NotFound: return 404;
    case PathVerdict::File:
    case PathVerdict::Folder: break;
  }
  return 200;
}

PathVerdict resolve_path(Bytes tail, DotfilePolicy dotfiles, std::string& out) {
  out.clear();
  const bool folder = tail.empty() || tail.back() == '/';
  while (!tail.empty()) {
    const size_t end = std::min(tail.find('/'), tail.size());
    const Bytes segment = tail.substr(0, end);
    tail.remove_prefix(std::min(end + 1, tail.size()));
    if (segment.empty()) continue;
    const PathVerdict verdict = append_segment(segment, dotfiles, out);
    if (verdict == PathVerdict::File) continue;
    out.clear();
    return verdict;
  }
  return folder ? PathVerdict::Folder : PathVerdict::File;
}

}  // namespace millrace::files
