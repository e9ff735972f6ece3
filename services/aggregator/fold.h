// Samples into bins, in memory, between two flushes.
//
// Series are interned to dense numbers once per process; a bin finds its cell by
// that number; cells are pointer-free and lie in slabs. A block of samples is
// folded in two passes, the first of which finds and prefetches the cells:
// memory-level parallelism is what limits it. Only the finest tier's bins are
// folded; coarser ones are derived or written at the flush.
//
// Thread safety: thread-compatible; owned by the delivery thread, except that a
// Delta taken for a flush is read by the store thread while nobody writes it,
// together with the SeriesEntry objects its cells point to: they never move, and
// change only (MarkStored) while no flush runs.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/frame/block.h"
#include "common/model/aggregate.h"
#include "common/model/overflow_tally.h"
#include "common/model/series.h"
#include "common/sketch/sketch.h"

namespace weir::aggregator {

// A series' number in this process; stable while it lives.
using SeriesNumber = uint32_t;

struct SeriesEntry {
  SeriesNumber number = 0;
  SeriesId id;
  int slot = 0;  // where its partials go
  Kind kind = Kind::kGauge;
  bool stored = false;  // the store has its row: nothing to insert at a flush
  // Many series past a limit share it: running totals cannot be followed in it.
  bool overflow = false;
  std::string bytes;  // AppendSeries; empty once stored
};

struct SeriesLimits {
  // Series one tenant may have; later ones are folded into the overflow series
  // of their metric, which keeps the totals. Default 1,000,000.
  int64_t max_series_per_tenant = 1'000'000;
  // Series one metric name of a tenant may have. Default 100,000.
  int64_t max_series_per_metric = 100'000;
  // Overflow series one tenant may have, as each metric name past the limits
  // makes one. Past this one too, totals are kept under the metric name
  // weir.overflow. Default 10,000.
  int64_t max_overflow_series_per_tenant = 10'000;
};

// How many series one metric name has.
struct MetricUsage {
  std::string name;
  int64_t series_count = 0;      // overflow series apart
  int64_t overflowed_count = 0;  // different series folded into overflow series
  // Whether it has an overflow series: made here, by a collector, or in an
  // earlier life.
  bool overflowing = false;
};

// How many series a tenant has: what the limits are compared with.
struct SeriesUsage {
  SeriesLimits limits;
  int64_t series_count = 0;      // overflow series apart
  int64_t metric_count = 0;      // metric names with a series
  int64_t overflowed_count = 0;  // since the claim
  bool overflowed_cut = false;   // there were more than can be told apart
  // Those asked for, the ones with the most series, overflowed ones included,
  // first.
  std::vector<MetricUsage> metrics;
};

struct UsageQuery {
  std::string tenant;
  std::string name;  // only this metric name; empty for those with the most series
  size_t limit = 10;
};

class SeriesIndex {
 public:
  explicit SeriesIndex(SeriesLimits limits);

  // The number of the series in `slot`; new ones are added, or replaced by the
  // overflow series (same tenant, name and kind; the one label weir.overflow)
  // in the same slot when a limit is reached.
  // Errors: DataLoss when `series_bytes` is not a series.
  absl::StatusOr<SeriesNumber> Intern(int slot, std::string_view series_bytes);

  // Adds what the store has, at claim. Not limited: what is stored counts.
  void AddStored(int slot, const SeriesId& id, const Series& series);

  // The number of a series by its id.
  std::optional<SeriesNumber> Find(int slot, const SeriesId& id) const;

  const SeriesEntry& operator[](SeriesNumber number) const { return entries_[number]; }
  void MarkStored(SeriesNumber number);
  size_t size() const { return entries_.size(); }
  // Different series that Intern answered with an overflow series, of all tenants,
  // and the metric name of the last of them.
  int64_t overflowed_count() const { return overflowed_count_; }
  const std::string& last_overflowed_metric() const { return last_overflowed_metric_; }
  SeriesUsage Usage(const UsageQuery& query) const;
  void Clear();

 private:
  struct Key {
    SeriesId id;
    int slot;
    friend bool operator==(const Key&, const Key&) = default;
    template <typename H>
    friend H AbslHashValue(H state, const Key& key) {
      return H::combine(std::move(state), key.id, key.slot);
    }
  };
  // What counts against a tenant's limits.
  struct MetricCounts {
    int64_t series = 0;
    int64_t overflow_series = 0;  // per slot and kind
  };
  struct TenantCounts {
    int64_t series = 0;
    int64_t overflow_series = 0;
    absl::flat_hash_map<std::string, MetricCounts> metrics;
    OverflowTally overflowed;
  };

  bool Full(const TenantCounts& counts, const std::string& name) const;
  absl::StatusOr<SeriesNumber> InternOverflow(int slot, Series series, TenantCounts* counts);
  SeriesNumber Add(const Key& key, const Series& series, bool stored, std::string bytes);

  const SeriesLimits limits_;
  std::deque<SeriesEntry> entries_;  // a deque: entries never move
  absl::flat_hash_map<Key, SeriesNumber> numbers_;
  absl::flat_hash_map<std::string, TenantCounts> tenants_;
  int64_t overflowed_count_ = 0;
  std::string last_overflowed_metric_;
};

// One series' samples in one bin: two cache lines.
struct alignas(64) Cell {
  Aggregate aggregate;
  const SeriesEntry* series = nullptr;
  int32_t sketch = -1;         // its number in the delta, for distributions
  uint32_t next = UINT32_MAX;  // the next cell of its bin, by number
};
static_assert(sizeof(Cell) == 128);

// Everything folded since the last flush.
class Delta {
 public:
  // `bin_seconds`: width of the finest tier's bins.
  explicit Delta(int64_t bin_seconds);
  ~Delta();

  // Folds a block; numbers[i] is the series of sample i.
  // REQUIRES: numbers.size() == block.size(); floats are finite; no points.
  void Fold(const SeriesIndex& series, absl::Span<const SeriesNumber> numbers,
            const frame::Block& block);

  // Merges what is known of some samples at one time, a point's increase;
  // `sketch` is that of distributions.
  void Merge(const SeriesIndex& series, SeriesNumber number, int64_t event_unix_nano,
             const Aggregate& aggregate, const Sketch* sketch);

  // Visits every cell: bins ascending, cells of a bin in the order they were
  // created. `sketch` is null unless the series is a distribution.
  void ForEach(
      absl::FunctionRef<void(int64_t start_seconds, const Cell& cell, const Sketch* sketch)> visit)
      const;

  bool empty() const { return sample_count_ == 0; }
  int64_t sample_count() const { return sample_count_; }
  int64_t cell_count() const;
  // Roughly what its cells, bins and sketches take; not what is kept for reuse.
  size_t memory_bytes() const;

  // Forgets everything but keeps memory for the next round: at most what this
  // round used or half of what was kept before, so that a spike is given back.
  void Clear();

 private:
  struct Bin;
  // The cells, sketches and bins, and the bin that was folded into last.
  struct State;

  template <typename Value>
  void FoldAs(const SeriesIndex& series, absl::Span<const SeriesNumber> numbers,
              const frame::Block& block);

  int64_t sample_count_ = 0;
  const std::unique_ptr<State> state_;
};

}  // namespace weir::aggregator
