#include "tests/property/model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace weir::property {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// --- Increases -----------------------------------------------------------------

// An exponential histogram as a plain map: (sign, index at `scale`) -> count, with
// what lies at or below `threshold` among the zeros, (0, 0).
using Buckets = std::map<std::pair<int, int64_t>, int64_t>;

Buckets Spread(const ExponentialBuckets& buckets, int scale, double threshold) {
  Buckets spread;
  spread[{0, 0}] = buckets.zero_count;
  for (const int sign : {-1, 1}) {
    const ExponentialBuckets::Side& side = sign < 0 ? buckets.negative : buckets.positive;
    for (size_t i = 0; i < side.counts.size(); ++i) {
      const int64_t fine = side.offset + static_cast<int64_t>(i);
      const int64_t index = fine >> (buckets.scale - scale);
      const double end = std::exp2(static_cast<double>(index + 1) / std::exp2(scale));
      const bool zero = end <= threshold;
      spread[zero ? std::pair<int, int64_t>(0, 0) : std::pair(sign, index)] += side.counts[i];
    }
  }
  return spread;
}

// `to` less `from`, where no count falls.
std::optional<ExponentialBuckets> Less(const ExponentialBuckets& from,
                                       const ExponentialBuckets& to) {
  ExponentialBuckets less = {.scale = std::min(from.scale, to.scale),
                             .zero_threshold = to.zero_threshold};
  const bool wider = to.zero_threshold > from.zero_threshold;
  const Buckets before = Spread(from, less.scale, wider ? to.zero_threshold : 0);
  Buckets after = Spread(to, less.scale, 0);
  for (const auto& [key, count] : before) {
    after[key] -= count;
    if (after[key] < 0) return std::nullopt;
  }
  less.zero_count = after[{0, 0}];
  for (const int sign : {-1, 1}) {
    ExponentialBuckets::Side& side = sign < 0 ? less.negative : less.positive;
    for (const auto& [key, count] : after) {
      if (key.first != sign || count == 0) continue;
      if (side.counts.empty()) side.offset = static_cast<int32_t>(key.second);
      side.counts.resize(static_cast<size_t>(key.second - side.offset), 0);
      side.counts.push_back(count);
    }
  }
  return less;
}

// How many lie at or below `bound`, which is one of the buckets'.
int64_t UpTo(const ExplicitBuckets& buckets, double bound) {
  int64_t count = 0;
  for (size_t i = 0; i < buckets.bounds.size() && buckets.bounds[i] <= bound; ++i) {
    count += buckets.counts[i];
  }
  return count;
}

// `to` less `from`, by the bounds of both; without any, by none. A count up to a bound
// that falls began anew; of what contradicts itself the wider count is right.
std::optional<ExplicitBuckets> Less(const ExplicitBuckets& from, const ExplicitBuckets& to) {
  ExplicitBuckets less;
  std::vector<int64_t> rises;
  for (const double bound : to.bounds) {
    if (std::find(from.bounds.begin(), from.bounds.end(), bound) == from.bounds.end()) continue;
    less.bounds.push_back(bound);
    rises.push_back(UpTo(to, bound) - UpTo(from, bound));
  }
  const bool counted = from.counts.size() == 1 && to.counts.size() == 1;
  if (less.bounds.empty() && !counted) return less;
  const auto all = [](const ExplicitBuckets& buckets) {
    return std::accumulate(buckets.counts.begin(), buckets.counts.end(), int64_t{0});
  };
  rises.push_back(all(to) - all(from));
  if (*std::min_element(rises.begin(), rises.end()) < 0) return std::nullopt;
  int64_t below = 0;
  for (auto rise = rises.begin(); rise != rises.end(); ++rise) {
    const int64_t up_to = *std::min_element(rise, rises.end());
    less.counts.push_back(up_to - below);
    below = up_to;
  }
  return less;
}

std::optional<Histogram> Less(const Histogram& from, const Histogram& to) {
  if (to.count < from.count) return std::nullopt;
  Histogram less = {.count = to.count - from.count};
  if (const auto* after = std::get_if<ExplicitBuckets>(&to.buckets)) {
    auto buckets = Less(std::get<ExplicitBuckets>(from.buckets), *after);
    if (!buckets.has_value()) return std::nullopt;
    less.buckets = *std::move(buckets);
  } else {
    auto buckets =
        Less(std::get<ExponentialBuckets>(from.buckets), std::get<ExponentialBuckets>(to.buckets));
    if (!buckets.has_value()) return std::nullopt;
    less.buckets = *std::move(buckets);
  }
  if (from.sum.has_value() && to.sum.has_value()) less.sum = *to.sum - *from.sum;
  // An extreme that moved was met in between; one that did not says nothing.
  if (from.min.has_value() && to.min.has_value() && *to.min < *from.min) less.min = to.min;
  if (from.max.has_value() && to.max.has_value() && *to.max > *from.max) less.max = to.max;
  return less;
}

bool Subtractable(const PointValue& from, const PointValue& to) {
  const auto* before = std::get_if<Histogram>(&from);
  const auto* after = std::get_if<Histogram>(&to);
  if (before == nullptr || after == nullptr) return before == after;
  return before->buckets.index() == after->buckets.index();
}

// nullopt: it fell.
std::optional<PointValue> Less(const PointValue& from, const PointValue& to, bool monotonic) {
  if (const auto* histogram = std::get_if<Histogram>(&to)) {
    auto less = Less(std::get<Histogram>(from), *histogram);
    if (!less.has_value()) return std::nullopt;
    return *std::move(less);
  }
  const auto* before = std::get_if<int64_t>(&from);
  const auto* after = std::get_if<int64_t>(&to);
  if (before != nullptr && after != nullptr) {
    if (monotonic && *after < *before) return std::nullopt;
    return *after - *before;
  }
  if (monotonic && NumberOf(to) < NumberOf(from)) return std::nullopt;
  return NumberOf(to) - NumberOf(from);
}

// --- Contributions -------------------------------------------------------------

Contribution OfNumber(const PointValue& value) {
  Contribution added = {.count = 1, .number = true};
  const double number = NumberOf(value);
  if (const auto* integer = std::get_if<int64_t>(&value)) {
    added.integer_sum = *integer;
  } else {
    added.float_count = 1;
    added.float_sum = number;
  }
  added.value = number;
  added.min = added.max = {number, number, 1};
  added.values = {added.min};
  return added;
}

// How far the point of least relative error of (low, high] may be off.
double ErrorOf(double low, double high) {
  if (low == high) return 0;
  const bool one_sign = low > 0 || high < 0;
  if (!one_sign || std::isinf(low) || std::isinf(high)) return 1;
  return std::abs((high - low) / (high + low));
}

// Adds the bucket (low, high], as far as the histogram's extremes leave it.
void AddBucket(const Histogram& histogram, double low, double high, int64_t count,
               Contribution* added) {
  if (count == 0) return;
  low = std::clamp(histogram.min.value_or(-kInfinity), low, high);
  high = std::clamp(histogram.max.value_or(kInfinity), low, high);
  added->values.push_back({low, high, count});
}

// An estimate does not contradict the other extreme, where that was sent.
Values AtMost(const Values& values, double limit) {
  return {std::min(values.low, limit), std::min(values.high, limit), values.count};
}
Values AtLeast(const Values& values, double limit) {
  return {std::max(values.low, limit), std::max(values.high, limit), values.count};
}

Contribution OfHistogram(const Histogram& histogram) {
  Contribution added = {.count = histogram.count, .float_count = histogram.count};
  added.float_sum = histogram.sum;
  if (histogram.sum.has_value()) {
    added.value = *histogram.sum / static_cast<double>(histogram.count);
  }
  if (const auto* classic = std::get_if<ExplicitBuckets>(&histogram.buckets)) {
    const auto& [bounds, counts] = *classic;
    for (size_t i = 0; i < counts.size(); ++i) {
      AddBucket(histogram, i == 0 ? -kInfinity : bounds[i - 1],
                i == bounds.size() ? kInfinity : bounds[i], counts[i], &added);
    }
    if (counts.empty()) AddBucket(histogram, -kInfinity, kInfinity, histogram.count, &added);
    for (const Values& values : added.values) {
      const double error = ErrorOf(values.low, values.high);
      // Without buckets all of it is told as its mean, of which nothing is promised.
      added.coarse_error = std::max(added.coarse_error, counts.empty() && error > 0 ? 1 : error);
    }
  } else {
    const auto& buckets = std::get<ExponentialBuckets>(histogram.buckets);
    added.scale = buckets.scale;
    added.zero_threshold = buckets.zero_threshold;
    for (const auto& [key, count] : Spread(buckets, buckets.scale, 0)) {
      const double width = std::exp2(-buckets.scale);
      const double low = std::exp2(static_cast<double>(key.second) * width);
      const double high = std::exp2(static_cast<double>(key.second + 1) * width);
      if (key.first == 0) {
        // Zeros, whatever they were: an answer may say any value below the threshold.
        if (count > 0) added.values.push_back({0, 0, count});
      } else if (key.first > 0) {
        AddBucket(histogram, low, high, count, &added);
      } else {
        AddBucket(histogram, -high, -low, count, &added);
      }
    }
  }
  // Estimated from the buckets, and those from the sketch's own, where not sent.
  added.min = {kInfinity, kInfinity, 1};
  added.max = {-kInfinity, -kInfinity, 1};
  for (const Values& values : added.values) {
    added.min = {std::min(added.min.low, values.low), std::min(added.min.high, values.high), 1};
    added.max = {std::max(added.max.low, values.low), std::max(added.max.high, values.high), 1};
  }
  if (std::holds_alternative<ExplicitBuckets>(histogram.buckets)) {
    // One with count and sum alone is taken to be at its mean.
    const auto widen = [](double value, int sign) { return value + sign * std::abs(value) / 20; };
    added.min = {widen(added.min.low, -1), widen(added.min.high, 1), 1};
    added.max = {widen(added.max.low, -1), widen(added.max.high, 1), 1};
  }
  if (histogram.max.has_value()) added.min = AtMost(added.min, *histogram.max);
  if (histogram.min.has_value()) added.max = AtLeast(added.max, *histogram.min);
  if (histogram.min.has_value()) added.min = {*histogram.min, *histogram.min, 1};
  if (histogram.max.has_value()) added.max = {*histogram.max, *histogram.max, 1};
  return added;
}

double ErrorOfScale(int scale) {
  const double base = std::exp2(std::exp2(-scale));
  return (base - 1) / (base + 1);
}

}  // namespace

// The table of cumulative.h.
std::optional<PointValue> Model::Advance(int series, int64_t time, const Point& point) {
  const int64_t start = point.start_unix_nano;
  const auto value = std::make_shared<const PointValue>(point.value);
  if (const auto found = last_.find({series, start}); found != last_.end()) {
    if (time <= found->second.first) {
      ++counts_.late;
      return std::nullopt;
    }
    const auto before = std::exchange(found->second, {time, value}).second;
    if (!Subtractable(*before, point.value)) {
      ++counts_.baselines;
      return std::nullopt;
    }
    auto less = Less(*before, point.value, kinds_[static_cast<size_t>(series)] == Kind::kCounter);
    ++(less.has_value() ? counts_.increases : counts_.resets);
    return less.has_value() ? *std::move(less) : point.value;
  }

  // The first of a start. The series' starts ascend in the map.
  const auto first = last_.lower_bound({series, std::numeric_limits<int64_t>::min()});
  const auto end = last_.upper_bound({series, std::numeric_limits<int64_t>::max()});
  bool counts = false;
  if (start > 0 && start < time) {
    counts = time - start <= absl::ToInt64Nanoseconds(options_.max_first_age);
    if (first != end) {
      const auto& [newest, last_of_newest] = *std::prev(end);
      if (newest.second == 0) {
        counts = false;  // known, but not since when: it may be the same one still
      } else if (start > newest.second && start >= last_of_newest.first) {
        counts = true;
      }
    }
  }
  if (static_cast<size_t>(std::distance(first, end)) == options_.max_starts) {
    // The one heard longest ago; of those heard at once, the one begun first.
    last_.erase(std::min_element(
        first, end, [](const auto& a, const auto& b) { return a.second.first < b.second.first; }));
  }
  last_[{series, start}] = {time, value};
  ++(counts ? counts_.firsts : counts_.baselines);
  if (!counts) return std::nullopt;
  return point.value;
}

void Model::Fold(const Sent& sent) {
  std::optional<PointValue> added = sent.point.value;
  if (sent.point.cumulative) added = Advance(sent.series, sent.time_unix_nano, sent.point);
  if (!added.has_value()) return;
  const auto* histogram = std::get_if<Histogram>(&*added);
  if (histogram != nullptr && histogram->count == 0) return;
  Contribution& contribution = contributions_.emplace_back(
      histogram != nullptr ? OfHistogram(*histogram) : OfNumber(*added));
  contribution.series = sent.series;
  contribution.time_unix_nano = sent.time_unix_nano;
}

void Model::GoBack(const Mark& mark) {
  contributions_.resize(mark.contributions);
  last_ = mark.last;
  counts_ = {};
}

namespace {

// The value of rank `rank` among spans, by one of their ends.
double OfRank(std::vector<std::pair<double, int64_t>> ends, int64_t rank) {
  std::sort(ends.begin(), ends.end());
  for (const auto& [value, count] : ends) {
    rank -= count;
    if (rank <= 0) return value;
  }
  return kInfinity;
}

std::string QuantilesDisagree(const Said& said, const std::vector<const Contribution*>& bin,
                              const std::vector<double>& asked) {
  if (said.quantiles.size() != asked.size()) return "another number of quantiles";
  double coarse_error = 0;
  int scale = 5;
  double slack = 0;
  int64_t count = 0;
  std::vector<std::pair<double, int64_t>> lows;
  std::vector<std::pair<double, int64_t>> highs;
  for (const Contribution* added : bin) {
    coarse_error = std::max(coarse_error, added->coarse_error);
    scale = std::min(scale, added->scale);
    slack = std::max(slack, added->zero_threshold);
    count += added->count;
    for (const Values& values : added->values) {
      lows.emplace_back(values.low, values.count);
      highs.emplace_back(values.high, values.count);
    }
  }
  const double most =
      std::min(1.0, (1 + coarse_error + 2e-6) * (1 + ErrorOfScale(scale)) - 1 + 1e-9);
  if (said.relative_error > most) {
    return absl::StrCat("relative error ", said.relative_error, ", at most ", most);
  }
  for (size_t i = 0; i < asked.size(); ++i) {
    const double answer = said.quantiles[i];
    if (answer < said.aggregate.min || answer > said.aggregate.max) {
      return absl::StrCat("quantile ", asked[i], " = ", answer, " lies beyond the extremes");
    }
    if (said.relative_error >= 1) continue;  // nothing is promised
    const auto rank = std::max<int64_t>(
        1, static_cast<int64_t>(std::ceil(asked[i] * static_cast<double>(count) - 1e-9)));
    const double low = OfRank(lows, rank);
    const double high = OfRank(highs, rank);
    const double error = said.relative_error + 1e-9;
    if (!(answer <= low + error * std::abs(low) + slack) ||
        !(answer >= high - error * std::abs(high) - slack)) {
      return absl::StrCat("quantile ", asked[i], " = ", answer, " within ", said.relative_error,
                          ", where the value of rank ", rank, " of ", count, " lies in [", low,
                          ", ", high, "]");
    }
  }
  return "";
}

// What first (earliest) or last shows: the value of the extreme time; of several
// then, the least or the greatest.
std::string EndDisagrees(const std::vector<const Contribution*>& bin, bool earliest, double value,
                         int64_t time) {
  int64_t extreme = bin[0]->time_unix_nano;
  for (const Contribution* added : bin) {
    extreme = earliest ? std::min(extreme, added->time_unix_nano)
                       : std::max(extreme, added->time_unix_nano);
  }
  const char* const name = earliest ? "first" : "last";
  if (time != extreme) return absl::StrCat(name, " at ", time, ", not ", extreme);
  std::optional<double> expected;
  for (const Contribution* added : bin) {
    if (added->time_unix_nano != extreme) continue;
    if (!added->value.has_value()) return "";  // an estimate
    if (!expected.has_value()) expected = added->value;
    expected = earliest ? std::min(*expected, *added->value) : std::max(*expected, *added->value);
  }
  if (value != *expected) return absl::StrCat(name, " = ", value, ", not ", *expected);
  return "";
}

std::string MomentsDisagree(const Aggregate& said, const std::vector<const Contribution*>& bin,
                            double sum) {
  const auto count = static_cast<double>(said.count);
  double largest = 0;
  double m2 = 0;
  bool numbers = true;
  for (const Contribution* added : bin) {
    numbers = numbers && added->number;
    if (!added->value.has_value()) continue;
    largest = std::max(largest, std::abs(*added->value));
    m2 += (*added->value - sum / count) * (*added->value - sum / count);
  }
  if (std::abs(said.mean - sum / count) > 1e-9 * largest) {
    return absl::StrCat("mean ", said.mean, ", not ", sum / count);
  }
  if (numbers && std::abs(said.m2 - m2) > 1e-9 * count * largest * largest) {
    return absl::StrCat("m2 ", said.m2, ", not ", m2);
  }
  return "";
}

}  // namespace

std::string Disagreement(const Said& said, const std::vector<const Contribution*>& bin,
                         const std::vector<double>& asked_quantiles) {
  Contribution all;
  double magnitude = 0;
  all.min = {kInfinity, kInfinity, 1};
  all.max = {-kInfinity, -kInfinity, 1};
  for (const Contribution* added : bin) {
    all.count += added->count;
    all.float_count += added->float_count;
    all.integer_sum += added->integer_sum;
    if (!added->float_sum.has_value()) all.float_sum.reset();
    if (all.float_sum.has_value()) *all.float_sum += *added->float_sum;
    magnitude += std::abs(added->float_sum.value_or(0));
    all.min = {std::min(all.min.low, added->min.low), std::min(all.min.high, added->min.high), 1};
    all.max = {std::max(all.max.low, added->max.low), std::max(all.max.high, added->max.high), 1};
  }
  const Aggregate& is = said.aggregate;
  if (is.count != all.count) return absl::StrCat("count ", is.count, ", not ", all.count);
  if (is.count == 0) return "";
  if (is.float_count != all.float_count) {
    return absl::StrCat("float count ", is.float_count, ", not ", all.float_count);
  }
  if (is.integer_sum != all.integer_sum) {
    return absl::StrCat("integer sum ", static_cast<double>(is.integer_sum), ", not ",
                        static_cast<double>(all.integer_sum));
  }
  if (all.float_sum.has_value()) {
    if (std::abs(is.float_sum - *all.float_sum) > 1e-10 * magnitude) {
      return absl::StrCat("float sum ", is.float_sum, ", not ", *all.float_sum);
    }
    const double sum = static_cast<double>(all.integer_sum) + *all.float_sum;
    if (const std::string wrong = MomentsDisagree(is, bin, sum); !wrong.empty()) return wrong;
  }
  if (is.min < all.min.low || is.min > all.min.high) {
    return absl::StrCat("min ", is.min, ", not in [", all.min.low, ", ", all.min.high, "]");
  }
  if (is.max < all.max.low || is.max > all.max.high) {
    return absl::StrCat("max ", is.max, ", not in [", all.max.low, ", ", all.max.high, "]");
  }
  for (const bool earliest : {true, false}) {
    const std::string wrong = EndDisagrees(bin, earliest, earliest ? is.first : is.last,
                                           earliest ? is.first_unix_nano : is.last_unix_nano);
    if (!wrong.empty()) return wrong;
  }
  return asked_quantiles.empty() ? "" : QuantilesDisagree(said, bin, asked_quantiles);
}

std::string Describe(const PointValue& value) {
  const auto* histogram = std::get_if<Histogram>(&value);
  if (histogram == nullptr) {
    const auto* integer = std::get_if<int64_t>(&value);
    return integer != nullptr ? absl::StrCat(*integer) : absl::StrCat(std::get<double>(value), "f");
  }
  std::string text = absl::StrCat("{n=", histogram->count);
  if (histogram->sum.has_value()) absl::StrAppend(&text, " sum=", *histogram->sum);
  if (histogram->min.has_value()) absl::StrAppend(&text, " min=", *histogram->min);
  if (histogram->max.has_value()) absl::StrAppend(&text, " max=", *histogram->max);
  if (const auto* classic = std::get_if<ExplicitBuckets>(&histogram->buckets)) {
    for (size_t i = 0; i < classic->counts.size(); ++i) {
      const bool last = i == classic->bounds.size();
      absl::StrAppend(&text, " ", last ? "inf" : absl::StrCat(classic->bounds[i]), ":",
                      classic->counts[i]);
    }
    return text + "}";
  }
  const auto& buckets = std::get<ExponentialBuckets>(histogram->buckets);
  absl::StrAppend(&text, " scale=", buckets.scale, " zeros=", buckets.zero_count, " below ",
                  buckets.zero_threshold);
  for (const auto& [key, count] : Spread(buckets, buckets.scale, 0)) {
    if (key.first != 0 && count != 0) {
      absl::StrAppend(&text, " ", key.first < 0 ? "-" : "+", key.second, ":", count);
    }
  }
  return text + "}";
}

}  // namespace weir::property
