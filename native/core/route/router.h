// Method + path → Route and parameter spans. Segment trie; literal before parameter before wildcard, with backtracking.
//
// Patterns: '/' separated segments; each is literal text, ":name" or "@name" (one non-empty segment),
// "*" (one segment, may be empty), "prefix*", "*suffix", "*middle*" (within one segment), or "**" (one or more
// segments; named "*" as a parameter, like "*"). Matching is on the raw path: %2F is not a separator; literal text
// matches after percent-decoding of unreserved characters on neither side (bytes are compared as sent).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/model/head.h"
#include "core/model/route.h"

namespace millrace {

struct RouteRow {
  std::string method;   // "GET", …; empty: any method
  std::string pattern;  // validated by TypeScript; add() says what is wrong all the same
  Route route;          // kind Handler, Static or Ready
};

// Built once, then immutable and read by all loops.
class Router final {
 public:
  Router();
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // Returns an empty string, or one sentence that says what is wrong with the row.
  [[nodiscard]] std::string add(RouteRow row);
  // What answers when no pattern matches: a Handler, or the built-in 404 when never called.
  void set_fallback(Route route);
  // What answers 405 instead of the built-in: a Handler. It sees no parameters.
  void set_method_not_allowed(Route route);
  // Call once after the last add().
  void seal();

  // `target` is the request target as sent (origin, absolute or asterisk form). Never allocates.
  // GET routes answer HEAD unless the pattern has its own; OPTIONS and 405 come with Allow (RFC 9110 9.3.7, 15.5.6).
  // `path_length` becomes the bytes of `target` before '?'. Param spans are relative to `target`.
  void match(Method method, Bytes method_name, Bytes target, RouteMatch& match, uint32_t& path_length) const;

 private:
  struct Node;
  struct Entry;
  std::unique_ptr<struct RouterTables> tables_;
};

}  // namespace millrace
