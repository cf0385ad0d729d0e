// Histogram of durations in nanoseconds: exact below 64, then 64 buckets per doubling (1.6 %).
// Fixed size, adds without allocating. A plain value.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace millrace::bench {

class Histogram final {
 public:
  void add(uint64_t nanoseconds) {
    counts_[bucket_of(nanoseconds)]++;
    total_++;
    sum_ += nanoseconds;
    max_ = std::max(max_, nanoseconds);
  }
  void clear() { *this = Histogram(); }

  [[nodiscard]] uint64_t count() const { return total_; }
  [[nodiscard]] uint64_t max() const { return max_; }
  [[nodiscard]] double mean() const {
    return total_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(total_);
  }
  // The upper bound of the bucket in which that share of all values is reached.
  [[nodiscard]] uint64_t quantile(double share) const {
    if (total_ == 0) return 0;
    auto rank = static_cast<uint64_t>(share * static_cast<double>(total_));
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); i++) {
      seen += counts_[i];
      if (seen > rank) return std::min(upper_bound_of(i), max_);
    }
    return max_;
  }

  // "[[upper bound, count],...]" of the buckets that hold something, bounds divided by `unit`.
  void print_buckets(std::FILE* out, double unit) const {
    const char* comma = "";
    std::fputc('[', out);
    for (size_t i = 0; i < counts_.size(); i++) {
      if (counts_[i] == 0) continue;
      std::fprintf(out, "%s[%.3f,%llu]", comma, static_cast<double>(upper_bound_of(i)) / unit,
                   static_cast<unsigned long long>(counts_[i]));
      comma = ",";
    }
    std::fputc(']', out);
  }

 private:
  static constexpr int kSubBits = 6;
  static constexpr uint64_t kSubBuckets = 1 << kSubBits;
  static constexpr int kDoublings = 40;  // above half a day everything is in the last bucket

  static size_t bucket_of(uint64_t value) {
    if (value < kSubBuckets) return static_cast<size_t>(value);
    int shift = static_cast<int>(std::bit_width(value)) - kSubBits - 1;
    if (shift >= kDoublings - 1) return kDoublings * kSubBuckets - 1;
    uint64_t within = (value >> shift) - kSubBuckets;
    return static_cast<size_t>((static_cast<uint64_t>(shift) + 1) * kSubBuckets + within);
  }
  // The largest value of the bucket.
  static uint64_t upper_bound_of(size_t bucket) {
    if (bucket < kSubBuckets) return bucket;
    uint64_t shift = bucket / kSubBuckets - 1;
    return ((kSubBuckets + bucket % kSubBuckets + 1) << shift) - 1;
  }

  std::array<uint64_t, kDoublings * kSubBuckets> counts_{};
  uint64_t total_ = 0;
  uint64_t sum_ = 0;
  uint64_t max_ = 0;
};

}  // namespace millrace::bench
