// Classic histograms out of their parts.
//
// Prometheus has a series for each bucket of a histogram, for its sum and for its
// count. One scrape of them comes in several requests, in any order between the
// series, though in order of time within each. A scrape, which is all parts of one
// time, is whole once every part that is waited for has come for that time or a later
// one. Then it is a cumulative histogram like any other:
//
//   parts ──Add──> scrapes of a series ──whole──> CumulativeTable ──increase──> bin
//
// A part is waited for from when it is first met until its series ends or nothing came
// of it for max_silence of event time. While no part is waited for, at first and after
// all have ended or fallen silent, it is not known which parts there are: then the
// first scrape waits for two later times to begin. At most max_waiting scrapes wait,
// with max_waiting_values values; then the oldest is taken as it is. A part whose scrape
// has been taken is late and adds nothing, but is waited for from then on.
//
// Like the table of running totals, what waits is part of what a flush commits
// (docs/formats/parts.md).
//
// Thread safety: thread-compatible; owned by the delivery thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/point/point.h"
#include "services/aggregator/cumulative.h"
#include "services/aggregator/fold.h"

namespace weir::aggregator {

struct AssemblyOptions {
  // A part that has been silent for this long, by event times, is not waited for.
  absl::Duration max_silence = absl::Minutes(10);
  // The most scrapes of one series that wait, and values in them, missing ones too.
  size_t max_waiting = 64;
  size_t max_waiting_values = 16 << 10;
};

// Takes a scrape that is whole.
using TakeHistogram = absl::FunctionRef<void(int64_t time_unix_nano, const Point& histogram)>;

// One series'.
class HistogramAssembly {
 public:
  enum class Outcome {
    kTaken,
    kLate,     // its scrape is done, or has it already: adds nothing
    kTooMany,  // the series has kMaxParts parts already: adds nothing
  };
  // Bounds are one less than buckets.
  static constexpr size_t kMaxBounds = kMaxHistogramBuckets - 1;
  // With the bucket that has no bound, the sum and the count.
  static constexpr size_t kMaxParts = kMaxBounds + 3;

  // Adds a part; `take` is called for each scrape that is whole with it, in order of
  // time. REQUIRES: point.part.
  Outcome Add(const AssemblyOptions& options, int64_t time_unix_nano, const Point& point,
              TakeHistogram take);

  // Scrapes that were taken and are no histogram: they have neither a count nor the
  // bucket that has no bound.
  int64_t TakeIncomplete() { return std::exchange(incomplete_, 0); }

  int64_t newest_unix_nano() const { return newest_; }

  // docs/formats/parts.md.
  void AppendTo(std::string* out) const;
  // Errors: DataLoss for anything AppendTo cannot have written.
  static absl::StatusOr<HistogramAssembly> Parse(std::string_view bytes);

 private:
  struct Part {
    HistogramPart::Role role = HistogramPart::Role::kBucket;
    double upper_bound = 0;
    bool awaited = true;
    int64_t last_unix_nano = 0;
  };
  struct Scrape {
    int64_t time_unix_nano = 0;
    int64_t start_unix_nano = 0;  // the latest of its parts'
    // Of parts_[i], if it has come; what is missing at the end has not.
    std::vector<std::optional<double>> values;
  };

  // nullopt when there are too many.
  std::optional<size_t> FindOrAddPart(const HistogramPart& part);
  Scrape& FindOrAddScrape(const AssemblyOptions& options, int64_t time);
  void TakeWhole(const AssemblyOptions& options, TakeHistogram take);
  bool FrontIsWhole(const AssemblyOptions& options) const;
  // nullopt when it is incomplete.
  std::optional<Point> Assemble(const Scrape& scrape) const;
  // REQUIRES: a scrape waits.
  bool IsBehind(const Part& part) const;
  void CountBehind();
  bool AwaitsNone() const;
  // Forgets parts that are not awaited. REQUIRES: no scrape waits.
  void ForgetParts();

  std::vector<Part> parts_;     // by when they were met
  std::deque<Scrape> scrapes_;  // waiting, by time
  int64_t newest_ = INT64_MIN;  // the latest time met
  int64_t taken_until_ = INT64_MIN;
  bool learning_ = true;  // which parts there are is not known
  // For speed: the part found last; the awaited parts that have not come for the front
  // scrape's time or a later one.
  size_t last_found_ = 0;
  size_t behind_ = 0;
  size_t waiting_values_ = 0;  // of all scrapes, missing ones too
  int64_t incomplete_ = 0;
};

// All series'.
class AssemblyTable {
 public:
  // Rows of the store that hold parts have this start, which no running total has.
  static constexpr int64_t kPartsStart = -1;

  explicit AssemblyTable(AssemblyOptions options) : options_(options) {}

  // As HistogramAssembly.
  HistogramAssembly::Outcome Add(SeriesNumber series, int64_t time_unix_nano, const Point& point,
                                 TakeHistogram take);

  // Takes over a row of the store. Errors: DataLoss.
  absl::Status Restore(SeriesNumber series, std::string_view bytes);

  // Appends a row for each series that has changed since the last call.
  void TakeChanges(const SeriesIndex& series, CumulativeChanges* changes);

  int64_t incomplete_count() const { return incomplete_; }

 private:
  struct Entry {
    HistogramAssembly assembly;
    bool changed = false;
  };

  AssemblyOptions options_;
  absl::flat_hash_map<SeriesNumber, std::unique_ptr<Entry>> entries_;
  std::vector<SeriesNumber> changed_;
  int64_t incomplete_ = 0;
};

}  // namespace weir::aggregator
