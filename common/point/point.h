// Measurements that are more than one number at one time: running totals and
// histograms, kept as they were sent until the slot's owner turns them into what
// a bin holds.
//
//   Point ──AppendPoint──> WAL ──ParsePoint──> Increase(previous, this) ──Observe──> bin
//
// Running totals cannot be turned into increases where they arrive, since the
// next one of a series may arrive at another collector. So both the log and the
// store's record of a series' last point have these bytes
// (docs/formats/frame.md, "Points").
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model/aggregate.h"
#include "common/sketch/sketch.h"

namespace weir {

// Counts of values in (bounds[i-1], bounds[i]], the first from below and the last
// without an upper end: OTLP's explicit bounds and Prometheus' classic `le`.
struct ExplicitBuckets {
  std::vector<double> bounds;  // finite, rising
  // One more than bounds; or none at all, and no bounds, when only count and sum
  // are known.
  std::vector<int64_t> counts;
  friend bool operator==(const ExplicitBuckets&, const ExplicitBuckets&) = default;
};

// Counts of values in (base^i, base^(i+1)], base = 2^(2^-scale), for i from the
// offset on; negative ones by magnitude. OTLP's exponential histogram.
struct ExponentialBuckets {
  struct Side {
    int32_t offset = 0;
    std::vector<int64_t> counts;
    friend bool operator==(const Side&, const Side&) = default;
  };
  int32_t scale = 0;  // -10 to 20
  int64_t zero_count = 0;
  double zero_threshold = 0;  // magnitudes up to it are counted as zeros
  Side positive;
  Side negative;
  friend bool operator==(const ExponentialBuckets&, const ExponentialBuckets&) = default;
};

struct Histogram {
  int64_t count = 0;  // what its buckets add up to, where there are buckets
  std::optional<double> sum;
  std::optional<double> min;
  std::optional<double> max;
  std::variant<ExplicitBuckets, ExponentialBuckets> buckets;
  friend bool operator==(const Histogram&, const Histogram&) = default;
};

using PointValue = std::variant<int64_t, double, Histogram>;

// REQUIRES: a number, no histogram.
inline double NumberOf(const PointValue& value) {
  const auto* integer = std::get_if<int64_t>(&value);
  return integer != nullptr ? static_cast<double>(*integer) : std::get<double>(value);
}

// Which number of a histogram a point has, where each of them is a series of its
// own: the classic histograms of Prometheus. Only the slot's owner has them all
// (services/aggregator/assembly.h).
struct HistogramPart {
  enum class Role : uint8_t { kBucket, kSum, kCount };
  Role role = Role::kBucket;
  // Of a bucket: the largest value it counts, with all smaller ones. May be infinite.
  double upper_bound = 0;
  // Whether its series has ended: `value` means nothing.
  bool gone = false;
  friend bool operator==(const HistogramPart&, const HistogramPart&) = default;
};

struct Point {
  // Whether `value` is everything since `start_unix_nano`; otherwise what came
  // since the point before.
  bool cumulative = false;
  int64_t start_unix_nano = 0;  // of cumulative points, from 1970 on; 0: unknown
  // Whether a start that is the point's own time is one all the same. The OpenTelemetry
  // data model says that it stands for one that is not known, and collectors that
  // scrape use it so; some SDKs give it to what was first measured in an export.
  bool certain_start = false;
  // Only of cumulative numbers.
  std::optional<HistogramPart> part;
  PointValue value;
  friend bool operator==(const Point&, const Point&) = default;
};

// No count of a part of a histogram is larger: Prometheus sends doubles, which are not
// exact beyond.
inline constexpr int64_t kMaxPartCount = int64_t{1} << 53;

// The most buckets one histogram may have, both signs together.
inline constexpr size_t kMaxHistogramBuckets = 4096;

// What is wrong with a histogram that was sent: counts that are negative or do not
// add up, bounds that do not rise, numbers that are not finite, a scale or index
// no double has, min above max, too many buckets.
// Errors: InvalidArgument, in words for whoever sent it.
absl::Status ValidateHistogram(const Histogram& histogram);

// REQUIRES: ValidateHistogram is OK for histograms; doubles are finite; of a part, but
// for a sum, the value is an integer in [0, kMaxPartCount].
void AppendPoint(const Point& point, std::string* out);
// Errors: DataLoss for anything AppendPoint cannot have written.
absl::StatusOr<Point> ParsePoint(std::string_view bytes);

// Whether one can be taken from the other: two numbers, or two histograms that both
// have explicit buckets or both exponential ones.
bool Comparable(const PointValue& from, const PointValue& to);

// What came between two cumulative values of the same start: `to` less `from`.
// nullopt when `to` lies below `from` where values can only rise (counts always
// do; numbers when `monotonic`): it began anew, and all of it is new.
// REQUIRES: Comparable(from, to).
//
// Of explicit buckets the increase has the bounds that both have, and began anew is what
// fell up to one of them or in all: counts stay exact where a bound comes or goes, and
// where buckets were not read at one time. A histogram's increase has the extremes of `to` only as
// far as they must have come in between.
std::optional<PointValue> Increase(const PointValue& from, const PointValue& to, bool monotonic);

// Adds what `histogram` counts, all of it at one time. The aggregate's sum and
// extremes are those sent; where none were sent they are estimated from the
// buckets, as m2 always is, and `first` and `last` are the mean.
//
// Exponential buckets enter the sketch as they are. Explicit ones enter as their
// point of least relative error, 2ab / (a + b) of (a, b], and the sketch tells the
// error that makes: (b - a) / (a + b), or 1 for a bucket with no end or a zero.
// REQUIRES: ValidateHistogram is OK.
void Observe(const Histogram& histogram, int64_t event_unix_nano, Aggregate* aggregate,
             Sketch* sketch);

}  // namespace weir
