// Every series this process has seen, numbered densely.
//
// Thread safety: thread-safe. Interning takes a lock; the paths that see each
// sample cache what they got.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "common/alias/alias_table.h"
#include "common/base/mutex.h"
#include "common/model/overflow_tally.h"
#include "common/model/series.h"
#include "services/collector/batch.h"

namespace weir::collector {

// No series has this number.
inline constexpr SeriesNumber kNoSeries = UINT32_MAX;

struct SeriesHandle {
  SeriesNumber number = kNoSeries;
  uint16_t slot = 0;
  Kind kind = Kind::kGauge;
  bool overflow : 1 = false;  // many series past the limit share it
  // How its values are taken in (AliasTable::value_rules); 0: as they are.
  uint8_t rule : 7 = 0;
};
static_assert(sizeof(SeriesHandle) == 8);
static_assert(AliasTable::kMaxRules == 1 << 7);

class SeriesTable {
 public:
  // Told of each series past the limit, once: its metric name, or weir.overflow
  // when there were more names than may be told apart (kMaxOverflowedMetrics).
  using Overflowed = std::function<void(const std::string& metric)>;
  static constexpr size_t kMaxOverflowedMetrics = 100;

  // `max_series`: later ones become the overflow series of their metric, which
  // keeps the totals. In [1, 2^31). `overflowed` is called by whoever interns,
  // without a lock. `aliases` outlives this; null for none.
  SeriesTable(int slot_count, int64_t max_series, Overflowed overflowed = nullptr,
              const AliasTable* aliases = nullptr);

  // The series as it is known from here on: an alias under its canonical name, whose
  // rule the handle has. REQUIRES: `series` was admitted (its labels are sorted).
  SeriesHandle Intern(const Series& series);

  // The series under its own name though that is an alias: for points that the
  // alias's rule cannot scale exactly. REQUIRES: as Intern.
  SeriesHandle InternUnaliased(const Series& series);

  // What goes into a frame (AppendSeries); valid for ever.
  std::string_view Definition(SeriesNumber number) const;

  int64_t size() const;
  // Different series past the limit, as far as they can be told apart.
  int64_t overflowed_count() const;
  int slot_count() const { return slot_count_; }

 private:
  using HandleMap = absl::flat_hash_map<std::string_view, SeriesHandle>;

  const AliasTable::Alias* AliasOf(const Series& series) const;
  void Tell(const std::string& overflowed_metric) const;
  // Each finds or adds a series, and sets the name to tell when it is the first time
  // that one is past the limit.
  SeriesHandle InternNamed(const Series& series, std::string bytes, uint8_t rule,
                           HandleMap* handles, std::string* overflowed_metric)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  SeriesHandle InternAliased(const Series& series, const AliasTable::Alias& alias,
                             std::string bytes, std::string* overflowed_metric)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  SeriesHandle InternOverflow(const Series& series, const std::string& bytes,
                              std::string* overflowed_metric) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  SeriesHandle Add(std::string bytes, const SeriesHandle& like, HandleMap* handles)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int slot_count_;
  const int64_t max_series_;
  const Overflowed overflowed_;
  const AliasTable* const aliases_;

  mutable Mutex mu_;
  std::deque<std::string> definitions_ ABSL_GUARDED_BY(mu_);
  // By their bytes as they arrive, so that one look-up finds an alias as well.
  HandleMap handles_ ABSL_GUARDED_BY(mu_);
  HandleMap unaliased_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> alias_bytes_ ABSL_GUARDED_BY(mu_);  // keys of aliases
  OverflowTally tally_ ABSL_GUARDED_BY(mu_){1'000'000, kMaxOverflowedMetrics};
};

}  // namespace weir::collector
