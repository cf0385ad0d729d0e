// Router: the cases of test/cases/router.json as a table, then what a table does not show.
#include <algorithm>
#include <string>
#include <vector>

#include "core/route/router.h"
#include "test/harness.h"

namespace millrace {
namespace {

struct Check {
  const char* method;
  const char* target;
  int answer;        // index of the row, or 404, 405, 204 (OPTIONS without a handler)
  const char* rest;  // values of the parameters in <>, or the value of Allow; null: not checked
};

struct Group {
  const char* id;
  std::vector<const char*> routes;  // "METHOD PATTERN"; "any" for every method
  std::vector<int> refused;         // rows that add() must not take
  std::vector<Check> checks;
};

struct Refused {
  const char* id;
  const char* pattern;
};

const Group kGroups[] = {
    {"rt-01-mixed",
     {"GET /", "GET /home.html", "GET /*.mjs", "GET /*/main.html", "GET /css/*.css", "GET /part/*",
      "GET /lit*", "GET /*mid*", "GET /日本/語"},
     {},
     {
         {"GET", "", 404, ""},
         {"GET", "home.html", 404, ""},
         {"GET", "/", 0, nullptr},
         {"GET", "/x", 404, ""},
         {"GET", "/home.html", 1, nullptr},
         {"GET", "/a.mjs", 2, nullptr},
         {"GET", "/.mjs", 2, nullptr},
         {"GET", "/a.mj", 404, ""},
         {"GET", "/main.html", 404, ""},
         {"GET", "/u/main.html", 3, nullptr},
         {"GET", "/u/v/main.html", 404, ""},
         {"GET", "/css/a.css", 4, nullptr},
         {"GET", "/css/2/a.css", 404, ""},
         {"GET", "/css/a.mjs", 404, ""},
         {"GET", "/part", 404, ""},
         {"GET", "/part/x", 5, nullptr},
         {"GET", "/part/x/y", 404, ""},
         {"GET", "/lit*", 6, nullptr},
         {"GET", "/lit*a&b", 6, nullptr},
         {"GET", "/litab", 6, nullptr},
         {"GET", "/amidb", 7, nullptr},
         {"GET", "/midb", 7, nullptr},
         {"GET", "/amid", 7, nullptr},
         {"GET", "/mid", 7, nullptr},
         {"GET", "/mi", 404, ""},
         {"GET", "/%E6%97%A5%E6%9C%AC/%E8%AA%9E", 8, nullptr},
     }},
    {"rt-02-first-wins",
     {"GET /**", "GET /**"},
     {1},
     {
         {"GET", "/", 0, nullptr},
         {"GET", "/a", 0, nullptr},
         {"GET", "/a/b/c.html", 0, nullptr},
         {"GET", "/a/b/c/d/e/f", 0, nullptr},
     }},
    {"rt-03-middle",
     {"GET /**/KEY/**"},
     {},
     {
         {"GET", "/", 404, ""},
         {"GET", "/KEY/a.html", 404, ""},
         {"GET", "/KEY/a/b/c", 404, ""},
         {"GET", "/a/KEY/b.html", 0, nullptr},
     }},
    {"rt-04-two-middles",
     {"GET /**/KEY/**/K2/**"},
     {},
     {
         {"GET", "/", 404, ""},
         {"GET", "/a", 404, ""},
         {"GET", "/a/b", 404, ""},
         {"GET", "/a/b/c/d", 404, ""},
         {"GET", "/a/b/KEY/c/d", 404, ""},
         {"GET", "/a/KEY/x", 404, ""},
         {"GET", "/a/b/KEY/c/d/K2/x", 0, nullptr},
         {"GET", "/a/KEY/b/K2/x", 0, nullptr},
         {"GET", "/KEY/x&3", 404, ""},
         {"GET", "/KEY/K2/", 404, ""},
         {"GET", "/KEY/K2/x", 404, ""},
         {"GET", "/a/KEY/K2/", 404, ""},
         {"GET", "/a/KEY/K2/x", 404, ""},
     }},
    {"rt-05-partial-after",
     {"GET /*end/**/*.htm"},
     {},
     {
         {"GET", "/", 404, ""},
         {"GET", "/end/x/y.htm", 0, nullptr},
         {"GET", "/2end/x/y.htm", 0, nullptr},
         {"GET", "/wend/y.htm", 404, ""},
         {"GET", "/wend/a/y.ht", 404, ""},
     }},
    {"rt-06-suffix",
     {"GET /*z"},
     {},
     {
         {"GET", "/z", 0, nullptr},
         {"GET", "/zz", 0, nullptr},
         {"GET", "/abcz", 0, nullptr},
         {"GET", "/z/", 404, ""},
         {"GET", "/abc", 404, ""},
     }},
    {"rt-07-contains",
     {"GET /*some*"},
     {},
     {
         {"GET", "/some", 0, nullptr},
         {"GET", "/xsome", 0, nullptr},
         {"GET", "/somex", 0, nullptr},
         {"GET", "/xsomey", 0, nullptr},
         {"GET", "/some/", 404, ""},
         {"GET", "/some/x", 404, ""},
     }},
    {"rt-08-star-inside-is-literal",
     {"GET /p*q"},
     {},
     {
         {"GET", "/p", 404, ""},
         {"GET", "/pq", 404, ""},
         {"GET", "/pxxq", 404, ""},
         {"GET", "/p*q", 0, nullptr},
     }},
    {"rt-09-double-star-inside-is-literal",
     {"GET /m**n"},
     {},
     {
         {"GET", "/m", 404, ""},
         {"GET", "/mn", 404, ""},
         {"GET", "/mxxn", 404, ""},
         {"GET", "/m**n", 0, nullptr},
     }},
    {"rt-10-params",
     {"GET /@id", "GET /@name/@id", "GET /@one/mid/@two", "GET /@one/*/@two",
      "GET /k/**/tail/@who"},
     {},
     {
         {"GET", "/55", 0, "<55>"},
         {"GET", "/ab/55", 1, "<ab> <55>"},
         {"GET", "/x/mid/y", 2, "<x> <y>"},
         {"GET", "/x/any/y", 3, "<x> <any> <y>"},
         {"GET", "/k/1/2/3/tail/ann", 4, "<1/2/3> <ann>"},
     }},
    {"rt-11-method",
     {"GET /only"},
     {},
     {
         {"POST", "/only", 405, "GET, HEAD, OPTIONS"},
         {"POST", "/none", 404, ""},
         {"GET", "/only", 0, nullptr},
     }},
    {"rt-12-tail-missing",
     {"GET /**/b/@id"},
     {},
     {
         {"GET", "/x/y/b", 404, ""},
         {"GET", "/x/b/7", 0, "<x> <7>"},
     }},
    {"rt-13-encoded-slash",
     {"GET /f/@name"},
     {},
     {
         {"GET", "/f/a%2Fb", 0, "<a%2Fb>"},
     }},
    {"mr-01-literal-then-param-then-wildcard",
     {"GET /s/**", "GET /s/*", "GET /s/*.js", "GET /s/:name", "GET /s/app.js"},
     {},
     {
         {"GET", "/s/app.js", 4, ""},
         {"GET", "/s/b.js", 3, "<b.js>"},
         {"GET", "/s/", 1, "<>"},
         {"GET", "/s/.js", 3, "<.js>"},
         {"GET", "/s/a/b", 0, "<a/b>"},
         {"GET", "/s", 404, ""},
     }},
    {"mr-02-wildcards-among-themselves",
     {"GET /**", "GET /*", "GET /*.js", "GET /a*", "GET /*b*"},
     {},
     {
         {"GET", "/ab.js", 2, "<ab.js>"},
         {"GET", "/ab", 3, "<ab>"},
         {"GET", "/xbx", 4, "<xbx>"},
         {"GET", "/x", 1, "<x>"},
         {"GET", "/", 1, "<>"},
         {"GET", "/x/y", 0, "<x/y>"},
     }},
    {"mr-03-backtracking",
     {"GET /a/b/c", "GET /:one/b/d", "GET /*/*/e", "GET /**/f", "GET /a/:two/:three/g"},
     {},
     {
         {"GET", "/a/b/c", 0, ""},
         {"GET", "/a/b/d", 1, "<a>"},
         {"GET", "/a/b/e", 2, "<a> <b>"},
         {"GET", "/a/b/f", 3, "<a/b>"},
         {"GET", "/a/b/c/g", 4, "<b> <c>"},
         {"GET", "/a/b/c/f", 3, "<a/b/c>"},
         {"GET", "/a/b", 404, ""},
         {"GET", "/a/b/c/", 404, ""},
     }},
    {"mr-04-shortest-double-star",
     {"GET /**/k/**", "GET /**/k/**/z"},
     {},
     {
         {"GET", "/a/k/b", 0, "<a> <b>"},
         {"GET", "/a/k/k/k/b", 0, "<a> <k/k/b>"},
         {"GET", "/k/k/k", 0, "<k> <k>"},
         {"GET", "/a/k/b/k/z", 1, "<a> <b/k>"},
         {"GET", "/a/k/z", 0, "<a> <z>"},
         {"GET", "/a/k", 404, ""},
         {"GET", "/a/k/", 0, "<a> <>"},
     }},
    {"mr-05-head-from-get",
     {"GET /a", "HEAD /b", "GET /b", "POST /c", "GET /:x"},
     {},
     {
         {"HEAD", "/a", 0, ""},
         {"HEAD", "/b", 1, ""},
         {"GET", "/b", 2, ""},
         {"HEAD", "/c", 4, "<c>"},
         {"POST", "/c", 3, ""},
         {"HEAD", "/c/d", 404, ""},
     }},
    {"mr-06-any-method-after-explicit",
     {"any /a", "GET /a", "any /**", "DELETE /only"},
     {},
     {
         {"GET", "/a", 1, ""},
         {"HEAD", "/a", 1, ""},
         {"POST", "/a", 0, ""},
         {"OPTIONS", "/a", 0, ""},
         {"BREW", "/a", 0, ""},
         {"GET", "/only", 2, "<only>"},
         {"DELETE", "/only", 3, ""},
         {"OPTIONS", "/only", 2, "<only>"},
     }},
    {"mr-07-best-pattern-that-has-the-method",
     {"GET /a/b", "POST /a/:x", "PUT /a/*", "DELETE /**"},
     {},
     {
         {"GET", "/a/b", 0, ""},
         {"POST", "/a/b", 1, "<b>"},
         {"PUT", "/a/b", 2, "<b>"},
         {"DELETE", "/a/b", 3, "<a/b>"},
         {"PATCH", "/a/b", 405, "GET, HEAD, POST, PUT, DELETE, OPTIONS"},
         {"PATCH", "/a/c", 405, "POST, PUT, DELETE, OPTIONS"},
         {"OPTIONS", "/a/", 204, "PUT, DELETE, OPTIONS"},
         {"OPTIONS", "/a/b", 204, "GET, HEAD, POST, PUT, DELETE, OPTIONS"},
         {"GET", "/x", 405, "DELETE, OPTIONS"},
     }},
    {"mr-08-options",
     {"GET /a", "OPTIONS /b", "GET /b", "PROPFIND /c"},
     {},
     {
         {"OPTIONS", "/a", 204, "GET, HEAD, OPTIONS"},
         {"OPTIONS", "/b", 1, ""},
         {"DELETE", "/b", 405, "GET, HEAD, OPTIONS"},
         {"OPTIONS", "/c", 204, "OPTIONS, PROPFIND"},
         {"PROPFIND", "/c", 3, ""},
         {"propfind", "/c", 405, "OPTIONS, PROPFIND"},
         {"OPTIONS", "/d", 404, ""},
         {"OPTIONS", "*", 204, "GET, HEAD, OPTIONS, PROPFIND"},
         {"GET", "*", 404, ""},
     }},
    {"mr-09-target-forms",
     {"GET /", "GET /a", "GET /p/:id", "any /w/*"},
     {},
     {
         {"GET", "http://h", 0, ""},
         {"GET", "http://h?q=/a", 0, ""},
         {"GET", "http://h/", 0, ""},
         {"GET", "https://h:8/a?b", 1, ""},
         {"GET", "/p/7?x=/y", 2, "<7>"},
         {"GET", "http://[::1]:80/p/7?x", 2, "<7>"},
         {"GET", "/?a", 0, ""},
         {"GET", "/w/?z", 3, "<>"},
         {"GET", "a", 404, ""},
         {"GET", "", 404, ""},
         {"CONNECT", "h:443", 404, ""},
         {"GET", "://h/a", 404, ""},
         {"GET", "1a://h/a", 404, ""},
         {"GET", "//a", 404, ""},
         {"GET", "?", 404, ""},
     }},
    {"mr-10-bytes-as-sent",
     {"GET /a b", "GET /é*", "GET /x%2fy", "GET /*ü", "GET /n/*ö*", "GET /~"},
     {},
     {
         {"GET", "/a%20b", 0, ""},
         {"GET", "/%c3%a9", 1, "<%c3%a9>"},
         {"GET", "/%C3%A9t%C3%A9", 1, "<%C3%A9t%C3%A9>"},
         {"GET", "/x%2Fy", 2, ""},
         {"GET", "/x/y", 404, ""},
         {"GET", "/gr%c3%BC", 3, "<gr%c3%BC>"},
         {"GET", "/n/sch%C3%B6n", 4, "<sch%C3%B6n>"},
         {"GET", "/n/schon", 404, ""},
         {"GET", "/~", 5, ""},
         {"GET", "/%7E", 404, ""},
         {"GET", "/%", 404, ""},
         {"GET", "/%c3%a", 404, ""},
         {"GET", "/%C3%A", 404, ""},
     }},
    {"mr-11-empty-segments",
     {"GET /a/", "GET /b//c", "GET /:x/:y", "GET /**/end/"},
     {},
     {
         {"GET", "/a/", 0, ""},
         {"GET", "/a", 404, ""},
         {"GET", "/b//c", 1, ""},
         {"GET", "/b/c", 2, "<b> <c>"},
         {"GET", "//c", 404, ""},
         {"GET", "//end/", 3, "<>"},
         {"GET", "/x/", 404, ""},
     }},
    {"mr-12-names-differ-shape-agrees",
     {"GET /u/:id", "POST /u/@name", "GET /u/:other"},
     {2},
     {
         {"GET", "/u/1", 0, "<1>"},
         {"POST", "/u/1", 1, "<1>"},
         {"PUT", "/u/1", 405, "GET, HEAD, POST, OPTIONS"},
     }},
    {"mr-13-stars-inside",
     {"GET /*a*b*", "GET /c**", "GET /x:y"},
     {},
     {
         {"GET", "/za*bz", 0, "<za*bz>"},
         {"GET", "/zabz", 404, ""},
         {"GET", "/c*d", 1, "<c*d>"},
         {"GET", "/cd", 404, ""},
         {"GET", "/x:y", 2, ""},
     }},
};

const Refused kRefused[] = {
    {"rt-20-bad-route", "/**/*"},
    {"rt-21-bad-route", "/**/**"},
    {"rt-22-bad-route", "/**/a/**/**"},
    {"rt-23-bad-route", "/**/@id"},
    {"rt-24-bad-route", ""},
    {"rt-25-bad-route", "abc"},
    {"mr-20-parameter-after-double-star", "/**/:id"},
    {"mr-21-no-name", "/a/:"},
    {"mr-22-name-with-a-dot", "/:file.json"},
    {"mr-23-name-twice", "/:a/@a"},
    {"mr-24-nine-parameters", "/:a/:b/:c/:d/:e/*/*/*/x/*"},
    {"mr-25-query", "/a?b"},
    {"mr-26-fragment", "/a#b"},
};

Route handler(size_t id) {
  Route route;
  route.kind = RouteKind::Handler;
  route.id = static_cast<uint16_t>(id);
  return route;
}

std::string add(Router& router, const std::string& row, size_t id) {
  size_t space = row.find(' ');
  std::string method = row.substr(0, space);
  if (method == "any") method.clear();
  return router.add({method, row.substr(space + 1), handler(id)});
}

struct Answer {
  RouteMatch match;
  uint32_t path_length = 0;
  RouteKind kind = RouteKind::NotFound;
};

Answer ask(const Router& router, Bytes method, Bytes target) {
  Answer answer;
  router.match(method_of(method), method, target, answer.match, answer.path_length);
  answer.kind = answer.match.route->kind;
  return answer;
}

std::string values_of(const RouteMatch& match, Bytes target) {
  std::string values;
  for (size_t i = 0; i < match.param_count; i++) {
    if (i > 0) values.append(" ");
    Bytes value = target.substr(match.params[i].offset, match.params[i].length);
    values.append("<").append(value).append(">");
  }
  return values;
}

int status_of(RouteKind kind) {
  if (kind == RouteKind::NotFound) return 404;
  if (kind == RouteKind::MethodNotAllowed) return 405;
  return kind == RouteKind::Options ? 204 : 0;
}

void check_one(const Router& router, const Check& check) {
  Bytes target = check.target;
  Answer answer = ask(router, check.method, target);
  EXPECT(answer.path_length == std::min(target.find('?'), target.size()));
  if (check.answer < 100) {
    EXPECT(answer.kind == RouteKind::Handler && answer.match.route->id == check.answer);
    if (check.rest != nullptr) EXPECT(values_of(answer.match, target) == check.rest);
    return;
  }
  EXPECT(status_of(answer.kind) == check.answer);
  EXPECT(answer.match.param_count == 0);
  std::string allow;
  if (check.answer != 404) allow.append("Allow: ").append(check.rest).append("\r\n");
  EXPECT(answer.match.route->headers == allow);
}

TEST("answers every case of the router table") {
  for (const Group& group : kGroups) {
    Router router;
    for (size_t i = 0; i < group.routes.size(); i++) {
      test::context = std::string(group.id) + " " + group.routes[i];
      bool refused = false;
      for (int row : group.refused) refused |= static_cast<size_t>(row) == i;
      EXPECT(add(router, group.routes[i], i).empty() == !refused);
    }
    router.seal();
    for (const Check& check : group.checks) {
      test::context = std::string(group.id) + " " + check.method + " " + check.target;
      check_one(router, check);
    }
  }
}

TEST("says in one sentence what is wrong with a pattern, and takes the next row") {
  for (const Refused& refused : kRefused) {
    test::context = refused.id;
    Router router;
    std::string problem = router.add({"GET", refused.pattern, handler(1)});
    EXPECT(problem.starts_with(std::string("Route \"") + refused.pattern + "\" "));
    EXPECT(problem.ends_with("."));
    EXPECT(router.add({"GET", "/next", handler(2)}).empty());
    router.seal();
    EXPECT(ask(router, "GET", "/next").match.route->id == 2);
  }
}

TEST("refuses a method that is no token, a second row of one shape, a 55th uncommon method") {
  Router router;
  EXPECT(!router.add({"GE T", "/a", handler(0)}).empty());
  EXPECT(router.add({"", "/a/:x", handler(1)}).empty());
  EXPECT(!router.add({"", "/a/@y", handler(2)}).empty());
  EXPECT(router.add({"GET", "/a/@z", handler(3)}).empty());
  EXPECT(router.add({"GET", "/\xc3\xa9/*b", handler(4)}).empty());
  EXPECT(!router.add({"GET", "/%c3%A9/*b", handler(5)}).empty());
  for (size_t i = 0; i < 54; i++) {
    EXPECT(router.add({"M" + std::to_string(i), "/m", handler(6)}).empty());
  }
  EXPECT(!router.add({"M54", "/n", handler(7)}).empty());
  router.seal();
  EXPECT(ask(router, "GET", "/n").kind == RouteKind::NotFound);
  EXPECT(ask(router, "M53", "/m").match.route->id == 6);
  EXPECT(ask(router, "M54", "/m").kind == RouteKind::MethodNotAllowed);
}

TEST("takes eight parameters and 256 segments, and no more") {
  Router router;
  std::string longest;
  for (int i = 0; i < 256; i++) longest.append("/s");
  EXPECT(router.add({"GET", longest, handler(1)}).empty());
  EXPECT(!router.add({"GET", longest + "/s", handler(2)}).empty());
  EXPECT(router.add({"GET", "/:a/:b/:c/:d/:e/*/x*/**", handler(3)}).empty());
  EXPECT(!router.add({"GET", "/:a/:b/:c/:d/:e/*/x*/*y/**", handler(4)}).empty());
  router.seal();
  EXPECT(ask(router, "GET", longest).match.route->id == 1);
  Bytes target = "/1/2/3/4/5//x7/8/9";
  Answer answer = ask(router, "GET", target);
  EXPECT(values_of(answer.match, target) == "<1> <2> <3> <4> <5> <> <x7> <8/9>");
}

TEST("answers with the fallback and the 405 handler once they are set") {
  Router router;
  EXPECT(router.add({"GET", "/a", handler(1)}).empty());
  router.set_fallback(handler(40));
  router.set_method_not_allowed(handler(50));
  router.seal();
  EXPECT(ask(router, "GET", "/b").match.route->id == 40);
  EXPECT(ask(router, "CONNECT", "h:1").match.route->id == 40);
  EXPECT(ask(router, "GET", "").match.route->id == 40);
  Answer refusal = ask(router, "PUT", "/a");
  EXPECT(refusal.kind == RouteKind::Handler && refusal.match.route->id == 50);
  EXPECT(refusal.match.route->headers == "Allow: GET, HEAD, OPTIONS\r\n");
  EXPECT(ask(router, "OPTIONS", "/a").kind == RouteKind::Options);
}

TEST("a router without rows answers 404, and OPTIONS * with OPTIONS alone") {
  Router router;
  router.seal();
  EXPECT(ask(router, "GET", "/").kind == RouteKind::NotFound);
  EXPECT(ask(router, "OPTIONS", "/").kind == RouteKind::NotFound);
  EXPECT(ask(router, "OPTIONS", "*").match.route->headers == "Allow: OPTIONS\r\n");
}

TEST("OPTIONS * names the common methods when a row takes any") {
  Router router;
  EXPECT(router.add({"", "/**", handler(1)}).empty());
  router.seal();
  Answer answer = ask(router, "OPTIONS", "*");
  EXPECT(answer.match.route->headers == "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n");
}

TEST("the span of an absolute form without a path is empty and lies at its end") {
  Router router;
  EXPECT(router.add({"GET", "/*", handler(1)}).empty());
  router.seal();
  Answer answer = ask(router, "GET", "http://h?q");
  EXPECT(answer.match.route->id == 1 && answer.path_length == 8);
  EXPECT(answer.match.params[0].offset == 8 && answer.match.params[0].length == 0);
}

TEST("many overlapping sets of methods keep an Allow line that is true") {
  Router router;
  // 14 patterns that match "/a/…", each with a method of its own: 2^14 unions, more than are
  // prepared.
  for (size_t i = 0; i < 14; i++) {
    std::string pattern = "/" + std::string(i, 'a') + "*";
    EXPECT(router.add({"M" + std::to_string(i), pattern, handler(i)}).empty());
  }
  router.seal();
  Answer one = ask(router, "GET", "/b");
  EXPECT(one.kind == RouteKind::MethodNotAllowed);
  EXPECT(one.match.route->headers == "Allow: OPTIONS, M0\r\n");
  Answer all = ask(router, "GET", "/aaaaaaaaaaaaaaa");
  EXPECT(all.kind == RouteKind::MethodNotAllowed);
  EXPECT(all.match.route->headers.starts_with("Allow: OPTIONS, M"));
}

// An exponential search would not come back.
TEST("several ** on a long path cost polynomial work") {
  Router router;
  EXPECT(router.add({"GET", "/**/a/**/a/**/a/**/a/**/a/**/a/**/b", handler(1)}).empty());
  EXPECT(router.add({"GET", "/**/a/**/:x/**/a/**/*a/**/c", handler(2)}) != "");
  EXPECT(router.add({"GET", "/**/a/**/*a*/**/a*/**/a/**/c", handler(2)}).empty());
  EXPECT(router.add({"GET", "/**/a/a/**/a/a/**/d", handler(3)}).empty());
  router.seal();
  std::string target;
  while (target.size() < 65000) target.append("/a");
  EXPECT(ask(router, "GET", target).kind == RouteKind::NotFound);
  EXPECT(ask(router, "GET", target + "/b").match.route->id == 1);
  EXPECT(ask(router, "GET", target + "/c").match.route->id == 2);
  EXPECT(ask(router, "GET", target + "/d").match.route->id == 3);
  EXPECT(ask(router, "GET", std::string(65000, '/')).kind == RouteKind::NotFound);
}

TEST("a target beyond what a span can point at gets the fallback") {
  Router router;
  EXPECT(router.add({"GET", "/**", handler(1)}).empty());
  router.seal();
  std::string target = "/" + std::string(65534, 'x');
  Answer longest = ask(router, "GET", target);
  EXPECT(longest.match.route->id == 1 && longest.match.params[0].length == 65534);
  EXPECT(ask(router, "GET", target + "x").kind == RouteKind::NotFound);
}

TEST("finds each of 1000 literal paths of every length, and none that is not there") {
  Router router;
  std::vector<std::string> paths;
  for (size_t i = 0; i < 1000; i++) {
    paths.push_back("/v" + std::to_string(i % 7) + "/" + std::string(i % 40, 'x') +
                    std::to_string(i));
    EXPECT(router.add({"GET", paths.back(), handler(i)}).empty());
  }
  router.seal();
  for (size_t i = 0; i < 1000; i++) {
    test::context = paths[i];
    EXPECT(ask(router, "GET", paths[i]).match.route->id == i);
    EXPECT(ask(router, "GET", paths[i] + "y").kind == RouteKind::NotFound);
  }
}

}  // namespace
}  // namespace millrace
