// The distribution of one bin: OTLP's base-2 exponential histogram, mergeable.
//
//   base = 2^(2^-scale)      bucket i covers (base^i, base^(i+1)]
//
// A value is reported as its bucket's point of least relative error, so a
// quantile is off by at most (base - 1) / (base + 1): 1.09 % at scale 5. A
// sketch starts at scale 5 and grows its bucket range up to kMaxBuckets before
// it halves its resolution; merging keeps the lower scale of the two.
//
// The same values give the same sketch, whatever the order and the tree of adds
// and merges: bucket indexes at a lower scale are those at a higher one, shifted,
// and the scale is the highest, up to that of every part, at which both signs fit
// kMaxBuckets. Add is the merge of a sketch of one value at kInitialScale.
//
// A sketch holds at most 2^63 - 1 values: what would go beyond is left out, since
// counts come from clients and one that lies must not do more harm than that.
//
// Invariants: count is the sum of all buckets and zeros; buckets of both signs
// share one scale; -10 <= scale <= 20 (OTLP's range), and kInitialScale while
// there are no buckets.
// Thread safety: thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/sketch/buckets.h"

namespace weir {

class Sketch {
 public:
  static constexpr int kInitialScale = 5;
  static constexpr int kMinScale = -10;
  static constexpr int kMaxScale = 20;
  // The widest range of buckets kept per sign: at scale 5 that is 2^40, from a
  // microsecond to twelve days.
  static constexpr int kMaxBuckets = Buckets::kMaxBuckets;

  // REQUIRES: value is finite; count > 0.
  void Add(double value, int64_t count = 1);

  // Adds `count` values of which `value` is known to be within a relative error;
  // the largest such error stays with the sketch.
  // REQUIRES: as Add; relative_error in [0, 1].
  void AddCoarse(double value, int64_t count, double relative_error);

  // One side of an exponential histogram: counts[0] is bucket `begin`'s.
  struct Side {
    int64_t begin = 0;
    absl::Span<const int64_t> counts;  // none negative; zeros at the ends do no harm
  };
  // The sketch with these buckets, at `scale` or, where they span too many, below.
  // Errors: InvalidArgument for a scale outside [kMinScale, kMaxScale], an index no
  // double has, a negative count, or counts that add up to 2^63 and more.
  static absl::StatusOr<Sketch> FromBuckets(int scale, int64_t zero_count, Side positive,
                                            Side negative);

  void Merge(const Sketch& other);

  // Visits what Quantile answers with, ascending: each bucket's middle, and zero.
  void ForEach(absl::FunctionRef<void(double value, int64_t count)> visit) const;

  // The value of rank ceil(q * n), at least 1, among the n values in ascending
  // order, to within RelativeError(): the middle of its bucket, 2ab / (a + b) for
  // (a, b], which is as wrong about a as about b. Zeros are exact. (Below 1e-306,
  // where doubles are that coarse, it is also rounded to one.) A q * n that
  // misses an integer by rounding alone is that integer, so that 0.07 of 100
  // values is the 7th. REQUIRES: count() > 0; q in [0, 1].
  double Quantile(double q) const;

  // The largest relative error of a quantile: (base - 1) / (base + 1) at the
  // current scale, on top of that of the coarsest value added. 1 says that nothing
  // is known of how far off it is.
  double RelativeError() const;

  int64_t count() const { return count_; }
  int scale() const { return scale_; }

  // docs/formats/sketch.md: a version byte, scale, zero count, the error of coarse
  // values if there are any, then each sign's first index and counts as varints.
  // Equal sketches give equal bytes.
  void AppendTo(std::string* out) const;
  // Errors: DataLoss for anything AppendTo cannot have written (unknown version,
  // scale or index out of range, more than kMaxBuckets, counts that overflow,
  // empty ends, a varint longer than it needs to be).
  static absl::StatusOr<Sketch> Parse(std::string_view bytes);

  // Bytes held, for memory limits.
  size_t memory_bytes() const {
    return sizeof(*this) + positive_.heap_bytes() + negative_.heap_bytes();
  }

  friend bool operator==(const Sketch&, const Sketch&) = default;

 private:
  bool has_buckets() const { return !positive_.empty() || !negative_.empty(); }
  void AddSlowly(Buckets* buckets, int index, int64_t count);
  // Halves the resolution `shift` times.
  void Downscale(int shift);
  // What `index` stands for in an answer, without its sign.
  double MiddleOf(int index) const;

  int64_t count_ = 0;
  int64_t zero_count_ = 0;
  int32_t scale_ = kInitialScale;
  // The relative error of the coarsest value, in millionths, rounded up.
  uint32_t coarse_error_ = 0;
  Buckets positive_;
  Buckets negative_;
};

// A million open bins hold one each: nothing is allocated before the values of
// a bin spread over 24 buckets.
static_assert(sizeof(Sketch) <= 96);

}  // namespace weir
