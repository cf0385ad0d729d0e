// Router against a reference that lists every way every pattern can match and takes the best. The
// input is a program: which rows to add, then which targets to ask for. Small alphabets, so that
// things do meet.
#include "core/route/router.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/base/check.h"

namespace millrace {
namespace {

constexpr size_t kRowsMax = 12;
constexpr size_t kSegmentsMax = 7;
constexpr const char* kMethods[] = {"GET", "HEAD", "POST", "OPTIONS", "FOO", "foo"};

class Input final {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return size_ == 0; }
  uint8_t below(uint8_t bound) {
    if (size_ == 0) return 0;
    size_--;
    return static_cast<uint8_t>(*data_++ % bound);
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

// ── the reference ──

using Units = std::vector<int>;  // a byte, or 256 and the value of an escape

int hex_value(char c) {
  static const std::string digits = "0123456789abcdef0123456789ABCDEF";
  size_t at = c == '\0' ? std::string::npos : digits.find(c);
  return at == std::string::npos ? -1 : static_cast<int>(at % 16);
}

bool stands_in_path(char c) {
  static const std::string others = "-._~!$&'()*+,;=:@";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c != '\0' && others.find(c) != std::string::npos);
}

Units units_of(const std::string& text) {
  Units units;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
        hex_value(text[i + 2]) >= 0) {
      units.push_back(256 + hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
      i += 2;
    } else if (text[i] == '%' || stands_in_path(text[i])) {
      units.push_back(text[i]);
    } else {
      units.push_back(256 + static_cast<unsigned char>(text[i]));
    }
  }
  return units;
}

std::vector<std::string> split(const std::string& path) {
  std::vector<std::string> parts;
  for (char c : path) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back().push_back(c);
    }
  }
  return parts;
}

// Compares equal when two segments are the same shape. Also its place among its siblings: rank.
struct Shape {
  int rank = 0;  // 0 literal, 1 parameter, 2 partial, 3 "*", 4 "**"
  bool star_before = false;
  bool star_after = false;
  Units units;
  bool operator==(const Shape&) const = default;
};

Shape shape_of(const std::string& segment) {
  if (segment == "*") return {3, false, false, {}};
  if (segment == "**") return {4, false, false, {}};
  if (!segment.empty() && (segment[0] == ':' || segment[0] == '@')) return {1, false, false, {}};
  bool before = !segment.empty() && segment[0] == '*';
  bool after = !segment.empty() && segment[segment.size() - 1] == '*';
  std::string text = segment.substr(before ? 1 : 0);
  if (after) text.pop_back();
  return {before || after ? 2 : 0, before, after, units_of(text)};
}

bool fits(const Shape& shape, const std::string& segment) {
  Units found = units_of(segment);
  if (shape.rank == 1) return !segment.empty();
  if (shape.rank == 3) return true;
  if (shape.rank == 0) return found == shape.units;
  auto at = std::search(found.begin(), found.end(), shape.units.begin(), shape.units.end());
  if (shape.star_before && shape.star_after) return at != found.end() || shape.units.empty();
  if (found.size() < shape.units.size()) return false;
  auto gap = static_cast<std::ptrdiff_t>(found.size() - shape.units.size());
  return std::equal(shape.units.begin(), shape.units.end(),
                    found.begin() + (shape.star_before ? gap : 0));
}

struct Row {
  std::string method;
  std::vector<Shape> shapes;
};

// One way in which a row's pattern matches: for each of its segments rank, age and how many path
// segments it took.
struct Way {
  std::vector<std::vector<size_t>> key;
  size_t row = 0;
  std::vector<std::pair<size_t, size_t>> params;  // first segment, one beyond the last
};

class Reference final {
 public:
  // Whether the router should take it.
  bool add(const std::string& method, const std::string& pattern) {
    std::vector<std::string> segments = split(pattern);
    Row row{method, {}};
    std::set<std::string> names;
    size_t wild = 0;
    for (const std::string& segment : segments) {
      Shape shape = shape_of(segment);
      if (shape.rank == 1 && (segment.size() < 2 || !names.insert(segment.substr(1)).second))
        return false;
      if (shape.rank != 0) wild++;
      bool after_deep = !row.shapes.empty() && row.shapes.back().rank == 4;
      if (after_deep && (shape.rank == 1 || shape.rank == 3 || shape.rank == 4)) return false;
      row.shapes.push_back(shape);
    }
    if (wild > kRouteParamsMax) return false;
    for (const Row& other : rows_) {
      if (other.method == method && other.shapes == row.shapes) return false;
    }
    rows_.push_back(row);
    return true;
  }

  // Best first.
  [[nodiscard]] std::vector<Way> ways(const std::vector<std::string>& path) const {
    std::vector<Way> all;
    for (size_t row = 0; row < rows_.size(); row++) {
      Way way;
      way.row = row;
      extend(way, path, 0, all);
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Way& a, const Way& b) { return a.key < b.key; });
    return all;
  }

  // The row with the method among those of the same shape: its number, or npos.
  [[nodiscard]] size_t row_for(const std::string& method, size_t like) const {
    std::vector<std::string> wanted = {method};
    if (method == "HEAD") wanted.push_back("GET");
    wanted.push_back("");
    for (const std::string& one : wanted) {
      for (size_t i = 0; i < rows_.size(); i++) {
        if (rows_[i].method == one && rows_[i].shapes == rows_[like].shapes) return i;
      }
    }
    return std::string::npos;
  }
  [[nodiscard]] const std::string& method_of(size_t row) const { return rows_[row].method; }

 private:
  void extend(const Way& way, const std::vector<std::string>& path, size_t at,
              std::vector<Way>& all) const {
    const Row& row = rows_[way.row];
    size_t depth = way.key.size();
    if (depth == row.shapes.size()) {
      if (at == path.size()) all.push_back(way);
      return;
    }
    const Shape& shape = row.shapes[depth];
    size_t most = shape.rank == 4 ? path.size() - at : std::min<size_t>(1, path.size() - at);
    for (size_t taken = 1; taken <= most; taken++) {
      if (shape.rank != 4 && !fits(shape, path[at])) continue;
      Way longer = way;
      longer.key.push_back({static_cast<size_t>(shape.rank), age(way.row, depth), taken});
      if (shape.rank != 0) longer.params.emplace_back(at, at + taken);
      extend(longer, path, at + taken, all);
    }
  }
  // The first row whose pattern begins with the same segments.
  [[nodiscard]] size_t age(size_t row, size_t depth) const {
    const std::vector<Shape>& mine = rows_[row].shapes;
    for (size_t i = 0; i < row; i++) {
      const std::vector<Shape>& other = rows_[i].shapes;
      if (other.size() > depth &&
          std::equal(mine.begin(), mine.begin() + static_cast<std::ptrdiff_t>(depth) + 1,
                     other.begin())) {
        return i;
      }
    }
    return row;
  }

  std::vector<Row> rows_;
};

// ── the comparison ──

std::string text_from(Input& input) {
  static const char* const pieces[] = {"a", "b",    "aa",  "*",   "%2f", "%2F",
                                       "%", "\xc3", "%c3", "%C3", "2f",  "{"};
  std::string text;
  for (uint8_t count = input.below(4); count > 0; count--) text += pieces[input.below(12)];
  return text;
}

std::string pattern_from(Input& input) {
  std::string pattern;
  int names = 0;
  for (int count = input.below(kSegmentsMax) + 1; count > 0; count--) {
    pattern += '/';
    switch (input.below(8)) {
      case 0: pattern += "**"; break;
      case 1: pattern += "*"; break;
      case 2: pattern += ":n" + std::to_string(names++); break;
      case 3: pattern += "@x"; break;
      case 4: pattern += "a"; break;
      case 5: pattern += "b"; break;
      case 6: pattern += "*a"; break;
      default: pattern += text_from(input); break;
    }
  }
  return pattern;
}

std::string path_from(Input& input) {
  std::string path;
  for (int count = input.below(kSegmentsMax + 2) + 1; count > 0; count--) {
    static const char* const common[] = {"a", "b", "", "aa"};
    uint8_t kind = input.below(5);
    path += '/';
    path += kind < 4 ? common[kind] : text_from(input);
  }
  return path;
}

std::string allow_of(std::set<std::string> methods) {
  methods.insert("OPTIONS");
  if (methods.count("GET") != 0) methods.insert("HEAD");
  std::string line = "Allow: ";
  for (const char* name : kMethods) {
    if (methods.count(name) == 0) continue;
    if (line.back() != ' ') line += ", ";
    line += name;
  }
  return line + "\r\n";
}

// The order of uncommon methods is that of adding; kMethods knows no order of theirs.
bool same_allow(const std::string& line, const std::string& wanted) {
  std::string sorted = line;
  std::string other = wanted;
  std::sort(sorted.begin(), sorted.end());
  std::sort(other.begin(), other.end());
  return sorted == other;
}

void compare(const Router& router, const Reference& reference, Input& input) {
  std::string method = kMethods[input.below(6)];
  std::string path = path_from(input);
  std::string before = input.below(4) == 1 ? "http://h:1" : "";
  std::string target = before + path + (input.below(4) == 1 ? "?/a?" : "");
  RouteMatch match;
  uint32_t path_length = 0;
  // A heap copy of the exact size, for the sanitizer.
  std::vector<char> exact(target.begin(), target.end());
  router.match(method_of(method), method, Bytes(exact.data(), exact.size()), match, path_length);
  MR_CHECK(path_length == before.size() + path.size());

  std::vector<std::string> segments = split(path);
  std::vector<size_t> starts;
  for (size_t i = 0; i < path.size(); i++) {
    if (path[i] == '/') starts.push_back(before.size() + i + 1);
  }
  starts.push_back(before.size() + path.size() + 1);
  std::set<std::string> allowed;
  for (const Way& way : reference.ways(segments)) {
    allowed.insert(reference.method_of(way.row));
    size_t row = reference.row_for(method, way.row);
    if (row == std::string::npos) continue;
    MR_CHECK(match.route->kind == RouteKind::Handler && match.route->id == row);
    MR_CHECK(match.param_count == way.params.size());
    for (size_t i = 0; i < way.params.size(); i++) {
      MR_CHECK(match.params[i].offset == starts[way.params[i].first]);
      MR_CHECK(match.params[i].length + 1u ==
               starts[way.params[i].second] - starts[way.params[i].first]);
    }
    return;
  }
  MR_CHECK(match.param_count == 0);
  if (allowed.empty()) {
    MR_CHECK(match.route->kind == RouteKind::NotFound);
    return;
  }
  MR_CHECK(match.route->kind ==
           (method == "OPTIONS" ? RouteKind::Options : RouteKind::MethodNotAllowed));
  MR_CHECK(same_allow(match.route->headers, allow_of(allowed)));
}

// Whatever bytes stand in a row or a target: no crash, and spans inside the path.
void feed_raw(const uint8_t* data, size_t size) {
  Bytes rest(reinterpret_cast<const char*>(data), size);
  Router router;
  std::vector<Bytes> lines;
  while (!rest.empty()) {
    size_t end = std::min(rest.find('\n'), rest.size());
    lines.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (Bytes line : lines) {
    Route route;
    route.kind = RouteKind::Handler;
    std::string problem = router.add({"", std::string(line), route});
    MR_CHECK(problem.empty() || problem.back() == '.');
  }
  router.seal();
  for (Bytes line : lines) {
    RouteMatch match;
    uint32_t path_length = 0;
    router.match(Method::Get, "GET", line, match, path_length);
    MR_CHECK(path_length <= line.size());
    for (size_t i = 0; i < match.param_count; i++) {
      MR_CHECK(match.params[i].offset + match.params[i].length <= path_length);
    }
  }
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  if (size == 0) return 0;
  if (data[0] == 'R') {
    feed_raw(data + 1, size - 1);
    return 0;
  }
  Input input(data, size);
  Router router;
  Reference reference;
  uint16_t id = 0;
  for (size_t count = input.below(kRowsMax) + 1u; count > 0; count--) {
    uint8_t number = input.below(7);
    std::string method = number < 6 ? kMethods[number] : "";
    std::string pattern = pattern_from(input);
    Route route;
    route.kind = RouteKind::Handler;
    route.id = id;
    bool taken = router.add({method, pattern, route}).empty();
    MR_CHECK(taken == reference.add(method, pattern));
    if (taken) id++;
  }
  router.seal();
  for (int asked = 0; asked < 8 && (asked == 0 || !input.empty()); asked++) {
    compare(router, reference, input);
  }
  return 0;
}
