// Method + path → Route and parameter spans. A trie of segments, built once, then read by all
// loops. Does not decode: patterns are compared with the path as sent, and spans point into the
// target as sent.
//
// Patterns: '/' separated segments. Each is literal text, ":name" or "@name" (one non-empty
// segment), "*" (one segment, may be empty), "prefix*", "*suffix", "*middle*" (within one segment;
// any other '*' is literal), or "**" (one or more segments, as few as lead to a match). Every
// segment that is not literal is a parameter, left to right: its span is what the whole segment
// (for "**": the segments) matched; TypeScript names those with '*' "*". At each segment literal
// goes before ":name", then "prefix*" and its kin (first added first), "*", "**"; what leads
// nowhere is backtracked. Work is bounded by path segments times trie nodes.
//
// Bytes that RFC 3986 does not allow in a path equal their percent-encoding, and hex digits match
// in either case: the pattern "/é" matches "/%c3%a9". Nothing else is decoded: "%2F" separates
// no segments, "%61" is not "a".
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/base/bytes.h"
#include "core/model/head.h"
#include "core/model/route.h"

namespace millrace {

struct RouterTables;

struct RouteRow {
  std::string method;   // "GET", …; empty: any method that the pattern has no row of its own for
  std::string pattern;  // validated by TypeScript; add() says what is wrong all the same
  Route route;          // kind Handler, Static or Ready
};

class Router final {
 public:
  Router();
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // Returns an empty string, or one sentence that says what is wrong with the row. A refused row
  // changes nothing: of two rows with one method and one shape of pattern the first stays.
  [[nodiscard]] std::string add(RouteRow row);
  // What answers when no pattern matches: a Handler, or the built-in 404 when never called.
  void set_fallback(Route route);
  // What answers 405 instead of the built-in: a Handler. It sees no parameters; the Allow line is
  // appended to its headers.
  void set_method_not_allowed(Route route);
  // Call once after the last add().
  void seal();

  // `target` is the request target as sent: origin form, absolute form (its path starts after the
  // authority; none means "/") or "*" (OPTIONS only); anything else gets the fallback. Never
  // allocates. Answers the best pattern that has the method. A pattern with GET has HEAD; one with
  // an any-method row has all, OPTIONS too. If patterns match but none has the method, OPTIONS and
  // 405 come with an Allow line that joins the methods of all of them (RFC 9110 9.3.7, 15.5.6).
  // `path_length` becomes the bytes of `target` before '?', with scheme and authority if it has
  // them. Param spans are relative to `target`.
  void match(Method method, Bytes method_name, Bytes target, RouteMatch& match,
             uint32_t& path_length) const;

 private:
  std::unique_ptr<RouterTables> tables_;
};

}  // namespace millrace
