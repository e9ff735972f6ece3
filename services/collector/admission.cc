#include "services/collector/admission.h"

#include <algorithm>
#include <array>
#include <limits>

#include "absl/strings/str_format.h"
#include "common/base/bytes.h"
#include "common/base/strings.h"

namespace weir::collector {
namespace {

// What an error message shows of a client's text: short, and printable.
std::string Shown(std::string_view text) {
  constexpr size_t kMost = 48;
  std::string shown;
  for (const char c : text.substr(0, kMost)) {
    if (c >= 0x20 && c < 0x7f) {
      shown.push_back(c);
    } else {
      absl::StrAppendFormat(&shown, "\\x%02x", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > kMost) shown += "...";
  return shown;
}

std::string ShownTime(int64_t unix_nano) {
  return absl::FormatTime(absl::RFC3339_full, absl::FromUnixNanos(unix_nano), absl::UTCTimeZone());
}

// The length of the character that starts `text`, or 0 when it is none.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) -> unsigned { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](size_t i) { return i < text.size() && (byte(i) & 0xc0) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    if (first == 0xe0 && byte(1) < 0xa0) return 0;  // overlong
    if (first == 0xed && byte(1) > 0x9f) return 0;  // surrogate
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (first == 0xf0 && byte(1) < 0x90) return 0;  // overlong
    if (first == 0xf4 && byte(1) > 0x8f) return 0;  // above U+10FFFF
    return 4;
  }
  return 0;
}

}  // namespace

void Rejections::Add(Reject reason, std::string_view message, int64_t count) {
  count_ += count;
  for (Rejected& rejected : list_) {
    if (rejected.reason == reason) {
      rejected.count += count;
      return;
    }
  }
  list_.push_back({.reason = reason, .count = count, .message = std::string(message)});
}

bool AcceptableText(std::string_view text) {
  constexpr uint64_t kEach = 0x0101010101010101;
  while (!text.empty()) {
    // Most text is ASCII: eight characters at once, none of them 0 or 128 and more.
    if (text.size() >= sizeof(uint64_t)) {
      const auto eight = LoadFixed<uint64_t>(text.data());
      if (((eight | (eight - kEach)) & (kEach << 7)) == 0) {
        text.remove_prefix(sizeof(uint64_t));
        continue;
      }
    }
    const size_t length = CharacterBytes(text);
    if (length == 0 || text[0] == '\0') return false;
    text.remove_prefix(length);
  }
  return true;
}

std::optional<SeriesError> AdmitSeries(const Limits& limits, Series* series) {
  const int kind = static_cast<int>(series->kind);
  if (kind < 1 || kind > kMaxKind) {
    return SeriesError{Reject::kKindInvalid,
                       StrCat("metric '", Shown(series->name), "' has kind ", kind,
                              "; allowed are KIND_GAUGE, KIND_COUNTER, "
                              "KIND_UP_DOWN_COUNTER and KIND_DISTRIBUTION")};
  }
  if (series->name.empty() || !AcceptableText(series->name) ||
      static_cast<int64_t>(series->name.size()) > limits.max_name_bytes) {
    return SeriesError{
        Reject::kNameInvalid,
        StrCat("metric name '", Shown(series->name), "' of ", series->name.size(),
               " bytes; allowed are 1 to ", limits.max_name_bytes, " bytes of UTF-8 without NUL")};
  }
  std::erase_if(series->labels, [](const Label& label) { return label.value.empty(); });
  if (static_cast<int64_t>(series->labels.size()) > limits.max_labels) {
    return SeriesError{Reject::kTooManyLabels,
                       StrCat("metric '", Shown(series->name), "' has ", series->labels.size(),
                              " labels; at most ", limits.max_labels, " are allowed")};
  }
  int64_t bytes = 0;
  for (const Label& label : series->labels) {
    bytes += static_cast<int64_t>(label.name.size() + label.value.size());
    if (label.name.empty() || !AcceptableText(label.name) ||
        static_cast<int64_t>(label.name.size()) > limits.max_label_name_bytes) {
      return SeriesError{Reject::kLabelInvalid,
                         StrCat("label name '", Shown(label.name), "' of ", label.name.size(),
                                " bytes; allowed are 1 to ", limits.max_label_name_bytes,
                                " bytes of UTF-8 without NUL")};
    }
    if (!AcceptableText(label.value) ||
        static_cast<int64_t>(label.value.size()) > limits.max_label_value_bytes) {
      return SeriesError{Reject::kLabelInvalid,
                         StrCat("value of label '", Shown(label.name), "' is '", Shown(label.value),
                                "' of ", label.value.size(), " bytes; allowed are up to ",
                                limits.max_label_value_bytes, " bytes of UTF-8 without NUL")};
    }
  }
  if (bytes > limits.max_series_bytes) {
    return SeriesError{Reject::kTooManyLabels,
                       StrCat("the labels of metric '", Shown(series->name), "' take ", bytes,
                              " bytes; at most ", limits.max_series_bytes, " are allowed")};
  }
  if (!SortLabels(&series->labels)) {
    return SeriesError{Reject::kLabelInvalid,
                       StrCat("metric '", Shown(series->name), "' has a label twice")};
  }
  return std::nullopt;
}

TimeBounds TimeBoundsAt(const Limits& limits, absl::Time now) {
  return {.oldest = absl::ToUnixNanos(now - limits.max_age),
          .newest = absl::ToUnixNanos(now + limits.max_future)};
}

void BatchBuilder::Start(const Limits& limits, absl::Time now, size_t sample_count) {
  batch_.samples.reserve(sample_count);
  rejections_ = {};
  bounds_ = TimeBoundsAt(limits, now);
  value_rules_ = limits.value_rules;
}

bool BatchBuilder::RejectTime(int64_t event_unix_nano) {
  if (event_unix_nano < bounds_.oldest) {
    rejections_.Add(Reject::kTimeTooOld,
                    StrCat("event time ", ShownTime(event_unix_nano), "; allowed is ",
                           ShownTime(bounds_.oldest), " and later"));
  } else {
    rejections_.Add(Reject::kTimeInFuture,
                    StrCat("event time ", ShownTime(event_unix_nano), "; allowed is up to ",
                           ShownTime(bounds_.newest)));
  }
  return false;
}

bool BatchBuilder::RejectNotFinite(double value) {
  rejections_.Add(Reject::kValueNotFinite,
                  StrCat("value ", value, "; only finite values are allowed"));
  return false;
}

template <typename Value>
bool BatchBuilder::RejectNegative(Value value) {
  rejections_.Add(Reject::kValueNegative,
                  StrCat("a counter increased by ", value,
                         "; allowed are 0 and more, or KIND_UP_DOWN_COUNTER"));
  return false;
}
template bool BatchBuilder::RejectNegative(double value);
template bool BatchBuilder::RejectNegative(int64_t value);

bool BatchBuilder::InRangeOrReject(const ValueRule& rule, double value) {
  // What is not finite is rejected as such.
  if (!std::isfinite(value) || InRange(rule, value)) return true;
  rejections_.Add(Reject::kValueOutOfRange,
                  StrCat("value ", value, " of '", rule.metric, "'; allowed are ", rule.least,
                         " to ", rule.most));
  return false;
}

bool BatchBuilder::AddByRule(SeriesHandle series, int64_t event_unix_nano, double value) {
  const ValueRule& rule = RuleOf(series);
  const double scaled = Scaled(rule, value);
  if (!InRangeOrReject(rule, scaled)) return false;
  series.rule = 0;
  return AddFloat(series, event_unix_nano, scaled);
}

bool BatchBuilder::AddByRule(SeriesHandle series, int64_t event_unix_nano, int64_t value) {
  const ValueRule& rule = RuleOf(series);
  const PointValue scaled = ScaledNumber(rule, value);
  if (!InRangeOrReject(rule, NumberOf(scaled))) return false;
  series.rule = 0;
  const auto* integer = std::get_if<int64_t>(&scaled);
  return integer != nullptr ? AddInteger(series, event_unix_nano, *integer)
                            : AddFloat(series, event_unix_nano, NumberOf(scaled));
}

bool BatchBuilder::AddPoint(const SeriesHandle& series, int64_t event_unix_nano,
                            const Point& point) {
  if (series.rule != 0) {
    const std::optional<Point> scaled = ScaledPoint(RuleOf(series), point);
    if (!scaled.has_value()) {
      rejections_.Add(Reject::kHistogramInvalid,
                      "an exponential histogram has buckets that its alias cannot scale exactly");
      return false;
    }
    SeriesHandle unruled = series;
    unruled.rule = 0;
    return AddPoint(unruled, event_unix_nano, *scaled);
  }
  if (!TimeAdmitted(event_unix_nano)) return RejectTime(event_unix_nano);
  if (point.cumulative && series.overflow) {
    rejections_.Add(Reject::kSeriesLimit,
                    "a running total of a series past the limit: what it adds cannot be told; "
                    "send fewer series, or delta temporality");
    return false;
  }
  if (const auto* histogram = std::get_if<Histogram>(&point.value)) {
    if (const absl::Status valid = ValidateHistogram(*histogram); !valid.ok()) {
      rejections_.Add(Reject::kHistogramInvalid,
                      StrCat("a histogram has ", StdView(valid.message())));
      return false;
    }
  } else {
    const double value = NumberOf(point.value);
    if (!std::isfinite(value)) return RejectNotFinite(value);
    if (series.kind == Kind::kCounter && value < 0) return RejectNegative(value);
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (point.part.has_value() && !(point.part->upper_bound > -kInfinity)) {
      rejections_.Add(Reject::kHistogramInvalid,
                      StrCat("a histogram has a bucket up to ", point.part->upper_bound));
      return false;
    }
  }
  const size_t begin = batch_.points.size();
  AppendPoint(point, &batch_.points);
  batch_.samples.push_back({.event_unix_nano = event_unix_nano,
                            .bits = uint64_t{begin} << 32 | (batch_.points.size() - begin),
                            .series = series.number,
                            .slot = series.slot,
                            .type = frame::ValueType::kPoint});
  return true;
}

template <typename Value>
bool BatchBuilder::TryAddColumns(absl::Span<const SeriesHandle> series,
                                 absl::Span<const uint32_t> refs, int64_t base_unix_nano,
                                 absl::Span<const int64_t> time_deltas,
                                 absl::Span<const Value> values) {
  constexpr uint64_t kExponent = uint64_t{0x7ff} << 52;  // all ones: not finite
  constexpr size_t kRound = 64;
  if (series.empty()) return refs.empty();
  const size_t before = batch_.samples.size();
  // One comparison for both bounds: what is below the oldest wraps around.
  const auto oldest = static_cast<uint64_t>(bounds_.oldest);
  const uint64_t span = static_cast<uint64_t>(bounds_.newest) - oldest;
  auto time = static_cast<uint64_t>(base_unix_nano);
  bool doubtful = false;
  for (size_t begin = 0; begin < refs.size() && !doubtful; begin += kRound) {
    std::array<AdmittedSample, kRound> round;
    const size_t count = std::min(kRound, refs.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      const uint32_t ref = refs[begin + i];
      const bool known = ref < series.size();
      const SeriesHandle& handle = series[known ? ref : 0];
      // Sums wrap around rather than overflow; where that lands is checked.
      time += static_cast<uint64_t>(time_deltas[begin + i]);
      const auto bits = std::bit_cast<uint64_t>(values[begin + i]);
      // Field by field: a whole sample would be put together in memory first.
      AdmittedSample& sample = round[i];
      sample.event_unix_nano = static_cast<int64_t>(time);
      sample.bits = bits;
      sample.series = handle.number;
      sample.slot = handle.slot;
      sample.type = TypeOf<Value>();
      doubtful |= !known;
      doubtful |= handle.number == kNoSeries;
      doubtful |= time - oldest > span;
      if constexpr (std::is_same_v<Value, double>) doubtful |= (bits & kExponent) == kExponent;
      // The sign bit, in either representation.
      doubtful |= (handle.kind == Kind::kCounter) & (bits >> 63 != 0);
    }
    batch_.samples.insert(batch_.samples.end(), round.begin(), round.begin() + count);
  }
  if (doubtful) batch_.samples.resize(before);
  return !doubtful;
}
template bool BatchBuilder::TryAddColumns(absl::Span<const SeriesHandle>,
                                          absl::Span<const uint32_t>, int64_t,
                                          absl::Span<const int64_t>, absl::Span<const double>);
template bool BatchBuilder::TryAddColumns(absl::Span<const SeriesHandle>,
                                          absl::Span<const uint32_t>, int64_t,
                                          absl::Span<const int64_t>, absl::Span<const int64_t>);

}  // namespace weir::collector
