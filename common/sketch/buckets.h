// Counts by consecutive bucket index: one sign of a sketch.
//
//      first_                                     first_ + capacity_
//        | 0 0 | 3 0 17 250 ... 4 0 1 | 0 0 0 |
//              '------ range() -------'
//
// The counts lie side by side, every one as wide (1, 2, 4 or 8 bytes) as the
// largest needs, with some room at both ends so that a growing range is copied
// rarely. Up to 24 bytes of them live in the object itself: a sketch of a few
// like values allocates nothing, and one of 500 samples takes about 250 bytes.
//
// Invariants: range() is at most kMaxBuckets wide; its ends are not zero. Two
// Buckets are equal when their ranges and counts are, however they lie.
// Thread safety: thread-compatible.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>

#include "absl/types/span.h"
#include "common/base/bytes.h"

namespace weir {

class Buckets {
 public:
  static constexpr int kMaxBuckets = 1280;

  // Indexes [begin, end).
  struct Range {
    int begin = 0;
    int end = 0;
    int size() const { return end - begin; }
    friend bool operator==(const Range&, const Range&) = default;
  };

  Buckets() = default;
  // counts[0] is bucket `begin`'s. REQUIRES: 1 to kMaxBuckets counts, the first
  // and the last not zero.
  Buckets(int begin, absl::Span<const uint64_t> counts) {
    Store(begin, counts, /*with_room=*/false);
  }
  ~Buckets() { Free(); }
  Buckets(const Buckets& other);
  Buckets& operator=(const Buckets& other);
  Buckets(Buckets&& other) noexcept { Take(&other); }
  Buckets& operator=(Buckets&& other) noexcept;

  bool empty() const { return capacity_ == 0; }

  // From the first to past the last bucket that is not zero. REQUIRES: !empty().
  Range range() const;

  // REQUIRES: index is in range().
  uint64_t operator[](int index) const;

  // Writes the counts of range() to the front of `*counts`, and returns it: the
  // way to walk through all of them. REQUIRES: !empty().
  using Counts = std::array<uint64_t, kMaxBuckets>;
  Range CopyTo(Counts* counts) const;

  // Adds where there is room: false, and nothing changed, when `index` lies
  // outside what is allocated or its count would outgrow its width.
  bool TryAdd(int index, uint64_t count) {
    const uint32_t slot = static_cast<uint32_t>(index) - static_cast<uint32_t>(first_);
    if (slot >= capacity_) return false;
    switch (width_) {
      case 1:
        return TryAddAs<uint8_t>(slot, count);
      case 2:
        return TryAddAs<uint16_t>(slot, count);
      case 4:
        return TryAddAs<uint32_t>(slot, count);
      default:
        return TryAddAs<uint64_t>(slot, count);
    }
  }

  // Adds, making room. REQUIRES: the range with `index` is at most kMaxBuckets
  // wide; count > 0.
  void Add(int index, uint64_t count);

  // Adds `other`'s counts, after halving the resolution of either side as often
  // as `shifts` says. REQUIRES: the joint range is then at most kMaxBuckets wide.
  struct Shifts {
    int own = 0;
    int other = 0;
  };
  void Merge(const Buckets& other, Shifts shifts);

  // Bytes allocated besides the object itself.
  size_t heap_bytes() const { return on_heap() ? bytes() : 0; }

  friend bool operator==(const Buckets& a, const Buckets& b);

 private:
  static constexpr size_t kInlineBytes = 24;

  size_t bytes() const { return size_t{capacity_} * width_; }
  bool on_heap() const { return bytes() > kInlineBytes; }
  char* data() { return on_heap() ? heap_ : inline_; }
  const char* data() const { return on_heap() ? heap_ : inline_; }

  template <typename Count>
  bool TryAddAs(uint32_t slot, uint64_t count) {
    char* const at = data() + slot * sizeof(Count);
    const Count before = LoadFixed<Count>(at);
    if (count > uint64_t{std::numeric_limits<Count>::max()} - before) return false;
    StoreFixed(static_cast<Count>(before + count), at);
    return true;
  }

  // How many slots to have for `size` counts of `width` bytes.
  static int CapacityFor(int size, int width, bool with_room);
  void Free();
  void Take(Buckets* other);
  // Adds every count of range() to sums[(index >> shift) - begin].
  void AddTo(absl::Span<uint64_t> sums, int begin, int shift) const;
  // Moves the counts as they are to where `range` fits, with room to grow.
  void Grow(Range range);
  // Replaces everything by these counts, in what is allocated if they fit.
  void Store(int begin, absl::Span<const uint64_t> counts, bool with_room);

  int32_t first_ = 0;      // the index of the first slot
  uint16_t capacity_ = 0;  // slots; 0 only while nothing was added
  uint8_t width_ = 1;      // bytes of a slot
  union {
    char inline_[kInlineBytes];
    char* heap_;  // owned; what is used when bytes() passes kInlineBytes
  };
};

}  // namespace weir
