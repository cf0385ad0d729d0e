// The numbers of a server as text: read back by a strict parser of the format, and compared with
// what was counted.
#include "core/server/prometheus.h"

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "test/server_rig.h"

namespace millrace::test {
namespace {

struct Family {
  std::string type;
  std::string help;
  std::map<std::string, double> samples;  // by name and labels as they stand
  std::vector<std::string> order;
};

bool is_name(const std::string& text) {
  if (text.empty() || (std::isdigit(static_cast<unsigned char>(text[0])) != 0)) return false;
  return text.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
         std::string::npos;
}

// Text format 0.0.4: HELP and TYPE before the samples of a family, whose lines stand together; no
// sample twice.
class Parser final {
 public:
  explicit Parser(const std::string& text) {
    EXPECT(!text.empty() && text.back() == '\n');
    size_t at = 0;
    while (at < text.size()) {
      size_t end = text.find('\n', at);
      if (end == std::string::npos) break;
      context = text.substr(at, end - at);
      read_line(text.substr(at, end - at));
      at = end + 1;
    }
    context.clear();
  }
  std::map<std::string, Family> families;

  double value(const std::string& sample) {
    for (auto& [name, family] : families) {
      auto found = family.samples.find(sample);
      if (found != family.samples.end()) return found->second;
    }
    return -1;
  }

 private:
  void read_line(const std::string& line) {
    if (line.rfind("# HELP ", 0) == 0) return read_help(line.substr(7));
    if (line.rfind("# TYPE ", 0) == 0) return read_type(line.substr(7));
    EXPECT(line[0] != '#');
    read_sample(line);
  }
  void read_help(const std::string& rest) {
    size_t space = rest.find(' ');
    EXPECT(space != std::string::npos && space + 1 < rest.size());
    current_ = rest.substr(0, space);
    EXPECT(is_name(current_));
    EXPECT(families.find(current_) == families.end());  // its lines stand together
    families[current_].help = rest.substr(space + 1);
  }
  void read_type(const std::string& rest) {
    size_t space = rest.find(' ');
    EXPECT(rest.substr(0, space) == current_);
    Family& family = families[current_];
    EXPECT(family.type.empty());
    family.type = rest.substr(space + 1);
    EXPECT(family.type == "counter" || family.type == "gauge" || family.type == "histogram");
    bool is_total = current_.size() > 6 && current_.substr(current_.size() - 6) == "_total";
    EXPECT(is_total == (family.type == "counter"));
  }
  void read_sample(const std::string& line) {
    size_t end = line.find_first_of("{ ");
    EXPECT(end != std::string::npos);
    std::string name = line.substr(0, end);
    EXPECT(is_name(name));
    Family& family = families[current_];
    EXPECT(!family.type.empty());
    bool is_part =
        family.type == "histogram" &&
        (name == current_ + "_bucket" || name == current_ + "_sum" || name == current_ + "_count");
    EXPECT(is_part || (family.type != "histogram" && name == current_));
    size_t at = line[end] == '{' ? read_labels(line, end + 1) : end;
    EXPECT(line[at] == ' ');
    char* rest = nullptr;
    double value = std::strtod(line.c_str() + at + 1, &rest);
    EXPECT(rest != line.c_str() + at + 1 && *rest == '\0');
    EXPECT(family.type == "gauge" || value >= 0);
    EXPECT(family.samples.emplace(line.substr(0, at), value).second);
    family.order.push_back(line.substr(0, at));
  }
  // One label; where it ends.
  size_t read_labels(const std::string& line, size_t at) {
    size_t equals = line.find('=', at);
    EXPECT(is_name(line.substr(at, equals - at)));
    EXPECT(line[equals + 1] == '"');
    for (at = equals + 2; at < line.size() && line[at] != '"'; at++) {
      if (line[at] != '\\') continue;
      at++;
      EXPECT(line[at] == '\\' || line[at] == '"' || line[at] == 'n');
    }
    EXPECT(line.substr(at, 2) == "\"}");
    return at + 2;
  }
  std::string current_;
};

struct Numbers {
  Stats stats;
  QueueMeter queue;
};

std::string text_of(const std::vector<std::unique_ptr<Numbers>>& loops) {
  std::vector<LoopNumbers> views;
  for (const auto& loop : loops) views.push_back({&loop->stats, &loop->queue});
  std::string text;
  write_prometheus(views, text);
  return text;
}

std::vector<std::unique_ptr<Numbers>> two_loops() {
  std::vector<std::unique_ptr<Numbers>> loops;
  for (int i = 0; i < 2; i++) loops.push_back(std::make_unique<Numbers>());
  return loops;
}

TEST("numbers are written in a form that a strict reader takes, and are sums over the loops") {
  auto loops = two_loops();
  loops[0]->stats.requests.add(5);
  loops[1]->stats.requests.add(7);
  loops[0]->stats.connections.add(3);
  loops[1]->stats.shed.add(2);
  loops[0]->stats.responses_2xx.add(4);
  loops[1]->stats.responses_5xx.add(1);
  loops[0]->stats.refusals[static_cast<size_t>(ErrorCode::HeadersTimeout)].add(6);
  loops[1]->stats.closes[static_cast<size_t>(CloseCause::TimedOut)].add(9);
  loops[1]->stats.bytes_out.add(int64_t{1} << 52);
  Parser parser(text_of(loops));
  EXPECT(parser.value("millrace_up") == 1);
  EXPECT(parser.value("millrace_loops") == 2);
  EXPECT(parser.value("millrace_draining") == 0);
  EXPECT(parser.value("millrace_requests_total") == 12);
  EXPECT(parser.value("millrace_connections") == 3);
  EXPECT(parser.value("millrace_shed_total") == 2);
  EXPECT(parser.value("millrace_web_sockets") == 0);
  EXPECT(parser.value("millrace_bytes_out_total") == static_cast<double>(int64_t{1} << 52));
  EXPECT(parser.value("millrace_responses_total{class=\"2xx\"}") == 4);
  EXPECT(parser.value("millrace_responses_total{class=\"5xx\"}") == 1);
  EXPECT(parser.families["millrace_responses_total"].samples.size() == 5);
  EXPECT(parser.value("millrace_refusals_total{code=\"ERR_MILLRACE_HEADERS_TIMEOUT\"}") == 6);
  EXPECT(parser.value("millrace_refusals_total{code=\"ERR_MILLRACE_OVERLOADED\"}") == 0);
  EXPECT(parser.value("millrace_connections_closed_total{cause=\"TimedOut\"}") == 9);
  EXPECT(parser.families["millrace_connections_closed_total"].samples.size() == kCauseCount);
  EXPECT(parser.families["millrace_requests_total"].help == "Requests whose head was accepted.");
  // Each row of the table but the five classes, and what is written besides.
  EXPECT(parser.families.size() == kMetricCount - 5 + 3 + 3 + 2);
}

TEST("a server drains as soon as one of its loops does") {
  auto loops = two_loops();
  loops[1]->stats.draining.add(1);
  EXPECT(Parser(text_of(loops)).value("millrace_draining") == 1);
}

// Of the buckets as they stand: upper bound and count.
std::vector<std::pair<double, double>> buckets_of(const Family& family, const std::string& name) {
  std::vector<std::pair<double, double>> buckets;
  std::string start = name + "_bucket{le=\"";
  for (const std::string& sample : family.order) {
    if (sample.rfind(start, 0) != 0) continue;
    double bound = std::strtod(sample.c_str() + start.size(), nullptr);  // "+Inf" too
    buckets.emplace_back(bound, family.samples.at(sample));
  }
  return buckets;
}

TEST("the histogram of delays holds in each bucket what is up to its bound") {
  auto loops = two_loops();
  std::vector<int32_t> delays;
  for (int32_t ms = 0; ms < 40'000; ms += ms < 300 ? 1 : 97) delays.push_back(ms);
  for (int32_t bound : {200, 500, 1000, 2000, 5000, 10'000, 30'000}) {
    delays.push_back(bound);
    delays.push_back(bound + 1);
  }
  double sum = 0;
  for (size_t i = 0; i < delays.size(); i++) {
    loops[i % 2]->queue.add_delay(delays[i]);
    sum += delays[i];
  }
  Parser parser(text_of(loops));
  const std::string name = "millrace_queue_delay_seconds";
  auto buckets = buckets_of(parser.families[name], name);
  EXPECT(buckets.size() == 15);
  EXPECT(std::isinf(buckets.back().first));
  for (size_t i = 0; i < buckets.size(); i++) {
    double expected = 0;
    for (int32_t ms : delays) expected += ms / 1000.0 <= buckets[i].first ? 1 : 0;
    EXPECT(buckets[i].second == expected);
    EXPECT(i == 0 || buckets[i].first > buckets[i - 1].first);
  }
  EXPECT(parser.value(name + "_count") == static_cast<double>(delays.size()));
  EXPECT(std::abs(parser.value(name + "_sum") - sum / 1000) < 1e-6);
}

TEST("the histogram of batches holds in each bucket what is up to its bound") {
  auto loops = two_loops();
  std::vector<uint32_t> sizes = {1, 1, 2, 3, 4, 5, 64, 65, 512, 513, 2000};
  double sum = 0;
  for (size_t i = 0; i < sizes.size(); i++) {
    loops[i % 2]->queue.add_batch(sizes[i]);
    sum += sizes[i];
  }
  Parser parser(text_of(loops));
  auto buckets = buckets_of(parser.families["millrace_batch_size"], "millrace_batch_size");
  EXPECT(buckets.size() == QueueMeter::kSizeBins);
  for (auto [bound, count] : buckets) {
    double expected = 0;
    for (uint32_t size : sizes) expected += size <= bound ? 1 : 0;
    EXPECT(count == expected);
  }
  EXPECT(parser.value("millrace_batch_size_count") == static_cast<double>(sizes.size()));
  EXPECT(parser.value("millrace_batch_size_sum") == sum);
}

TEST("a route of a server is answered with its numbers on the loop, GET and HEAD") {
  ServerOptions options = options_of(2, {tcp()});
  RouteRow row{"GET", "/metrics", {}};
  row.route.kind = RouteKind::Metrics;
  options.routes.rows.push_back(std::move(row));
  Running running(std::move(options));
  for (int i = 0; i < 5; i++) EXPECT(count_of(ask(running.port(), "/asked"), "200 OK") == 1);
  EXPECT(eventually([&] {
    int64_t answered = 0;
    for (size_t i = 0; i < 2; i++) {
      answered += running.server().loop(i).stats_view().responses_2xx.get();
    }
    return answered == 5;
  }));
  Fd socket = connect_to(running.port());
  EXPECT(send_all(socket, get("/metrics")));
  std::string answer = read_until(socket, "millrace_batch_size_count");
  size_t head_end = answer.find("\r\n\r\n");
  EXPECT(head_end != std::string::npos);
  EXPECT(count_of(answer, "\r\nContent-Type: text/plain; version=0.0.4;charset=utf-8\r\n") == 1);
  size_t length_at = answer.find("Content-Length: ");
  size_t length = std::strtoul(answer.c_str() + length_at + 16, nullptr, 10);
  std::string body = answer.substr(head_end + 4);
  while (body.size() < length) {
    char buffer[4096];
    ssize_t got = ::recv(socket.get(), buffer, sizeof(buffer), 0);
    if (got <= 0) break;
    body.append(buffer, static_cast<size_t>(got));
  }
  EXPECT(body.size() == length);
  Parser parser(body);
  EXPECT(parser.value("millrace_requests_total") == 6);  // this one has begun
  EXPECT(parser.value("millrace_responses_total{class=\"2xx\"}") == 5);
  EXPECT(parser.value("millrace_native_responses_total") == 1);

  EXPECT(send_all(socket, "HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
  std::string head = read_until(socket, "never");
  EXPECT(count_of(head, "HTTP/1.1 200 OK") == 1);
  EXPECT(head.size() == head.find("\r\n\r\n") + 4);
}

}  // namespace
}  // namespace millrace::test
