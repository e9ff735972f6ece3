// Running totals into increases: remembers, for every series and start time, the
// last point it has seen.
//
// A client that restarts begins anew with a later start; two clients that share a
// series by mistake have different starts; so each start is followed by itself.
// Points of one start count by their difference. What the first of a start counts:
//
//   no start: 0, or the time of the point itself (unless that is
//   certain to be one)                                             nothing: a baseline
//   the start lies after the newest start that is known, and not
//   before that one's last point                                   all of it
//   the series is known, but none of its starts: it may be one     nothing: a baseline
//   the start lies at most max_first_age before the point          all of it
//   otherwise                                                      nothing: a baseline
//
// A value that falls began anew under the same start, and all of it counts. One that
// cannot be compared with the last (a histogram of the other sort) is a baseline too. A
// point that is not after the last one of its start adds nothing.
//
// The table is part of what a flush commits: TakeChanges gives what has changed
// since the last one, so that the store's rows are always those of the committed
// watermarks.
//
// Thread safety: thread-compatible; owned by the delivery thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/point/point.h"
#include "services/aggregator/fold.h"

namespace weir::aggregator {

struct CumulativeOptions {
  // How long before the first point of a series that is not known its start may
  // lie for all of it to count. Later, it may have been counted elsewhere.
  absl::Duration max_first_age = absl::Minutes(10);
  // The most starts followed per series; then the one whose last point is oldest goes.
  size_t max_starts = 4;
};

// What a cumulative point was.
enum class CumulativeOutcome {
  kIncrease,  // the difference to the one before
  kFirst,     // the first of its start, counted in full
  kReset,     // a value below the one before, counted in full
  kBaseline,  // remembered, not counted
  kLate,      // not after the last one: adds nothing
};

// What a flush writes of the table (and of what waits to enter it, assembly.h).
struct CumulativeChanges {
  struct Row {
    const SeriesEntry* series = nullptr;
    int64_t start_unix_nano = 0;
    int64_t time_unix_nano = 0;
    std::string point;
  };
  struct Key {
    const SeriesEntry* series = nullptr;
    int64_t start_unix_nano = 0;
  };
  std::vector<Row> rows;
  std::vector<Key> dropped;
};

class CumulativeTable {
 public:
  explicit CumulativeTable(CumulativeOptions options) : options_(options) {}

  // What `point` adds to its series; nullopt when nothing. `monotonic`: whether
  // numbers can only rise. REQUIRES: point.cumulative.
  std::optional<PointValue> Advance(SeriesNumber series, bool monotonic, int64_t time_unix_nano,
                                    const Point& point, CumulativeOutcome* outcome);

  // Takes over a row of the store.
  // Errors: DataLoss when `point` is not a cumulative point of that start.
  absl::Status Restore(SeriesNumber series, int64_t start_unix_nano, int64_t time_unix_nano,
                       std::string point);

  // What has changed since the last call.
  CumulativeChanges TakeChanges(const SeriesIndex& series);

  int64_t size() const { return size_; }
  // Starts that lay before the last point of another start of their series, after which
  // that one was to end: two clients share a series.
  int64_t overlap_count() const { return overlap_count_; }

 private:
  // The last point of one start, as its bytes: most are a number, and few are
  // looked at between two flushes.
  struct Start {
    int64_t unix_nano = 0;
    int64_t time_unix_nano = 0;
    bool changed = false;
    std::string point;
  };
  using Starts = absl::InlinedVector<Start, 1>;

  CumulativeOutcome Judge(const Starts& starts, const Point& point, int64_t time) const;
  void Remember(SeriesNumber series, Start* start, int64_t time_unix_nano, const Point& point);

  CumulativeOptions options_;
  absl::flat_hash_map<SeriesNumber, Starts> series_;
  int64_t size_ = 0;  // starts
  int64_t overlap_count_ = 0;
  std::vector<std::pair<SeriesNumber, int64_t>> changed_;
  std::vector<std::pair<SeriesNumber, int64_t>> dropped_;
};

}  // namespace weir::aggregator
