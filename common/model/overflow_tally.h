// Which series did not fit under a limit: how many, and of which metric.
//
// A series counts once, however often it comes. What is remembered of each is 8
// bytes of its id, up to a bound; past it nothing more is counted, and `cut` says
// that the counts are the least there were.
//
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "common/model/series.h"

namespace weir {

class OverflowTally {
 public:
  // One million series take some 18 MB.
  explicit OverflowTally(size_t max_series = 1'000'000, size_t max_metrics = 10'000)
      : max_series_(max_series), max_metrics_(max_metrics) {}

  // Counts a series that is seen for the first time and returns the name it was
  // counted under, valid until the next call: `metric`, or weir.overflow for names
  // met after the first `max_metrics`. Returns nullopt when it was not counted.
  std::optional<std::string_view> Add(const SeriesId& id, std::string_view metric);

  // Different series; at least so many when `cut`.
  int64_t count() const { return static_cast<int64_t>(seen_.size()); }
  int64_t CountOf(std::string_view metric) const;
  bool cut() const { return cut_; }
  const absl::flat_hash_map<std::string, int64_t>& metrics() const { return metrics_; }

 private:
  const size_t max_series_;
  const size_t max_metrics_;
  // Half an id: of a million, two agree once in 37 million times.
  absl::flat_hash_set<uint64_t> seen_;
  absl::flat_hash_map<std::string, int64_t> metrics_;
  bool cut_ = false;
};

}  // namespace weir
