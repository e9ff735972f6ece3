// The names that classic histograms of Prometheus have been seen under. Remote write
// 1.0 says of no series what it is: NAME_sum and NAME_count are counters, unless there
// is a NAME_bucket.
//
// Thread safety: thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "common/base/bytes.h"
#include "common/base/mutex.h"

namespace weir::collector {

class HistogramFamilies {
 public:
  // More are not remembered: beyond it a request has to show by itself what its series
  // are, which those of Prometheus do but for series that are split between two.
  explicit HistogramFamilies(size_t max_count = 100'000) : max_count_(max_count) {}

  // Names longer than any that is admitted are not remembered either.
  void Remember(std::string_view tenant, std::string_view name) {
    if (name.size() > kMaxNameBytes) return;
    MutexLock lock(&mu_);
    if (names_.size() < max_count_) names_.insert(Key(tenant, name));
  }
  bool Knows(std::string_view tenant, std::string_view name) const {
    MutexLock lock(&mu_);
    return names_.contains(Key(tenant, name));
  }

 private:
  static constexpr size_t kMaxNameBytes = 256;

  static std::string Key(std::string_view tenant, std::string_view name) {
    std::string key;
    AppendLengthPrefixed(tenant, &key);
    return key.append(name);
  }

  const size_t max_count_;
  mutable Mutex mu_;
  absl::flat_hash_set<std::string> names_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weir::collector
