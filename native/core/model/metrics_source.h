// Who writes the numbers of a server; for loops, which know only their own.
#pragma once

#include <string>

namespace millrace {

class MetricsSource {
 public:
  // Appends them in Prometheus' text format. Any thread.
  virtual void write_metrics(std::string& out) const = 0;

 protected:
  ~MetricsSource() = default;
};

}  // namespace millrace
