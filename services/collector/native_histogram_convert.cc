#include "services/collector/native_histogram_convert.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir::collector {
namespace {

constexpr int kCustomBounds = -53;
constexpr int kLeastSchema = -4;
constexpr int kMostSchema = 8;
constexpr int kLeastScale = -10;  // of ours

absl::Status Invalid(std::string what) { return absl::InvalidArgumentError(std::move(what)); }

// A bucket that was sent.
struct Cell {
  int64_t index = 0;
  int64_t count = 0;
};

absl::StatusOr<int64_t> WholeCount(double count) {
  // Beyond 2^53 doubles do not count by ones.
  if (count >= 0 && count < static_cast<double>(kMaxPartCount) && count == std::floor(count)) {
    return static_cast<int64_t>(count);
  }
  return Invalid(StrCat("a count of ", count, "; allowed are whole ones below 2^53"));
}

// Each of the side's buckets, in order.
template <typename Spans, typename Deltas, typename Counts>
absl::StatusOr<std::vector<Cell>> CellsOf(bool floats, const Spans& spans, const Deltas& deltas,
                                          const Counts& counts) {
  const int size = floats ? counts.size() : deltas.size();
  if (size > static_cast<int>(kMaxHistogramBuckets)) {
    return Invalid(StrCat(size, " buckets; at most ", kMaxHistogramBuckets, " are allowed"));
  }
  std::vector<Cell> cells;
  cells.reserve(static_cast<size_t>(size));
  int64_t index = 0;
  int64_t count = 0;
  int taken = 0;
  for (int i = 0; i < spans.size(); ++i) {
    if (i > 0 && spans[i].offset() < 0) return Invalid("spans that overlap");
    index += spans[i].offset();
    if (spans[i].length() > static_cast<uint32_t>(size - taken)) {
      return Invalid("spans of more buckets than there are counts");
    }
    for (uint32_t in_span = 0; in_span < spans[i].length(); ++in_span, ++index, ++taken) {
      if (floats) {
        WEIR_ASSIGN_OR_RETURN(count, WholeCount(counts[taken]));
      } else if (__builtin_add_overflow(count, deltas[taken], &count)) {
        return Invalid("a count beyond 64 bits");
      }
      cells.push_back({index, count});
    }
  }
  if (taken != size) return Invalid("spans of fewer buckets than there are counts");
  return cells;
}

int64_t SizeOf(const std::vector<Cell>& cells, int shift) {
  if (cells.empty()) return 0;
  return (cells.back().index >> shift) - (cells.front().index >> shift) + 1;
}

// Our index of a bucket is one less than theirs; joining two halves it, downwards.
ExponentialBuckets::Side SideOf(std::vector<Cell> cells, int shift) {
  ExponentialBuckets::Side side;
  if (cells.empty()) return side;
  const int64_t offset = cells.front().index >> shift;
  side.offset = static_cast<int32_t>(offset);
  side.counts.resize(static_cast<size_t>(SizeOf(cells, shift)), 0);
  for (const Cell& cell : cells) {
    side.counts[static_cast<size_t>((cell.index >> shift) - offset)] += cell.count;
  }
  return side;
}

template <typename Sent>
absl::StatusOr<ExponentialBuckets> ToExponential(const Sent& sent, int64_t zero_count,
                                                 std::vector<Cell> positive,
                                                 std::vector<Cell> negative) {
  for (std::vector<Cell>* cells : {&positive, &negative}) {
    for (Cell& cell : *cells) {
      if (cell.count < 0) return Invalid(StrCat("a count of ", cell.count));
      // Far beyond any double's bucket, at the finest schema.
      if (std::abs(--cell.index) > INT32_MAX / 2) {
        return Invalid(StrCat("a bucket of index ", cell.index));
      }
    }
  }
  int shift = 0;
  while (SizeOf(positive, shift) + SizeOf(negative, shift) >
         static_cast<int64_t>(kMaxHistogramBuckets)) {
    ++shift;
  }
  if (sent.schema() - shift < kLeastScale) return Invalid("buckets too far apart");
  // Where counts are joined, their sum must not overflow.
  if (shift > 0) {
    for (const std::vector<Cell>* cells : {&positive, &negative}) {
      for (const Cell& cell : *cells) {
        if (cell.count >> 50 != 0) return Invalid(StrCat("a count of ", cell.count));
      }
    }
  }
  return ExponentialBuckets{.scale = sent.schema() - shift,
                            .zero_count = zero_count,
                            .zero_threshold = sent.zero_threshold(),
                            .positive = SideOf(std::move(positive), shift),
                            .negative = SideOf(std::move(negative), shift)};
}

template <typename Sent>
absl::StatusOr<ExplicitBuckets> ToExplicit(const Sent& sent, int64_t zero_count,
                                           const std::vector<Cell>& positive,
                                           const std::vector<Cell>& negative) {
  if (zero_count != 0 || !negative.empty()) {
    return Invalid("custom bounds, and buckets of zeros or negative values");
  }
  if (sent.custom_values_size() >= static_cast<int>(kMaxHistogramBuckets)) {
    return Invalid(StrCat(sent.custom_values_size(), " custom bounds; fewer than ",
                          kMaxHistogramBuckets, " are allowed"));
  }
  ExplicitBuckets buckets;
  buckets.bounds.assign(sent.custom_values().begin(), sent.custom_values().end());
  buckets.counts.resize(buckets.bounds.size() + 1, 0);
  for (const Cell& cell : positive) {
    if (cell.index < 0 || cell.index >= static_cast<int64_t>(buckets.counts.size())) {
      return Invalid(StrCat("a bucket of index ", cell.index, " with ", buckets.bounds.size(),
                            " custom bounds"));
    }
    buckets.counts[static_cast<size_t>(cell.index)] = cell.count;
  }
  return buckets;
}

// What the buckets add up to; nullopt when that is beyond 64 bits.
std::optional<int64_t> TotalOf(int64_t zero_count, const std::vector<Cell>& positive,
                               const std::vector<Cell>& negative) {
  int64_t total = zero_count;
  for (const std::vector<Cell>* cells : {&positive, &negative}) {
    for (const Cell& cell : *cells) {
      if (__builtin_add_overflow(total, cell.count, &total)) return std::nullopt;
    }
  }
  return total;
}

template <typename Sent>
absl::StatusOr<Histogram> Convert(const Sent& sent) {
  const bool custom = sent.schema() == kCustomBounds;
  if (!custom && (sent.schema() < kLeastSchema || sent.schema() > kMostSchema)) {
    return Invalid(StrCat("schema ", sent.schema(), "; allowed are ", kLeastSchema, " to ",
                          kMostSchema, " and ", kCustomBounds));
  }
  const bool floats = sent.count_case() == Sent::kCountFloat;
  // Counts beyond 2^63 become negative, which validation names.
  auto count = static_cast<int64_t>(sent.count_int());
  auto zero_count = static_cast<int64_t>(sent.zero_count_int());
  if (floats) {
    WEIR_ASSIGN_OR_RETURN(count, WholeCount(sent.count_float()));
    WEIR_ASSIGN_OR_RETURN(zero_count, WholeCount(sent.zero_count_float()));
  }
  WEIR_ASSIGN_OR_RETURN(
      std::vector<Cell> positive,
      CellsOf(floats, sent.positive_spans(), sent.positive_deltas(), sent.positive_counts()));
  WEIR_ASSIGN_OR_RETURN(
      std::vector<Cell> negative,
      CellsOf(floats, sent.negative_spans(), sent.negative_deltas(), sent.negative_counts()));
  Histogram histogram = {.count = count};
  if (std::isnan(sent.sum())) {
    const std::optional<int64_t> total = TotalOf(zero_count, positive, negative);
    if (total.has_value() && count > *total) histogram.count = *total;
  } else {
    histogram.sum = sent.sum();
  }
  if (custom) {
    WEIR_ASSIGN_OR_RETURN(histogram.buckets, ToExplicit(sent, zero_count, positive, negative));
  } else {
    WEIR_ASSIGN_OR_RETURN(histogram.buckets, ToExponential(sent, zero_count, std::move(positive),
                                                           std::move(negative)));
  }
  return histogram;
}

// From the first bucket to the last, gaps included.
template <typename Spans>
int64_t RangeOf(const Spans& spans) {
  int64_t range = 0;
  for (int i = 0; i < spans.size(); ++i) {
    range += spans[i].length();
    if (i > 0) range += std::max(spans[i].offset(), 0);
  }
  return range;
}

template <typename Sent>
int64_t PointBytes(const Sent& sent) {
  constexpr int64_t kOthers = 64;  // count, sum, scale, offsets
  const int64_t range = RangeOf(sent.positive_spans()) + RangeOf(sent.negative_spans());
  // A bucket between them takes a byte, one of them nine at most.
  const int64_t counts = sent.positive_deltas_size() + sent.negative_deltas_size() +
                         sent.positive_counts_size() + sent.negative_counts_size();
  return kOthers + std::min(range, static_cast<int64_t>(kMaxHistogramBuckets)) + 9 * counts +
         9 * sent.custom_values_size();
}

}  // namespace

absl::StatusOr<Histogram> ToHistogram(const prometheus::Histogram& sent) { return Convert(sent); }
absl::StatusOr<Histogram> ToHistogram(const io::prometheus::write::v2::Histogram& sent) {
  return Convert(sent);
}

int64_t PointBytesOf(const prometheus::Histogram& sent) { return PointBytes(sent); }
int64_t PointBytesOf(const io::prometheus::write::v2::Histogram& sent) { return PointBytes(sent); }

}  // namespace weir::collector
