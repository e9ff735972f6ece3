// What is let in: names, labels, kinds, values and times within limits. A bad
// sample is rejected alone, with its reason; its neighbours are kept.
//
// Thread safety: thread-compatible; functions are pure.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/alias/value_rule.h"
#include "common/base/check.h"
#include "common/frame/block.h"
#include "common/model/series.h"
#include "common/point/point.h"
#include "services/collector/batch.h"
#include "services/collector/series_table.h"

namespace weir::collector {

// Why a sample is rejected. The values are those of weir.v1.ErrorReason, which
// documents them; convert.cc checks that they stay the same.
enum class Reject {
  kNameInvalid = 32,
  kLabelInvalid = 33,
  kTooManyLabels = 34,
  kKindInvalid = 35,
  kValueMissing = 36,
  kValueNotFinite = 37,
  kValueNegative = 38,
  kTimeTooOld = 39,
  kTimeInFuture = 40,
  kSeriesUndefined = 41,
  kMetricUnsupported = 42,
  kColumnsUneven = 43,
  kHistogramInvalid = 44,
  kSeriesLimit = 45,
  kValueOutOfRange = 46,
};

// Samples of one request rejected for one reason.
struct Rejected {
  Reject reason;
  int64_t count = 0;
  std::string message;  // the first of them, in words
};

// Gathers rejections, one entry per reason.
class Rejections {
 public:
  void Add(Reject reason, std::string_view message, int64_t count = 1);
  int64_t count() const { return count_; }
  const std::vector<Rejected>& list() const { return list_; }

 private:
  std::vector<Rejected> list_;
  int64_t count_ = 0;
};

struct Limits {
  int64_t max_name_bytes = 256;
  int64_t max_labels = 32;
  int64_t max_label_name_bytes = 128;
  int64_t max_label_value_bytes = 1024;
  int64_t max_series_bytes = 8192;  // names and values of all labels
  // How far ahead of our clock an event time may be.
  absl::Duration max_future = absl::Minutes(10);
  // How far back: the longest retention.
  absl::Duration max_age = absl::Hours(400 * 24);
  // Those of the series' handles, whose table is made with the same aliases.
  absl::Span<const ValueRule> value_rules;
};

// A rejection in the making.
struct SeriesError {
  Reject reason;
  std::string message;
};

// Whether text is UTF-8 (no surrogates, no overlong forms, at most U+10FFFF)
// without NUL, which PostgreSQL could not store.
bool AcceptableText(std::string_view text);

// Checks a series and puts its labels in order; labels with empty values are
// left out, since they mean the same as absent ones.
std::optional<SeriesError> AdmitSeries(const Limits& limits, Series* series);

// The instants between which event times are admitted, Unix nanoseconds, both
// inclusive.
struct TimeBounds {
  int64_t oldest = 0;
  int64_t newest = 0;
};
TimeBounds TimeBoundsAt(const Limits& limits, absl::Time now);

// Builds one batch.
class BatchBuilder {
 public:
  // Starts a batch admitted at `now`, which is thought to have so many samples.
  void Start(const Limits& limits, absl::Time now, size_t sample_count = 0);

  // Each returns whether the sample was admitted; if not, it is in rejections().
  bool AddFloat(const SeriesHandle& series, int64_t event_unix_nano, double value) {
    if (series.rule != 0) [[unlikely]]
      return AddByRule(series, event_unix_nano, value);
    if (!TimeAdmitted(event_unix_nano)) [[unlikely]]
      return RejectTime(event_unix_nano);
    if (!std::isfinite(value)) [[unlikely]]
      return RejectNotFinite(value);
    if (series.kind == Kind::kCounter && value < 0) [[unlikely]]
      return RejectNegative(value);
    batch_.samples.push_back(Sample(series, event_unix_nano, value));
    return true;
  }
  bool AddInteger(const SeriesHandle& series, int64_t event_unix_nano, int64_t value) {
    if (series.rule != 0) [[unlikely]]
      return AddByRule(series, event_unix_nano, value);
    if (!TimeAdmitted(event_unix_nano)) [[unlikely]]
      return RejectTime(event_unix_nano);
    if (series.kind == Kind::kCounter && value < 0) [[unlikely]]
      return RejectNegative(value);
    batch_.samples.push_back(Sample(series, event_unix_nano, value));
    return true;
  }

  // REQUIRES: a histogram or a part of one for a distribution, a cumulative number for a
  // counter of either kind; one that the series' rule scales exactly (ScalesExactly). A
  // part that is finite has the value that AppendPoint requires.
  bool AddPoint(const SeriesHandle& series, int64_t event_unix_nano, const Point& point);

  // Adds whole columns in one sweep without a branch per sample: sample i is
  // values[i] of series[refs[i]] at base_unix_nano plus the deltas up to its own.
  // Adds nothing and returns false when there is anything to look at more
  // closely, which most often is a sample to reject: then each is to be added by
  // itself. `Value` is double or int64_t. REQUIRES: columns of equal length; no
  // series with a rule, which is for the caller to find out once, not per sample.
  template <typename Value>
  bool TryAddColumns(absl::Span<const SeriesHandle> series, absl::Span<const uint32_t> refs,
                     int64_t base_unix_nano, absl::Span<const int64_t> time_deltas,
                     absl::Span<const Value> values);

  // Whether a point of `series` can be added; else its series is to be interned
  // under its own name.
  bool ScalesExactly(const SeriesHandle& series, const Point& point) const {
    return series.rule == 0 || ScaledPoint(RuleOf(series), point).has_value();
  }

  void Reject(enum Reject reason, std::string_view message, int64_t count = 1) {
    rejections_.Add(reason, message, count);
  }

  const Rejections& rejections() const { return rejections_; }
  int64_t sample_count() const { return batch_.sample_count(); }

  // Takes what was added.
  AdmittedBatch Build() {
    // What was reserved for samples that were rejected is kept for the next ones.
    return sample_count() == 0 ? AdmittedBatch() : std::exchange(batch_, {});
  }

 private:
  template <typename Value>
  static constexpr frame::ValueType TypeOf() {
    return std::is_same_v<Value, double> ? frame::ValueType::kFloat : frame::ValueType::kInteger;
  }
  template <typename Value>
  static AdmittedSample Sample(const SeriesHandle& series, int64_t event_unix_nano, Value value) {
    return {.event_unix_nano = event_unix_nano,
            .bits = std::bit_cast<uint64_t>(value),
            .series = series.number,
            .slot = series.slot,
            .type = TypeOf<Value>()};
  }
  bool TimeAdmitted(int64_t event_unix_nano) const {
    return event_unix_nano >= bounds_.oldest && event_unix_nano <= bounds_.newest;
  }
  const ValueRule& RuleOf(const SeriesHandle& series) const {
    WEIR_CHECK(series.rule < value_rules_.size());
    return value_rules_[series.rule];
  }
  bool AddByRule(SeriesHandle series, int64_t event_unix_nano, double value);
  bool AddByRule(SeriesHandle series, int64_t event_unix_nano, int64_t value);
  bool InRangeOrReject(const ValueRule& rule, double value);
  // Each returns false.
  bool RejectTime(int64_t event_unix_nano);
  bool RejectNotFinite(double value);
  template <typename Value>
  bool RejectNegative(Value value);

  AdmittedBatch batch_;
  Rejections rejections_;
  TimeBounds bounds_;
  absl::Span<const ValueRule> value_rules_;
};

}  // namespace weir::collector
