#include "core/server/prometheus.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "core/base/bytes.h"
#include "core/model/error.h"

namespace millrace {
namespace {

struct Metric {
  const char* name;  // as TypeScript has it
  const char* kind;
  const char* sentence;
};
constexpr Metric kMetrics[] = {
#define MR_METRIC(name, public_name, kind, sentence) {#public_name, #kind, sentence},
#include "core/model/metrics.def"
#undef MR_METRIC
};

constexpr const char* kCauses[] = {
#define MR_CAUSE(name, number, level, sentence) #name,
#include "core/model/causes.def"
#undef MR_CAUSE
};
static_assert(std::size(kCauses) == kCauseCount);

constexpr const char* kClasses[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
constexpr char kClassPrefix[] = "responses";  // "responses2xx": one metric with a label

// Upper bounds of the delay histogram below QueueMeter::kFineDelays, in milliseconds; above, they
// are its own.
constexpr uint32_t kFineBounds[] = {1, 2, 5, 10, 20, 50, 100};

bool is_class(const Metric& metric) {
  return std::strncmp(metric.name, kClassPrefix, sizeof(kClassPrefix) - 1) == 0;
}

class Writer final {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  void head(Bytes name, Bytes kind, Bytes help) {
    out_.append("# HELP ").append(name).append(" ");
    escape(help, false);
    out_.append("\n# TYPE ").append(name).append(" ").append(kind).append("\n");
  }
  // `label` may be "".
  void sample(Bytes name, Bytes label, Bytes label_value, double value) {
    out_.append(name);
    if (!label.empty()) {
      out_.append("{").append(label).append("=\"");
      escape(label_value, true);
      out_.append("\"}");
    }
    char text[40];
    std::snprintf(text, sizeof(text), " %.17g\n", value);
    out_.append(text);
  }

 private:
  void escape(Bytes text, bool quotes) {
    for (char c : text) {
      if (c == '\\')
        out_.append("\\\\");
      else if (c == '\n')
        out_.append("\\n");
      else if (c == '"' && quotes)
        out_.append("\\\"");
      else
        out_.push_back(c);
    }
  }
  std::string& out_;
};

std::string snake_case(const char* name) {
  std::string text = "millrace_";
  for (; *name != '\0'; name++) {
    bool is_upper = *name >= 'A' && *name <= 'Z';
    if (is_upper) text.push_back('_');
    text.push_back(is_upper ? ascii_lower(*name) : *name);
  }
  return text;
}

void write_counters(const double* sums, Writer& writer) {
  for (size_t i = 0; i < kMetricCount; i++) {
    const Metric& metric = kMetrics[i];
    if (is_class(metric)) continue;
    bool is_counter = std::strcmp(metric.kind, "counter") == 0;
    std::string name = snake_case(metric.name) + (is_counter ? "_total" : "");
    writer.head(name, metric.kind, metric.sentence);
    writer.sample(name, "", "", sums[i]);
  }
}

void write_labelled(const double* sums, Writer& writer) {
  constexpr char kResponses[] = "millrace_responses_total";
  writer.head(kResponses, "counter", "Responses sent, by class of status.");
  for (size_t i = 0, next = 0; i < kMetricCount; i++) {
    if (is_class(kMetrics[i])) writer.sample(kResponses, "class", kClasses[next++], sums[i]);
  }
  // Those that answer a peer always, the others once they have happened.
  constexpr char kRefusals[] = "millrace_refusals_total";
  writer.head(kRefusals, "counter", "Requests refused natively, by error code.");
  const double* refusals = sums + kMetricCount;
  for (size_t i = 1; i < static_cast<size_t>(ErrorCode::Count); i++) {
    auto code = static_cast<ErrorCode>(i);
    if (refusals[i] > 0 || error_code_status(code) != 0)
      writer.sample(kRefusals, "code", error_code_name(code), refusals[i]);
  }
  constexpr char kCloses[] = "millrace_connections_closed_total";
  writer.head(kCloses, "counter", "Connections closed, by cause.");
  const double* closes = refusals + static_cast<size_t>(ErrorCode::Count);
  for (size_t i = 0; i < kCauseCount; i++) writer.sample(kCloses, "cause", kCauses[i], closes[i]);
}

// Buckets hold what is up to their bound, those below included. The count is what they add up to,
// whatever is being counted meanwhile.
class Histogram final {
 public:
  Histogram(Bytes name, Bytes help, Writer& writer) : name_(name), writer_(writer) {
    writer.head(name, "histogram", help);
  }
  void bucket(double bound, int64_t count) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.10g", bound);
    add(text, count);
  }
  void end(int64_t rest, double sum) {
    add("+Inf", rest);
    writer_.sample(name_ + "_sum", "", "", sum);
    writer_.sample(name_ + "_count", "", "", static_cast<double>(total_));
  }

 private:
  void add(Bytes bound, int64_t count) {
    total_ += count;
    writer_.sample(name_ + "_bucket", "le", bound, static_cast<double>(total_));
  }
  std::string name_;
  Writer& writer_;
  int64_t total_ = 0;
};

template <typename Read>
int64_t sum_of(std::span<const LoopNumbers> loops, Read read) {
  int64_t sum = 0;
  for (const LoopNumbers& loop : loops) sum += read(*loop.queue);
  return sum;
}

void write_delays(std::span<const LoopNumbers> loops, Writer& writer) {
  Histogram histogram("millrace_queue_delay_seconds",
                      "How long requests waited for JavaScript to take them.", writer);
  size_t bin = 0;
  auto fine_until = [&](size_t end) {
    int64_t sum = 0;
    for (; bin < end; bin++)
      sum += sum_of(loops, [bin](const QueueMeter& queue) { return queue.delays(bin); });
    return sum;
  };
  for (uint32_t bound : kFineBounds) histogram.bucket(bound / 1000.0, fine_until(bound + 1));
  int64_t rest = fine_until(QueueMeter::kFineDelays);  // up to the first of the slow bounds
  for (size_t i = 0; i < QueueMeter::kSlowDelays.size(); i++) {
    rest += sum_of(loops, [i](const QueueMeter& queue) { return queue.slow(i); });
    if (QueueMeter::kSlowDelays[i] == UINT32_MAX) break;
    histogram.bucket(QueueMeter::kSlowDelays[i] / 1000.0, rest);
    rest = 0;
  }
  int64_t sum = sum_of(loops, [](const QueueMeter& queue) { return queue.delay_sum(); });
  histogram.end(rest, static_cast<double>(sum) / 1000.0);
}

void write_sizes(std::span<const LoopNumbers> loops, Writer& writer) {
  Histogram histogram("millrace_batch_size", "Requests per entry into JavaScript.", writer);
  for (size_t i = 0; i < QueueMeter::kSizeBins; i++) {
    int64_t count = sum_of(loops, [i](const QueueMeter& queue) { return queue.sizes(i); });
    if (i + 1 == QueueMeter::kSizeBins) {
      int64_t sum = sum_of(loops, [](const QueueMeter& queue) { return queue.requests(); });
      return histogram.end(count, static_cast<double>(sum));
    }
    histogram.bucket(static_cast<double>(1u << i), count);
  }
}

}  // namespace

void write_prometheus(std::span<const LoopNumbers> loops, std::string& out) {
  std::array<double, kStatsCount> sums{};
  bool drains = false;
  for (const LoopNumbers& loop : loops) {
    add_stats(*loop.stats, sums.data());
    drains = drains || loop.stats->draining.get() != 0;
  }
  Writer writer(out);
  writer.head("millrace_up", "gauge", "1 while the server answers.");
  writer.sample("millrace_up", "", "", 1);
  writer.head("millrace_draining", "gauge", "1 while the server drains: health.ready says 503.");
  writer.sample("millrace_draining", "", "", drains ? 1 : 0);
  writer.head("millrace_loops", "gauge", "Native loops.");
  writer.sample("millrace_loops", "", "", static_cast<double>(loops.size()));
  write_counters(sums.data(), writer);
  write_labelled(sums.data(), writer);
  write_delays(loops, writer);
  write_sizes(loops, writer);
}

}  // namespace millrace
