#include "core/route/router.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "core/base/check.h"
#include "core/route/pattern.h"

namespace millrace {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint32_t kRoot = 0;          // also "no child": the root is nobody's child
constexpr uint32_t kNestedMax = 2048;  // "**" nodes below other "**" nodes; a bit each on the stack
constexpr size_t kAllowLinesMax = 1024;         // joined sets of methods prepared by seal()
constexpr size_t kTargetBytesMax = UINT16_MAX;  // what a ParamSpan can point at
constexpr size_t kMethodsMax = 64;              // bits of a method set
constexpr size_t kFirstOtherBit = 10;           // below: values of Method

using MethodSet = uint64_t;

constexpr MethodSet bit_of(size_t bit) { return MethodSet{1} << bit; }
constexpr MethodSet bit_of(Method method) { return bit_of(static_cast<size_t>(method)); }

// ── hashing ──

uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 32);
}

uint64_t hash_units(Bytes text) {
  uint64_t hash = 1;
  for (size_t at = 0; at < text.size();) {
    Unit unit = unit_at(text, at);
    hash = mix(hash, unit.code);
    at = unit.next;
  }
  return hash;
}

template <typename T>
uint64_t load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

uint64_t hash_bytes(Bytes text) {
  const char* data = text.data();
  size_t size = text.size();
  if (size >= 8) {
    uint64_t hash = size;
    for (size_t at = 0; at + 8 < size; at += 8) hash = mix(hash, load<uint64_t>(data + at));
    return mix(hash, load<uint64_t>(data + size - 8));
  }
  if (size >= 4) return mix(size, load<uint32_t>(data) << 32 | load<uint32_t>(data + size - 4));
  if (size == 0) return 0;
  return mix(size, load<uint8_t>(data) | load<uint8_t>(data + size / 2) << 8 |
                       load<uint8_t>(data + size - 1) << 16);
}

// ── the trie ──

struct Partial {
  std::string text;
  uint32_t child = kRoot;
  bool open_start = false;
  bool open_end = false;
  bool special = false;
};

struct Node {
  uint32_t param = kRoot;
  uint32_t star = kRoot;
  uint32_t deep = kRoot;
  uint32_t nested = kNone;       // number of a "**" node below another
  uint32_t any_route = kNone;    // of the row without a method
  bool below_deep = false;       // this node or one above it is "**"
  bool has_literals = false;     // children in the LiteralTable
  bool has_wild = false;         // other children
  MethodSet methods = 0;         // with a row of their own
  std::vector<uint32_t> routes;  // of those, in the order of their bits
  std::vector<Partial> partials;
};

// All literal children of all nodes: (node, text) → child. Open addressing, at most half full.
class LiteralTable final {
 public:
  [[nodiscard]] uint32_t find(uint32_t node, Bytes text, bool special) const {
    for (size_t at = place(node, text, special);; at++) {
      const Slot& slot = slots_[at & (slots_.size() - 1)];
      if (slot.child == kRoot) return kRoot;
      if (slot.node != node) continue;
      Bytes literal(texts_.data() + slot.offset, slot.length);
      if (special ? end_of_units(text, 0, literal) == text.size() : text == literal) {
        return slot.child;
      }
    }
  }

  void insert(uint32_t node, Bytes text, uint32_t child) {
    count_++;
    if (count_ * 2 > slots_.size()) grow();
    put({node, child, static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(text.size())},
        text);
    texts_.append(text);
  }

 private:
  struct Slot {
    uint32_t node = 0;
    uint32_t child = kRoot;  // kRoot: a free slot
    uint32_t offset = 0;
    uint32_t length = 0;
  };

  static size_t place(uint32_t node, Bytes text, bool special) {
    return static_cast<size_t>(mix(special ? hash_units(text) : hash_bytes(text), node));
  }
  void put(const Slot& slot, Bytes text) {
    size_t at = place(slot.node, text, is_special(text));
    while (slots_[at & (slots_.size() - 1)].child != kRoot) at++;
    slots_[at & (slots_.size() - 1)] = slot;
  }
  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.child != kRoot) put(slot, Bytes(texts_).substr(slot.offset, slot.length));
    }
  }

  std::vector<Slot> slots_ = std::vector<Slot>(16);
  std::string texts_;
  size_t count_ = 0;
};

Route built_in(RouteKind kind) {
  Route route;
  route.kind = kind;
  return route;
}

struct AllowLine {
  MethodSet methods = 0;
  Route options;  // 204 with Allow
  Route refusal;  // 405 with Allow
};

}  // namespace

struct RouterTables {
  std::vector<Node> nodes = std::vector<Node>(1);
  LiteralTable literals;
  LiteralTable whole_paths;  // kRoot and the path of a pattern of literals only → node
  std::vector<Route> routes;
  std::vector<std::string> other_methods;  // bit kFirstOtherBit and up
  std::vector<AllowLine> allow_lines;      // ascending by methods
  Route fallback = built_in(RouteKind::NotFound);
  Route method_not_allowed = built_in(RouteKind::MethodNotAllowed);
  Route server_options = built_in(RouteKind::Options);  // OPTIONS *
  uint32_t nested_count = 0;
  bool has_any_method = false;
  bool is_sealed = false;

  // 0 when no row names the method.
  [[nodiscard]] size_t method_bit(Method method, Bytes name) const {
    if (method != Method::Other) return static_cast<size_t>(method);
    for (size_t i = 0; i < other_methods.size(); i++) {
      if (other_methods[i] == name) return kFirstOtherBit + i;
    }
    return 0;
  }
};

namespace {

// ── matching ──

uint32_t route_of(const Node& node, size_t method_bit) {
  MethodSet bit = bit_of(method_bit);
  if ((node.methods & bit) == 0 && bit == bit_of(Method::Head)) bit = bit_of(Method::Get);
  if ((node.methods & bit) == 0) return node.any_route;
  return node.routes[static_cast<size_t>(std::popcount(node.methods & (bit - 1)))];
}

bool partial_matches(const Partial& partial, Bytes segment, bool special) {
  Bytes text = partial.text;
  if (!special) {
    if (partial.special) return false;
    if (!partial.open_start) return segment.starts_with(text);
    return partial.open_end ? segment.find(text) != Bytes::npos : segment.ends_with(text);
  }
  if (!partial.open_start) return end_of_units(segment, 0, text) != Bytes::npos;
  for (size_t at = 0;; at = unit_at(segment, at).next) {
    size_t end = end_of_units(segment, at, text);
    if (partial.open_end ? end != Bytes::npos : end == segment.size()) return true;
    if (at == segment.size()) return false;
  }
}

// RFC 3986 3.1.
bool is_scheme(Bytes text) {
  return !text.empty() && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_letter(c) || is_digit(c) || c == '+' || c == '-' || c == '.';
         });
}

// One search of the trie, depth first, best child first.
class Walk final {
 public:
  // `base` is where `path` starts in the target.
  Walk(const RouterTables& tables, Bytes path, bool special, size_t base, size_t method_bit,
       RouteMatch& match)
      : tables_(tables),
        path_(path),
        special_(special),
        base_(base),
        method_bit_(method_bit),
        match_(match) {
    std::fill_n(entered_.begin(), (tables.nested_count + 63) / 64, uint64_t{0});
  }

  [[nodiscard]] bool run() { return visit(kRoot, 1, 0); }
  // After a run that found no row: the methods of all patterns that match the path, 0 if none does;
  // and of the best of them.
  [[nodiscard]] MethodSet methods() const { return methods_; }
  [[nodiscard]] MethodSet first_methods() const { return first_methods_; }

 private:
  // `at` is the first byte of a segment, or one beyond the end of the path when all segments are
  // used up.
  bool visit(uint32_t index, size_t at, uint32_t params) {
    const Node& node = tables_.nodes[index];
    if (at > path_.size()) return finish(node, params);
    if (!node.has_literals && !node.has_wild) return false;
    size_t end = segment_end(at);
    Bytes segment = path_.substr(at, end - at);
    bool special = special_ && is_special(segment);
    if (node.has_literals) {
      uint32_t child = tables_.literals.find(index, segment, special);
      if (child != kRoot && visit(child, end + 1, params)) return true;
    }
    if (!node.has_wild) return false;
    MR_DCHECK(params < kRouteParamsMax);
    set_param(params, at, end);
    if (node.param != kRoot && at != end && visit(node.param, end + 1, params + 1)) return true;
    for (const Partial& partial : node.partials) {
      if (partial_matches(partial, segment, special) && visit(partial.child, end + 1, params + 1)) {
        return true;
      }
    }
    if (node.star != kRoot && visit(node.star, end + 1, params + 1)) return true;
    return node.deep != kRoot && visit_deep(node.deep, at, end, params);
  }

  // Tries "**" with one segment, then two, and so on. A "**" below another is entered at ascending
  // places, and a failed first entry has tried whatever a later one could reach: so it is entered
  // once.
  bool visit_deep(uint32_t index, size_t at, size_t end, uint32_t params) {
    const Node& node = tables_.nodes[index];
    if (node.nested != kNone) {
      uint64_t& word = entered_[node.nested / 64];
      uint64_t bit = uint64_t{1} << (node.nested % 64);
      if ((word & bit) != 0) return false;
      word |= bit;
    }
    if (!node.has_literals && !node.has_wild) end = path_.size();
    for (;;) {
      set_param(params, at, end);
      if (visit(index, end + 1, params + 1)) return true;
      if (end == path_.size()) return false;
      end = segment_end(end + 1);
    }
  }

  bool finish(const Node& node, uint32_t params) {
    uint32_t route = route_of(node, method_bit_);
    if (route != kNone) {
      match_.route = &tables_.routes[route];
      match_.param_count = static_cast<uint8_t>(params);
      return true;
    }
    if (methods_ == 0) first_methods_ = node.methods;
    methods_ |= node.methods;
    return false;
  }

  [[nodiscard]] size_t segment_end(size_t at) const {
    return std::min(path_.find('/', at), path_.size());
  }

  void set_param(uint32_t index, size_t at, size_t end) {
    match_.params[index] = {static_cast<uint16_t>(base_ + at), static_cast<uint16_t>(end - at)};
  }

  const RouterTables& tables_;
  Bytes path_;
  bool special_;
  size_t base_;
  size_t method_bit_;
  RouteMatch& match_;
  MethodSet methods_ = 0;
  MethodSet first_methods_ = 0;
  // Bits of nested "**" nodes; cleared as far as the trie has such nodes.
  std::array<uint64_t, kNestedMax / 64> entered_;
};

// Where the path of an origin or absolute form starts: npos when it has neither form; RFC 9112 3.2.
size_t path_start(Bytes target) {
  if (target.starts_with('/')) return 0;
  size_t colon = target.find("://");
  if (colon == Bytes::npos || !is_scheme(target.substr(0, colon))) return Bytes::npos;
  return std::min(target.find('/', colon + 3), target.size());
}

// ── Allow ──

constexpr std::array<Bytes, kFirstOtherBit> kMethodNames = {
    "", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"};

MethodSet with_implied(MethodSet methods) {
  if ((methods & bit_of(Method::Get)) != 0) methods |= bit_of(Method::Head);
  return methods | bit_of(Method::Options);
}

std::string allow_line(const RouterTables& tables, MethodSet methods) {
  std::string line = "Allow: ";
  const char* separator = "";
  for (size_t bit = 1; bit < kMethodsMax; bit++) {
    if ((methods & bit_of(bit)) == 0) continue;
    line.append(separator);
    line.append(bit < kFirstOtherBit ? kMethodNames[bit]
                                     : Bytes(tables.other_methods[bit - kFirstOtherBit]));
    separator = ", ";
  }
  return line.append("\r\n");
}

// The sets of all patterns, then their unions until there are kAllowLinesMax.
std::vector<MethodSet> joined_sets(const std::vector<Node>& nodes) {
  std::vector<MethodSet> single;
  for (const Node& node : nodes) {
    if (node.methods != 0 && node.any_route == kNone) single.push_back(with_implied(node.methods));
  }
  std::sort(single.begin(), single.end());
  single.erase(std::unique(single.begin(), single.end()), single.end());
  std::vector<MethodSet> sets = single;  // ascending
  std::vector<MethodSet> queue = single;
  for (size_t i = 0; i < queue.size(); i++) {
    for (MethodSet one : single) {
      if (sets.size() >= kAllowLinesMax) return sets;
      MethodSet joined = queue[i] | one;
      auto at = std::lower_bound(sets.begin(), sets.end(), joined);
      if (at != sets.end() && *at == joined) continue;
      sets.insert(at, joined);
      queue.push_back(joined);
    }
  }
  return sets;
}

const AllowLine* find_allow_line(const std::vector<AllowLine>& lines, MethodSet methods) {
  auto at = std::lower_bound(
      lines.begin(), lines.end(), methods,
      [](const AllowLine& line, MethodSet wanted) { return line.methods < wanted; });
  return at != lines.end() && at->methods == methods ? &*at : nullptr;
}

// ── adding ──

uint32_t* child_place(RouterTables& tables, uint32_t parent, const Segment& segment) {
  Node& node = tables.nodes[parent];
  switch (segment.kind) {
    case SegmentKind::Param: return &node.param;
    case SegmentKind::Star: return &node.star;
    case SegmentKind::Deep: return &node.deep;
    case SegmentKind::Partial:
      for (Partial& partial : node.partials) {
        if (partial.open_start == segment.open_start && partial.open_end == segment.open_end &&
            end_of_units(segment.text, 0, partial.text) == segment.text.size()) {
          return &partial.child;
        }
      }
      node.partials.push_back({.text = std::string(segment.text),
                               .open_start = segment.open_start,
                               .open_end = segment.open_end,
                               .special = is_special(segment.text)});
      return &node.partials.back().child;
    case SegmentKind::Literal: break;
  }
  return nullptr;
}

uint32_t child_of(RouterTables& tables, uint32_t parent, const Segment& segment) {
  uint32_t fresh = static_cast<uint32_t>(tables.nodes.size());
  uint32_t* place = child_place(tables, parent, segment);
  uint32_t child = place != nullptr
                       ? *place
                       : tables.literals.find(parent, segment.text, is_special(segment.text));
  if (child != kRoot) return child;
  if (place != nullptr) {
    *place = fresh;
    tables.nodes[parent].has_wild = true;
  } else {
    tables.literals.insert(parent, segment.text, fresh);
    tables.nodes[parent].has_literals = true;
  }
  Node node;
  node.below_deep = tables.nodes[parent].below_deep || segment.kind == SegmentKind::Deep;
  if (segment.kind == SegmentKind::Deep && tables.nodes[parent].below_deep) {
    node.nested = tables.nested_count++;
  }
  tables.nodes.push_back(std::move(node));
  return fresh;
}

// 0 when the sets of methods are full.
size_t add_method(RouterTables& tables, const std::string& name) {
  Method method = method_of(name);
  size_t bit = tables.method_bit(method, name);
  if (bit != 0) return bit;
  if (kFirstOtherBit + tables.other_methods.size() == kMethodsMax) return 0;
  tables.other_methods.push_back(name);
  return kFirstOtherBit + tables.other_methods.size() - 1;
}

std::string sentence(const std::string& pattern, Bytes problem) {
  return std::string("Route \"").append(pattern).append("\" ").append(problem).append(".");
}

size_t count_of(const std::vector<Segment>& segments, SegmentKind kind) {
  auto is_kind = [kind](const Segment& segment) { return segment.kind == kind; };
  return static_cast<size_t>(std::count_if(segments.begin(), segments.end(), is_kind));
}

}  // namespace

Router::Router() : tables_(std::make_unique<RouterTables>()) {}
Router::~Router() = default;

std::string Router::add(RouteRow row) {
  RouterTables& tables = *tables_;
  MR_CHECK(!tables.is_sealed);
  std::vector<Segment> segments;
  const char* problem = parse_pattern(row.pattern, segments);
  if (problem != nullptr) return sentence(row.pattern, problem);
  if (!row.method.empty() && !is_token(row.method)) {
    return sentence(row.pattern, "has a method that is not a token of RFC 9110");
  }
  size_t deep_count = count_of(segments, SegmentKind::Deep);
  if (deep_count > 1 && tables.nested_count + deep_count - 1 > kNestedMax) {
    return sentence(row.pattern, "is beyond what one router takes of patterns with several **");
  }
  size_t bit = row.method.empty() ? 0 : add_method(tables, row.method);
  if (!row.method.empty() && bit == 0) {
    return sentence(row.pattern, "has a method beyond the 54 uncommon ones that one router takes");
  }
  uint32_t index = kRoot;
  for (const Segment& segment : segments) index = child_of(tables, index, segment);
  if (count_of(segments, SegmentKind::Literal) == segments.size() &&
      tables.whole_paths.find(kRoot, row.pattern, is_special(row.pattern)) == kRoot) {
    tables.whole_paths.insert(kRoot, row.pattern, index);
  }
  Node& node = tables.nodes[index];
  if (row.method.empty() ? node.any_route != kNone : (node.methods & bit_of(bit)) != 0) {
    return sentence(row.pattern, "matches the same paths and method as a route added before");
  }
  uint32_t route = static_cast<uint32_t>(tables.routes.size());
  tables.routes.push_back(std::move(row.route));
  if (row.method.empty()) {
    node.any_route = route;
    tables.has_any_method = true;
    return {};
  }
  node.routes.insert(node.routes.begin() + std::popcount(node.methods & (bit_of(bit) - 1)), route);
  node.methods |= bit_of(bit);
  return {};
}

void Router::set_fallback(Route route) { tables_->fallback = std::move(route); }

void Router::set_method_not_allowed(Route route) { tables_->method_not_allowed = std::move(route); }

void Router::seal() {
  RouterTables& tables = *tables_;
  MR_CHECK(!tables.is_sealed);
  tables.is_sealed = true;
  for (MethodSet methods : joined_sets(tables.nodes)) {
    Route options = built_in(RouteKind::Options);
    options.headers = allow_line(tables, methods);
    Route refusal = tables.method_not_allowed;
    refusal.headers.append(options.headers);
    tables.allow_lines.push_back({methods, std::move(options), std::move(refusal)});
  }
  MethodSet known = 0;
  for (const Node& node : tables.nodes) known |= node.methods;
  if (tables.has_any_method) {
    for (Method method : {Method::Get, Method::Post, Method::Put, Method::Delete, Method::Patch}) {
      known |= bit_of(method);
    }
  }
  tables.server_options.headers = allow_line(tables, with_implied(known));
}

void Router::match(Method method, Bytes method_name, Bytes target, RouteMatch& match,
                   uint32_t& path_length) const {
  const RouterTables& tables = *tables_;
  MR_DCHECK(tables.is_sealed);
  match.route = &tables.fallback;
  match.param_count = 0;
  size_t query = std::min(target.find('?'), target.size());
  path_length = static_cast<uint32_t>(query);
  if (target == "*") {
    if (method == Method::Options) match.route = &tables.server_options;
    return;
  }
  if (target.size() > kTargetBytesMax) return;
  size_t base = path_start(target.substr(0, query));
  if (base == Bytes::npos) return;
  Bytes path = target.substr(base, query - base);
  // Absolute form without a path: the span of its one empty segment is to lie at the end.
  if (path.empty()) {
    path = "/";
    base--;
  }
  bool special = is_special(path);
  size_t method_bit = tables.method_bit(method, method_name);
  uint32_t literal = tables.whole_paths.find(kRoot, path, special);
  uint32_t route = literal == kRoot ? kNone : route_of(tables.nodes[literal], method_bit);
  if (route != kNone) {
    match.route = &tables.routes[route];
    return;
  }
  Walk walk(tables, path, special, base, method_bit, match);
  if (walk.run() || walk.methods() == 0) return;
  const AllowLine* line = find_allow_line(tables.allow_lines, with_implied(walk.methods()));
  if (line == nullptr) {
    // More unions than seal() prepares: the best pattern's own methods, which it always does.
    line = find_allow_line(tables.allow_lines, with_implied(walk.first_methods()));
  }
  MR_DCHECK(line != nullptr);
  match.route = method == Method::Options ? &line->options : &line->refusal;
}

}  // namespace millrace
