// The bucket of a value is found without a logarithm. With value = 2^e * m and
// 1 <= m < 2, its index at scale 5 is 32 * e + k, where k + 1 of the octave's
// boundaries 2^(0/32) .. 2^(31/32) lie below m. The top six bits of m's fraction
// cut the octave into 64 parts of 1/64; since boundaries are at least 0.0218
// apart, a part holds at most one. So a table says how many boundaries lie below
// the part, and one comparison decides about the one within it. Every boundary
// but 1 is irrational, so comparing with the largest double below it is exact.
//
// Indexes at lower scales follow by shifting: (base^i, base^(i+1)] at one scale
// is within (base'^(i>>1), base'^((i>>1)+1)] at the next lower one.
#include "common/sketch/sketch.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace weir {
namespace {

// Version 2 has the error of coarse values after the zeros; version 1, which says
// that there are none, is what is written then.
constexpr char kVersion = 1;
constexpr char kVersionWithError = 2;
constexpr double kErrorUnit = 1e-6;
constexpr uint32_t kLargestError = 1'000'000;

constexpr int kFractionBits = 52;
constexpr uint64_t kFractionMask = (uint64_t{1} << kFractionBits) - 1;
constexpr int kPartBits = 6;

// The fraction bits of floor(2^(k/32) * 2^52) / 2^52, and an end that no
// fraction passes. sketch_test.cc derives them again with big integers.
constexpr std::array<uint64_t, 33> kBoundaries = {
    0x0000000000000, 0x059b0d3158574, 0x0b5586cf9890f, 0x11301d0125b50, 0x172b83c7d517a,
    0x1d4873168b9aa, 0x2387a6e756238, 0x29e9df51fdee1, 0x306fe0a31b715, 0x371a7373aa9ca,
    0x3dea64c123422, 0x44e086061892d, 0x4bfdad5362a27, 0x5342b569d4f81, 0x5ab07dd485429,
    0x6247eb03a5584, 0x6a09e667f3bcc, 0x71f75e8ec5f73, 0x7a11473eb0186, 0x82589994cce12,
    0x8ace5422aa0db, 0x93737b0cdc5e4, 0x9c49182a3f090, 0xa5503b23e255c, 0xae89f995ad3ad,
    0xb7f76f2fb5e46, 0xc199bdd85529c, 0xcb720dcef9069, 0xd5818dcfba487, 0xdfc97337b9b5e,
    0xea4afa2a490d9, 0xf50765b6e4540, 0xfffffffffffff};

// How many boundaries lie below each part of the octave.
constexpr auto kBoundariesBelow = [] {
  std::array<uint8_t, 1 << kPartBits> below{};
  for (uint64_t part = 0; part < below.size(); ++part) {
    const uint64_t begin = part << (kFractionBits - kPartBits);
    while (kBoundaries[below[part]] < begin) ++below[part];
  }
  return below;
}();

// The index, at kInitialScale, of a positive finite double.
int IndexOf(double magnitude) {
  static_assert(Sketch::kInitialScale == 5);
  uint64_t bits = std::bit_cast<uint64_t>(magnitude);
  int exponent = static_cast<int>(bits >> kFractionBits) - 1023;
  if (exponent == -1023) [[unlikely]] {
    // A subnormal has no implied leading one; 2^54 times it has.
    bits = std::bit_cast<uint64_t>(magnitude * 0x1p54);
    exponent = static_cast<int>(bits >> kFractionBits) - 1023 - 54;
  }
  const uint64_t fraction = bits & kFractionMask;
  const int below = kBoundariesBelow[fraction >> (kFractionBits - kPartBits)];
  return exponent * 32 + below + (fraction > kBoundaries[below] ? 1 : 0) - 1;
}

// The indexes any double can have: from just below 2^-1074 to 2^1024.
Buckets::Range PossibleIndexes(int scale) {
  if (scale < 0) return {.begin = -1075 >> -scale, .end = (1023 >> -scale) + 1};
  return {.begin = -1074 * (1 << scale) - 1, .end = 1024 * (1 << scale)};
}

// How often the resolution must halve before the range fits.
int ShiftToFit(Buckets::Range range) {
  int shift = 0;
  while (((range.end - 1) >> shift) - (range.begin >> shift) >= Sketch::kMaxBuckets) ++shift;
  return shift;
}

// ShiftToFit of both together, each shifted first as `shifts` says.
int ShiftToMerge(const Buckets& own, const Buckets& other, Buckets::Shifts shifts) {
  if (own.empty() || other.empty()) return 0;
  const Buckets::Range a = own.range();
  const Buckets::Range b = other.range();
  return ShiftToFit({.begin = std::min(a.begin >> shifts.own, b.begin >> shifts.other),
                     .end = std::max((a.end - 1) >> shifts.own, (b.end - 1) >> shifts.other) + 1});
}

// (b - 1) / (b + 1) with b = 2^(2^-scale) is the tanh of half its logarithm,
// which keeps its digits where b - 1 would lose them.
double ErrorOfScale(int scale) { return std::tanh(std::ldexp(std::log(2.0) / 2, -scale)); }

size_t VarintSize(uint64_t value) { return (std::bit_width(value | 1) + 6) / 7; }

// Writes a varint at `at` and returns where it ends.
char* StoreVarint(uint64_t value, char* at) {
  while (value >= 0x80) {
    *at++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *at++ = static_cast<char>(value);
  return at;
}

void AppendBuckets(const Buckets& buckets, std::string* out) {
  if (buckets.empty()) return AppendVarint(0, out);
  Buckets::Counts counts;
  const Buckets::Range range = buckets.CopyTo(&counts);
  AppendVarint(range.size(), out);
  AppendVarint(ZigZag(range.begin), out);
  // An int64's varint takes at most nine bytes, and a run of zeros no more than
  // the counts it stands for would.
  std::array<char, 9 * Sketch::kMaxBuckets> bytes;
  char* at = bytes.data();
  for (int i = 0; i < range.size(); ++i) {
    at = StoreVarint(counts[i], at);
    if (counts[i] != 0) continue;
    const int first_zero = i;
    while (counts[i + 1] == 0) ++i;  // the last count is not zero
    at = StoreVarint(i - first_zero, at);
  }
  out->append(bytes.data(), at - bytes.data());
}

// Reads what AppendTo wrote, and keeps account of what it would have taken:
// a varint may be spelled in more bytes, but then these are not AppendTo's.
class SketchReader {
 public:
  explicit SketchReader(std::string_view bytes) : reader_(bytes), size_(bytes.size()) {}

  bool complete() const { return reader_.ok() && reader_.empty() && least_size_ == size_; }

  uint8_t Version() {
    ++least_size_;
    return reader_.Fixed<uint8_t>();
  }

  uint64_t Varint() {
    const uint64_t value = reader_.Varint();
    least_size_ += VarintSize(value);
    return value;
  }

  // Adds every count to `*total`. False when no AppendBuckets wrote this.
  bool ReadBuckets(int scale, int64_t* total, Buckets* buckets) {
    const uint64_t size = Varint();
    if (size == 0) return reader_.ok();
    if (size > Sketch::kMaxBuckets) return false;
    const int64_t begin = UnZigZag(Varint());
    const Buckets::Range possible = PossibleIndexes(scale);
    if (begin < possible.begin || begin > possible.end - static_cast<int64_t>(size)) return false;
    std::array<uint64_t, Sketch::kMaxBuckets> counts;
    bool after_zeros = true;  // the first count must not be zero either
    for (uint64_t i = 0; i < size; ++i) {
      counts[i] = Varint();
      if (!reader_.ok()) return false;
      if (counts[i] == 0) {
        const uint64_t more_zeros = Varint();
        // Two runs would have been one, and the last count is not zero.
        if (after_zeros || more_zeros >= size - 1 - i) return false;
        std::fill_n(counts.begin() + i, more_zeros + 1, 0);
        i += more_zeros;
        after_zeros = true;
        continue;
      }
      after_zeros = false;
      if (counts[i] > static_cast<uint64_t>(std::numeric_limits<int64_t>::max() - *total)) {
        return false;
      }
      *total += static_cast<int64_t>(counts[i]);
    }
    *buckets = Buckets(static_cast<int>(begin), absl::MakeConstSpan(counts.data(), size));
    return true;
  }

 private:
  ByteReader reader_;
  const size_t size_;
  size_t least_size_ = 0;
};

}  // namespace

void Sketch::Add(double value, int64_t count) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  WEIR_CHECK((bits >> kFractionBits & 0x7ff) != 0x7ff && count > 0);
  int64_t sum = 0;
  if (__builtin_add_overflow(count_, count, &sum)) return;  // left out
  count_ = sum;
  if (value == 0) {
    zero_count_ += count;
    return;
  }
  Buckets& buckets = value > 0 ? positive_ : negative_;
  const int shift = kInitialScale - scale_;
  const int index = IndexOf(std::fabs(value));
  if (shift >= 0 && buckets.TryAdd(index >> shift, count)) [[likely]]
    return;
  AddSlowly(&buckets, index, count);
}

void Sketch::AddCoarse(double value, int64_t count, double relative_error) {
  WEIR_CHECK(relative_error >= 0 && relative_error <= 1);
  Add(value, count);
  const auto error = static_cast<uint32_t>(std::ceil(relative_error / kErrorUnit));
  coarse_error_ = std::max(coarse_error_, std::min(error, kLargestError));
}

namespace {

// The buckets of one side, shifted by `shift`, or nothing when they are empty.
// REQUIRES: they then fit.
Buckets BucketsOf(const Sketch::Side& side, int shift) {
  size_t first = 0;
  size_t end = side.counts.size();
  while (first < end && side.counts[first] == 0) ++first;
  while (end > first && side.counts[end - 1] == 0) --end;
  if (first == end) return {};
  const auto index = [&](size_t i) {
    return static_cast<int>((side.begin + static_cast<int64_t>(i)) >> shift);
  };
  const int begin = index(first);
  std::vector<uint64_t> counts(static_cast<size_t>(index(end - 1) - begin) + 1, 0);
  for (size_t i = first; i < end; ++i)
    counts[static_cast<size_t>(index(i) - begin)] += static_cast<uint64_t>(side.counts[i]);
  return Buckets(begin, counts);
}

// Adds the counts to `*total` and widens `*range` to the buckets that have any.
absl::Status TakeSide(int scale, const Sketch::Side& side, int64_t* total, Buckets::Range* range) {
  const Buckets::Range possible = PossibleIndexes(scale);
  bool any = range->size() > 0;
  for (size_t i = 0; i < side.counts.size(); ++i) {
    const int64_t count = side.counts[i];
    if (count < 0) return absl::InvalidArgumentError(absl::StrCat("a bucket with count ", count));
    if (count == 0) continue;
    const int64_t index = side.begin + static_cast<int64_t>(i);
    if (index < possible.begin || index >= possible.end) {
      return absl::InvalidArgumentError(
          absl::StrCat("bucket ", index, " at scale ", scale, ", where no double lies"));
    }
    if (__builtin_add_overflow(*total, count, total)) {
      return absl::InvalidArgumentError("counts that add up to 2^63 and more");
    }
    range->begin = any ? std::min(range->begin, static_cast<int>(index)) : static_cast<int>(index);
    range->end =
        any ? std::max(range->end, static_cast<int>(index) + 1) : static_cast<int>(index) + 1;
    any = true;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Sketch> Sketch::FromBuckets(int scale, int64_t zero_count, Side positive,
                                           Side negative) {
  if (scale < kMinScale || scale > kMaxScale) {
    return absl::InvalidArgumentError(
        absl::StrCat("scale ", scale, "; allowed are ", kMinScale, " to ", kMaxScale));
  }
  if (zero_count < 0)
    return absl::InvalidArgumentError(absl::StrCat("a zero count of ", zero_count));
  Sketch sketch;
  sketch.count_ = zero_count;
  sketch.zero_count_ = zero_count;
  // Each sign by itself: their indexes are not of the same values.
  Buckets::Range positive_range;
  Buckets::Range negative_range;
  WEIR_RETURN_IF_ERROR(TakeSide(scale, positive, &sketch.count_, &positive_range));
  WEIR_RETURN_IF_ERROR(TakeSide(scale, negative, &sketch.count_, &negative_range));
  int shift = 0;
  if (positive_range.size() > 0) shift = std::max(shift, ShiftToFit(positive_range));
  if (negative_range.size() > 0) shift = std::max(shift, ShiftToFit(negative_range));
  sketch.positive_ = BucketsOf(positive, shift);
  sketch.negative_ = BucketsOf(negative, shift);
  if (sketch.has_buckets()) sketch.scale_ = scale - shift;
  return sketch;
}

void Sketch::AddSlowly(Buckets* buckets, int index, int64_t count) {
  if (scale_ > kInitialScale) Downscale(scale_ - kInitialScale);
  index >>= kInitialScale - scale_;
  if (!buckets->empty()) {
    const Buckets::Range range = buckets->range();
    const int shift =
        ShiftToFit({.begin = std::min(range.begin, index), .end = std::max(range.end, index + 1)});
    if (shift > 0) Downscale(shift);
    index >>= shift;
  }
  buckets->Add(index, count);
}

void Sketch::Downscale(int shift) {
  const Buckets none{};
  positive_.Merge(none, {.own = shift});
  negative_.Merge(none, {.own = shift});
  scale_ -= shift;
}

void Sketch::Merge(const Sketch& other) {
  int64_t count = 0;
  if (__builtin_add_overflow(count_, other.count_, &count)) return;  // left out
  count_ = count;
  zero_count_ += other.zero_count_;
  coarse_error_ = std::max(coarse_error_, other.coarse_error_);
  if (!other.has_buckets()) return;
  const int own_scale = has_buckets() ? scale_ : other.scale_;
  const int scale = std::min(own_scale, other.scale_);
  Buckets::Shifts shifts = {.own = own_scale - scale, .other = other.scale_ - scale};
  const int more = std::max(ShiftToMerge(positive_, other.positive_, shifts),
                            ShiftToMerge(negative_, other.negative_, shifts));
  shifts.own += more;
  shifts.other += more;
  positive_.Merge(other.positive_, shifts);
  negative_.Merge(other.negative_, shifts);
  scale_ = scale - more;
}

double Sketch::MiddleOf(int index) const {
  // Split into a power of two and a factor below 2, so that the buckets next to
  // the largest and the least double are computed like any other.
  const int whole = scale_ >= 0 ? index >> scale_ : index * (1 << -scale_);
  const double part = scale_ >= 0 ? std::ldexp(index & ((1 << scale_) - 1), -scale_) : 0.0;
  const double inverse_base = std::exp2(-std::ldexp(1.0, -scale_));
  const double middle = std::ldexp(std::exp2(part) * (2 / (1 + inverse_base)), whole);
  return std::max(middle, std::numeric_limits<double>::denorm_min());
}

double Sketch::Quantile(double q) const {
  WEIR_CHECK(count_ > 0 && q >= 0 && q <= 1);
  const double product = q * static_cast<double>(count_);
  // 2^63 as a double is one past the largest count.
  const double rank = std::ceil(product - product * 0x1p-51);
  uint64_t rest = static_cast<uint64_t>(std::max(rank, 1.0));
  rest = std::min(rest, static_cast<uint64_t>(count_));

  Buckets::Counts counts;
  if (!negative_.empty()) {
    const Buckets::Range range = negative_.CopyTo(&counts);
    for (int i = range.size() - 1; i >= 0; --i) {
      if (rest <= counts[i]) return -MiddleOf(range.begin + i);
      rest -= counts[i];
    }
  }
  if (rest <= static_cast<uint64_t>(zero_count_)) return 0;
  rest -= zero_count_;
  WEIR_CHECK(!positive_.empty());
  const Buckets::Range range = positive_.CopyTo(&counts);
  int i = 0;
  for (; rest > counts[i]; ++i) {
    WEIR_CHECK(i + 1 < range.size());
    rest -= counts[i];
  }
  return MiddleOf(range.begin + i);
}

void Sketch::ForEach(absl::FunctionRef<void(double value, int64_t count)> visit) const {
  Buckets::Counts counts;
  if (!negative_.empty()) {
    const Buckets::Range range = negative_.CopyTo(&counts);
    for (int i = range.size() - 1; i >= 0; --i) {
      if (counts[i] > 0) visit(-MiddleOf(range.begin + i), static_cast<int64_t>(counts[i]));
    }
  }
  if (zero_count_ > 0) visit(0, zero_count_);
  if (positive_.empty()) return;
  const Buckets::Range range = positive_.CopyTo(&counts);
  for (int i = 0; i < range.size(); ++i) {
    if (counts[i] > 0) visit(MiddleOf(range.begin + i), static_cast<int64_t>(counts[i]));
  }
}

double Sketch::RelativeError() const {
  const double grid = ErrorOfScale(scale_);
  if (coarse_error_ == 0) return grid;
  // A coarse value was besides moved to the middle of its bucket.
  return std::min((1 + coarse_error_ * kErrorUnit) * (1 + grid) - 1, 1.0);
}

void Sketch::AppendTo(std::string* out) const {
  out->push_back(coarse_error_ == 0 ? kVersion : kVersionWithError);
  AppendVarint(ZigZag(scale_), out);
  AppendVarint(zero_count_, out);
  if (coarse_error_ != 0) AppendVarint(coarse_error_, out);
  AppendBuckets(positive_, out);
  AppendBuckets(negative_, out);
}

absl::StatusOr<Sketch> Sketch::Parse(std::string_view bytes) {
  SketchReader reader(bytes);
  const uint8_t version = reader.Version();
  if (version != kVersion && version != kVersionWithError) {
    return absl::DataLossError(absl::StrCat("sketch: unknown version ", version));
  }
  const int64_t scale = UnZigZag(reader.Varint());
  const uint64_t zero_count = reader.Varint();
  const uint64_t error = version == kVersionWithError ? reader.Varint() : 0;
  if (error > kLargestError || (version == kVersionWithError && error == 0)) {
    return absl::DataLossError("sketch: impossible error");
  }
  if (scale < kMinScale || scale > kMaxScale) {
    return absl::DataLossError(absl::StrCat("sketch: impossible scale ", scale));
  }
  if (zero_count > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return absl::DataLossError("sketch: impossible count");
  }
  Sketch sketch;
  sketch.coarse_error_ = static_cast<uint32_t>(error);
  sketch.scale_ = static_cast<int32_t>(scale);
  sketch.zero_count_ = static_cast<int64_t>(zero_count);
  sketch.count_ = sketch.zero_count_;
  if (!reader.ReadBuckets(sketch.scale_, &sketch.count_, &sketch.positive_) ||
      !reader.ReadBuckets(sketch.scale_, &sketch.count_, &sketch.negative_)) {
    return absl::DataLossError("sketch: impossible buckets");
  }
  if (!sketch.has_buckets() && scale != kInitialScale) {
    return absl::DataLossError("sketch: a scale without buckets");
  }
  if (!reader.complete()) return absl::DataLossError("sketch: not exactly one sketch");
  return sketch;
}

}  // namespace weir
