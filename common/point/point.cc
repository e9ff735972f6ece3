// The bytes of a point:
//
//   point    = u8 form · [i64 start] · [part] · value
//   form     = bits 0-1: 0 integer, 1 float, 2 explicit, 3 exponential buckets
//              bit 2: cumulative, with a start; bits 3-5: has sum, min, max;
//              bit 6: a certain start; bit 7: part of a histogram
//   part     = u8 role (bit 7: gone) · [f64 upper bound of a bucket]
//   integer  = zigzag varint            float = f64
//   explicit    = extremes · varint m · (m - 1) f64 bounds · m varint counts
//   exponential = extremes · zigzag scale · varint zeros · f64 threshold · side · side
//   side     = varint n · [zigzag offset · n varint counts]
//   extremes = varint count · [f64 sum] · [f64 min] · [f64 max]
#include "common/point/point.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir {
namespace {

constexpr uint8_t kInteger = 0;
constexpr uint8_t kFloat = 1;
constexpr uint8_t kExplicit = 2;
constexpr uint8_t kExponential = 3;
constexpr uint8_t kValueMask = 3;
constexpr uint8_t kCumulative = 1 << 2;
constexpr uint8_t kHasSum = 1 << 3;
constexpr uint8_t kHasMin = 1 << 4;
constexpr uint8_t kHasMax = 1 << 5;
constexpr uint8_t kCertainStart = 1 << 6;
constexpr uint8_t kPart = 1 << 7;
constexpr uint8_t kGone = 1 << 7;  // of a part's role

absl::Status Invalid(std::string what) { return absl::InvalidArgumentError(std::move(what)); }

// Adds every count to `*total`.
absl::Status AddCounts(const std::vector<int64_t>& counts, int64_t* total) {
  for (const int64_t count : counts) {
    if (count < 0) return Invalid(StrCat("a bucket with count ", count));
    if (__builtin_add_overflow(*total, count, total)) {
      return Invalid("bucket counts that add up to 2^63 and more");
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateExplicit(const ExplicitBuckets& buckets, int64_t* total) {
  if (buckets.counts.size() > kMaxHistogramBuckets) {
    return Invalid(
        StrCat(buckets.counts.size(), " buckets; at most ", kMaxHistogramBuckets, " are allowed"));
  }
  const bool none = buckets.counts.empty() && buckets.bounds.empty();
  if (!none && buckets.counts.size() != buckets.bounds.size() + 1) {
    return Invalid(StrCat(buckets.counts.size(), " bucket counts for ", buckets.bounds.size(),
                          " bounds; there must be one more, or none of either"));
  }
  for (size_t i = 0; i < buckets.bounds.size(); ++i) {
    if (!std::isfinite(buckets.bounds[i])) {
      return Invalid(StrCat("bound ", buckets.bounds[i], "; bounds must be finite"));
    }
    if (i > 0 && buckets.bounds[i] <= buckets.bounds[i - 1]) {
      return Invalid(StrCat("bound ", buckets.bounds[i], " after ", buckets.bounds[i - 1],
                            "; bounds must rise"));
    }
  }
  return AddCounts(buckets.counts, total);
}

absl::StatusOr<Sketch> SketchOf(const ExponentialBuckets& buckets) {
  return Sketch::FromBuckets(buckets.scale, buckets.zero_count,
                             {.begin = buckets.positive.offset, .counts = buckets.positive.counts},
                             {.begin = buckets.negative.offset, .counts = buckets.negative.counts});
}

absl::Status ValidateExponential(const ExponentialBuckets& buckets, int64_t* total) {
  const size_t size = buckets.positive.counts.size() + buckets.negative.counts.size();
  if (size > kMaxHistogramBuckets) {
    return Invalid(StrCat(size, " buckets; at most ", kMaxHistogramBuckets, " are allowed"));
  }
  if (!std::isfinite(buckets.zero_threshold) || buckets.zero_threshold < 0) {
    return Invalid(StrCat("zero threshold ", buckets.zero_threshold));
  }
  WEIR_ASSIGN_OR_RETURN(const Sketch sketch, SketchOf(buckets));
  *total = sketch.count();
  return absl::OkStatus();
}

void AppendPart(const HistogramPart& part, std::string* out) {
  AppendFixed(static_cast<uint8_t>(static_cast<uint8_t>(part.role) | (part.gone ? kGone : 0)), out);
  if (part.role == HistogramPart::Role::kBucket) AppendFixed(part.upper_bound, out);
}

bool ReadPart(ByteReader* reader, HistogramPart* part) {
  const auto role = reader->Fixed<uint8_t>();
  part->gone = (role & kGone) != 0;
  part->role = static_cast<HistogramPart::Role>(role & ~kGone);
  if (part->role > HistogramPart::Role::kCount) return false;
  if (part->role == HistogramPart::Role::kBucket) part->upper_bound = reader->Fixed<double>();
  return reader->ok() && part->upper_bound > -std::numeric_limits<double>::infinity();
}

void AppendSide(const ExponentialBuckets::Side& side, std::string* out) {
  AppendVarint(side.counts.size(), out);
  if (side.counts.empty()) return;
  AppendVarint(ZigZag(side.offset), out);
  for (const int64_t count : side.counts) AppendVarint(static_cast<uint64_t>(count), out);
}

// Reads counts, if there can be so many in what is left.
bool ReadCounts(ByteReader* reader, uint64_t size, std::vector<int64_t>* counts) {
  if (size > kMaxHistogramBuckets || size > reader->rest().size()) return false;
  counts->reserve(size);
  for (uint64_t i = 0; i < size; ++i) {
    const uint64_t count = reader->Varint();
    if (count > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return false;
    counts->push_back(static_cast<int64_t>(count));
  }
  return reader->ok();
}

bool ReadSide(ByteReader* reader, ExponentialBuckets::Side* side) {
  const uint64_t size = reader->Varint();
  if (size == 0) return reader->ok();
  const int64_t offset = UnZigZag(reader->Varint());
  if (offset < std::numeric_limits<int32_t>::min() || offset > std::numeric_limits<int32_t>::max())
    return false;
  side->offset = static_cast<int32_t>(offset);
  return ReadCounts(reader, size, &side->counts);
}

bool ReadHistogram(ByteReader* reader, uint8_t form, Histogram* histogram) {
  const uint64_t count = reader->Varint();
  if (count > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return false;
  histogram->count = static_cast<int64_t>(count);
  if ((form & kHasSum) != 0) histogram->sum = reader->Fixed<double>();
  if ((form & kHasMin) != 0) histogram->min = reader->Fixed<double>();
  if ((form & kHasMax) != 0) histogram->max = reader->Fixed<double>();
  if ((form & kValueMask) == kExplicit) {
    ExplicitBuckets buckets;
    const uint64_t size = reader->Varint();
    if (size > kMaxHistogramBuckets || (size > 0 && (size - 1) * 8 > reader->rest().size())) {
      return false;
    }
    for (uint64_t i = 1; i < size; ++i) buckets.bounds.push_back(reader->Fixed<double>());
    if (!ReadCounts(reader, size, &buckets.counts)) return false;
    histogram->buckets = std::move(buckets);
    return true;
  }
  ExponentialBuckets buckets;
  const int64_t scale = UnZigZag(reader->Varint());
  if (scale < Sketch::kMinScale || scale > Sketch::kMaxScale) return false;
  buckets.scale = static_cast<int32_t>(scale);
  const uint64_t zeros = reader->Varint();
  if (zeros > count) return false;
  buckets.zero_count = static_cast<int64_t>(zeros);
  buckets.zero_threshold = reader->Fixed<double>();
  if (!ReadSide(reader, &buckets.positive) || !ReadSide(reader, &buckets.negative)) return false;
  histogram->buckets = std::move(buckets);
  return true;
}

// --- Increases -----------------------------------------------------------------

std::optional<PointValue> NumberIncrease(const PointValue& from, const PointValue& to,
                                         bool monotonic) {
  const auto* from_integer = std::get_if<int64_t>(&from);
  const auto* to_integer = std::get_if<int64_t>(&to);
  if (from_integer != nullptr && to_integer != nullptr) {
    if (monotonic && *to_integer < *from_integer) return std::nullopt;
    int64_t difference = 0;
    if (!__builtin_sub_overflow(*to_integer, *from_integer, &difference)) return difference;
    return NumberOf(to) - NumberOf(from);
  }
  if (monotonic && NumberOf(to) < NumberOf(from)) return std::nullopt;
  // Of two finite numbers, but the difference may not be.
  constexpr double kLargest = std::numeric_limits<double>::max();
  return std::clamp(NumberOf(to) - NumberOf(from), -kLargest, kLargest);
}

// How many values lie up to each of these bounds, and in all. REQUIRES: some of the
// buckets' own.
std::vector<int64_t> CountsUpTo(const ExplicitBuckets& buckets, const std::vector<double>& bounds) {
  std::vector<int64_t> up_to;
  up_to.reserve(bounds.size() + 1);
  int64_t count = 0;
  for (size_t i = 0; i < buckets.counts.size(); ++i) {
    count += buckets.counts[i];
    if (up_to.size() < bounds.size() && i < buckets.bounds.size() &&
        buckets.bounds[i] == bounds[up_to.size()]) {
      up_to.push_back(count);
    }
  }
  up_to.push_back(count);
  return up_to;
}

std::optional<ExplicitBuckets> ExplicitIncrease(const ExplicitBuckets& from,
                                                const ExplicitBuckets& to) {
  ExplicitBuckets increase;
  std::set_intersection(from.bounds.begin(), from.bounds.end(), to.bounds.begin(), to.bounds.end(),
                        std::back_inserter(increase.bounds));
  // Without a bound in common there is only the count, as it is where none was sent.
  if (increase.bounds.empty() && (from.counts.size() != 1 || to.counts.size() != 1)) {
    return increase;
  }
  const std::vector<int64_t> before = CountsUpTo(from, increase.bounds);
  increase.counts = CountsUpTo(to, increase.bounds);
  std::vector<int64_t>& counts = increase.counts;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < before[i]) return std::nullopt;
    counts[i] -= before[i];
  }
  // What had been counted in the whole and not yet in a bucket is in it now: the whole
  // has the last word.
  for (size_t i = counts.size() - 1; i > 0; --i) counts[i - 1] = std::min(counts[i - 1], counts[i]);
  for (size_t i = counts.size() - 1; i > 0; --i) counts[i] -= counts[i - 1];
  return increase;
}

// The counts at a scale lower by `shift`, on indexes from `*offset` on.
std::vector<int64_t> Downscaled(const ExponentialBuckets::Side& side, int shift, int64_t* offset) {
  if (side.counts.empty()) return {};
  const int64_t begin = side.offset;
  const int64_t last = begin + static_cast<int64_t>(side.counts.size()) - 1;
  *offset = begin >> shift;
  std::vector<int64_t> counts(static_cast<size_t>((last >> shift) - *offset) + 1, 0);
  for (size_t i = 0; i < side.counts.size(); ++i) {
    const int64_t index = (begin + static_cast<int64_t>(i)) >> shift;
    counts[static_cast<size_t>(index - *offset)] += side.counts[i];
  }
  return counts;
}

// Moves what lies wholly at or below the threshold out of `counts`; returns how
// many that were.
int64_t TakeZeros(int scale, int64_t offset, double threshold, std::vector<int64_t>* counts) {
  if (threshold <= 0) return 0;
  int64_t zeros = 0;
  for (size_t i = 0; i < counts->size(); ++i) {
    const auto end = static_cast<double>(offset + static_cast<int64_t>(i) + 1);
    if (std::exp2(std::ldexp(end, -scale)) > threshold) break;
    zeros += std::exchange((*counts)[i], 0);
  }
  return zeros;
}

// One side's increase at `scale`; `*zeros` is what the wider threshold of `to`
// counts as zeros and `from` did not.
std::optional<ExponentialBuckets::Side> SideIncrease(const ExponentialBuckets::Side& from,
                                                     int from_scale,
                                                     const ExponentialBuckets::Side& to,
                                                     int to_scale, int scale, double threshold,
                                                     int64_t* zeros) {
  int64_t from_offset = 0;
  int64_t to_offset = 0;
  std::vector<int64_t> before = Downscaled(from, from_scale - scale, &from_offset);
  std::vector<int64_t> counts = Downscaled(to, to_scale - scale, &to_offset);
  *zeros += TakeZeros(scale, from_offset, threshold, &before);
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] == 0) continue;
    const int64_t at = from_offset + static_cast<int64_t>(i) - to_offset;
    if (at < 0 || at >= static_cast<int64_t>(counts.size())) return std::nullopt;
    int64_t& count = counts[static_cast<size_t>(at)];
    if (count < before[i]) return std::nullopt;
    count -= before[i];
  }
  return ExponentialBuckets::Side{.offset = static_cast<int32_t>(to_offset),
                                  .counts = std::move(counts)};
}

std::optional<ExponentialBuckets> ExponentialIncrease(const ExponentialBuckets& from,
                                                      const ExponentialBuckets& to) {
  ExponentialBuckets increase = {.scale = std::min(from.scale, to.scale),
                                 .zero_threshold = to.zero_threshold};
  const double threshold = to.zero_threshold > from.zero_threshold ? to.zero_threshold : 0;
  int64_t zeros_before = from.zero_count;
  auto positive = SideIncrease(from.positive, from.scale, to.positive, to.scale, increase.scale,
                               threshold, &zeros_before);
  auto negative = SideIncrease(from.negative, from.scale, to.negative, to.scale, increase.scale,
                               threshold, &zeros_before);
  if (!positive.has_value() || !negative.has_value() || to.zero_count < zeros_before) {
    return std::nullopt;
  }
  increase.zero_count = to.zero_count - zeros_before;
  increase.positive = *std::move(positive);
  increase.negative = *std::move(negative);
  return increase;
}

std::optional<PointValue> HistogramIncrease(const Histogram& from, const Histogram& to) {
  if (to.count < from.count) return std::nullopt;
  Histogram increase = {.count = to.count - from.count};
  if (const auto* after = std::get_if<ExplicitBuckets>(&to.buckets)) {
    auto buckets = ExplicitIncrease(std::get<ExplicitBuckets>(from.buckets), *after);
    if (!buckets.has_value()) return std::nullopt;
    increase.buckets = *std::move(buckets);
  } else {
    auto buckets = ExponentialIncrease(std::get<ExponentialBuckets>(from.buckets),
                                       std::get<ExponentialBuckets>(to.buckets));
    if (!buckets.has_value()) return std::nullopt;
    increase.buckets = *std::move(buckets);
  }
  if (increase.count > 0 && from.sum.has_value() && to.sum.has_value()) {
    const double sum = *to.sum - *from.sum;
    if (std::isfinite(sum)) increase.sum = sum;
  }
  // An extreme that has moved since was met in between.
  if (from.min.has_value() && to.min.has_value() && *to.min < *from.min) increase.min = to.min;
  if (from.max.has_value() && to.max.has_value() && *to.max > *from.max) increase.max = to.max;
  return increase;
}

// --- Observing -----------------------------------------------------------------

// Values known to lie in (low, high], either of which may be infinite.
void ObserveBucket(double low, double high, int64_t count, Sketch* sketch) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (low == high) return sketch->AddCoarse(high, count, 0);
  if (low == -kInfinity && high == kInfinity) return sketch->AddCoarse(0, count, 1);
  if (low == -kInfinity) return sketch->AddCoarse(high, count, 1);
  if (high == kInfinity) return sketch->AddCoarse(low, count, 1);
  if (low >= 0 ? low == 0 : high >= 0) {
    return sketch->AddCoarse(low / 2 + high / 2, count, 1);
  }
  // Both of one sign: 2ab / (a + b), without leaving the range of doubles.
  const double middle = low / (low / high / 2 + 0.5);
  const double error = std::abs((high - low) / 2 / (low / 2 + high / 2));
  sketch->AddCoarse(middle, count, std::min(error, 1.0));
}

Sketch SketchOf(const Histogram& histogram) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (const auto* exponential = std::get_if<ExponentialBuckets>(&histogram.buckets)) {
    absl::StatusOr<Sketch> sketch = SketchOf(*exponential);
    WEIR_CHECK_OK(sketch.status());
    return *std::move(sketch);
  }
  const auto& [bounds, counts] = std::get<ExplicitBuckets>(histogram.buckets);
  Sketch sketch;
  // What is measured is hardly ever below zero, so without a minimum the first
  // bucket is taken to begin there, unless the maximum says otherwise.
  const double highest = histogram.max.value_or(kInfinity);
  const bool positive = !bounds.empty() && bounds[0] > 0 && highest > 0;
  const double lowest = histogram.min.value_or(positive ? 0 : -kInfinity);
  if (counts.empty()) {
    if (!histogram.sum.has_value()) {
      ObserveBucket(lowest, highest, histogram.count, &sketch);
    } else {
      sketch.AddCoarse(*histogram.sum / static_cast<double>(histogram.count), histogram.count,
                       lowest == highest ? 0 : 1);
    }
    return sketch;
  }
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    // Extremes that contradict the buckets do not turn one around.
    const double low =
        i == 0 ? lowest
               : std::max(bounds[i - 1], std::min(lowest, i < bounds.size() ? bounds[i] : lowest));
    const double high =
        i < bounds.size() ? std::max(std::min(bounds[i], highest), low) : std::max(highest, low);
    ObserveBucket(low, high, counts[i], &sketch);
  }
  return sketch;
}

double Finite(double value) {
  constexpr double kLargest = std::numeric_limits<double>::max();
  return std::clamp(value, -kLargest, kLargest);
}

}  // namespace

absl::Status ValidateHistogram(const Histogram& histogram) {
  if (histogram.count < 0) return Invalid(StrCat("a count of ", histogram.count));
  for (const auto& [what, value] :
       {std::pair("sum", histogram.sum), {"min", histogram.min}, {"max", histogram.max}}) {
    if (value.has_value() && !std::isfinite(*value)) {
      return Invalid(StrCat(what, " ", *value, "; only finite values are allowed"));
    }
  }
  if (histogram.min.has_value() && histogram.max.has_value() && *histogram.min > *histogram.max) {
    return Invalid(StrCat("min ", *histogram.min, " above max ", *histogram.max));
  }
  int64_t total = 0;
  bool buckets = true;
  if (const auto* classic = std::get_if<ExplicitBuckets>(&histogram.buckets)) {
    WEIR_RETURN_IF_ERROR(ValidateExplicit(*classic, &total));
    buckets = !classic->counts.empty();
  } else {
    WEIR_RETURN_IF_ERROR(
        ValidateExponential(std::get<ExponentialBuckets>(histogram.buckets), &total));
  }
  if (buckets && total != histogram.count) {
    return Invalid(StrCat("a count of ", histogram.count, " with ", total, " in its buckets"));
  }
  return absl::OkStatus();
}

void AppendPoint(const Point& point, std::string* out) {
  const auto* histogram = std::get_if<Histogram>(&point.value);
  uint8_t form = kInteger;
  if (std::holds_alternative<double>(point.value)) form = kFloat;
  if (histogram != nullptr) {
    form = std::holds_alternative<ExplicitBuckets>(histogram->buckets) ? kExplicit : kExponential;
    form |= (histogram->sum.has_value() ? kHasSum : 0) |
            (histogram->min.has_value() ? kHasMin : 0) | (histogram->max.has_value() ? kHasMax : 0);
  }
  if (point.cumulative) form |= kCumulative | (point.certain_start ? kCertainStart : 0);
  if (point.part.has_value()) form |= kPart;
  AppendFixed(form, out);
  if (point.cumulative) AppendFixed(point.start_unix_nano, out);
  if (point.part.has_value()) AppendPart(*point.part, out);
  if (const auto* integer = std::get_if<int64_t>(&point.value)) {
    return AppendVarint(ZigZag(*integer), out);
  }
  if (const auto* number = std::get_if<double>(&point.value)) return AppendFixed(*number, out);

  AppendVarint(static_cast<uint64_t>(histogram->count), out);
  for (const std::optional<double>& value : {histogram->sum, histogram->min, histogram->max}) {
    if (value.has_value()) AppendFixed(*value, out);
  }
  if (const auto* classic = std::get_if<ExplicitBuckets>(&histogram->buckets)) {
    AppendVarint(classic->counts.size(), out);
    for (const double bound : classic->bounds) AppendFixed(bound, out);
    for (const int64_t count : classic->counts) AppendVarint(static_cast<uint64_t>(count), out);
    return;
  }
  const auto& buckets = std::get<ExponentialBuckets>(histogram->buckets);
  AppendVarint(ZigZag(buckets.scale), out);
  AppendVarint(static_cast<uint64_t>(buckets.zero_count), out);
  AppendFixed(buckets.zero_threshold, out);
  AppendSide(buckets.positive, out);
  AppendSide(buckets.negative, out);
}

absl::StatusOr<Point> ParsePoint(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto form = reader.Fixed<uint8_t>();
  const uint8_t value_form = form & kValueMask;
  const bool has_extremes = (form & (kHasSum | kHasMin | kHasMax)) != 0;
  const bool impossible_part =
      (form & kPart) != 0 && (value_form > kFloat || (form & kCumulative) == 0);
  if (impossible_part || (value_form <= kFloat && has_extremes) ||
      (form & (kCumulative | kCertainStart)) == kCertainStart) {
    return absl::DataLossError(StrCat("point: unknown form ", form));
  }
  Point point = {.cumulative = (form & kCumulative) != 0};
  point.certain_start = (form & kCertainStart) != 0;
  if (point.cumulative) point.start_unix_nano = reader.Fixed<int64_t>();
  if (point.start_unix_nano < 0) return absl::DataLossError("point: a start before 1970");
  if ((form & kPart) != 0 && !ReadPart(&reader, &point.part.emplace())) {
    return absl::DataLossError("point: an impossible part of a histogram");
  }
  if (value_form == kInteger) {
    point.value = UnZigZag(reader.Varint());
  } else if (value_form == kFloat) {
    point.value = reader.Fixed<double>();
  } else {
    Histogram histogram;
    if (!ReadHistogram(&reader, form, &histogram)) {
      return absl::DataLossError("point: impossible buckets");
    }
    if (const absl::Status valid = ValidateHistogram(histogram); !valid.ok()) {
      return absl::DataLossError(StrCat("point: ", StdView(valid.message())));
    }
    point.value = std::move(histogram);
  }
  if (!reader.ok() || !reader.empty()) return absl::DataLossError("point: not exactly one point");
  if (value_form == kFloat && !std::isfinite(std::get<double>(point.value))) {
    return absl::DataLossError("point: a float that is not finite");
  }
  if (point.part.has_value() && point.part->role != HistogramPart::Role::kSum) {
    const auto* count = std::get_if<int64_t>(&point.value);
    if (count == nullptr || *count < 0 || *count > kMaxPartCount) {
      return absl::DataLossError("point: a part of a histogram that is no count");
    }
  }
  return point;
}

bool Comparable(const PointValue& from, const PointValue& to) {
  const auto* before = std::get_if<Histogram>(&from);
  const auto* after = std::get_if<Histogram>(&to);
  if (before == nullptr || after == nullptr) return before == after;
  return before->buckets.index() == after->buckets.index();
}

std::optional<PointValue> Increase(const PointValue& from, const PointValue& to, bool monotonic) {
  WEIR_CHECK(Comparable(from, to));
  const auto* histogram = std::get_if<Histogram>(&to);
  return histogram != nullptr ? HistogramIncrease(std::get<Histogram>(from), *histogram)
                              : NumberIncrease(from, to, monotonic);
}

void Observe(const Histogram& histogram, int64_t event_unix_nano, Aggregate* aggregate,
             Sketch* sketch) {
  if (histogram.count == 0) return;
  const Sketch own = SketchOf(histogram);
  const auto count = static_cast<double>(histogram.count);
  double sum = 0;
  double lowest = std::numeric_limits<double>::max();
  double highest = std::numeric_limits<double>::lowest();
  own.ForEach([&](double value, int64_t times) {
    sum = Finite(sum + value * static_cast<double>(times));
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
  });
  sum = histogram.sum.value_or(sum);
  const double mean = sum / count;
  double m2 = 0;
  own.ForEach([&](double value, int64_t times) {
    m2 = Finite(m2 + (value - mean) * (value - mean) * static_cast<double>(times));
  });
  // An estimate does not contradict the extreme that was sent.
  const double min = histogram.min.value_or(std::min(lowest, histogram.max.value_or(lowest)));
  const double max = histogram.max.value_or(std::max(highest, min));
  aggregate->Merge({.count = histogram.count,
                    .float_count = histogram.count,
                    .float_sum = sum,
                    .min = min,
                    .max = max,
                    .mean = mean,
                    .m2 = m2,
                    .first = mean,
                    .last = mean,
                    .first_unix_nano = event_unix_nano,
                    .last_unix_nano = event_unix_nano});
  sketch->Merge(own);
}

}  // namespace weir
