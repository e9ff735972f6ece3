// Whatever changes the counts' width or range (widening, merging, halving the
// resolution) goes one way: sum into 64-bit scratch on the stack, then store the
// sums at the width they need. At most kMaxBuckets of them, 10 KiB. Only a range
// that grows at the same width, which is what a young sketch does, is copied
// directly.
#include "common/sketch/buckets.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/base/check.h"

namespace weir {
namespace {

absl::Span<uint64_t> Zeroed(Buckets::Counts* scratch, Buckets::Range range) {
  WEIR_CHECK(range.size() > 0 && range.size() <= Buckets::kMaxBuckets);
  std::fill_n(scratch->begin(), range.size(), 0);
  return absl::MakeSpan(scratch->data(), range.size());
}

Buckets::Range Shifted(Buckets::Range range, int shift) {
  return {.begin = range.begin >> shift, .end = ((range.end - 1) >> shift) + 1};
}

Buckets::Range Joined(Buckets::Range a, Buckets::Range b) {
  return {.begin = std::min(a.begin, b.begin), .end = std::max(a.end, b.end)};
}

// The bytes of a count. `largest` may have more bits set than the largest count,
// as the OR of all of them has, but none above its highest.
int WidthOf(uint64_t largest) {
  return largest <= 0xff ? 1 : largest <= 0xffff ? 2 : largest <= 0xffffffff ? 4 : 8;
}

// Calls `function` with a value of the unsigned integer type of that width.
template <typename Function>
auto WithWidth(int width, Function function) {
  switch (width) {
    case 1:
      return function(uint8_t{});
    case 2:
      return function(uint16_t{});
    case 4:
      return function(uint32_t{});
    default:
      return function(uint64_t{});
  }
}

}  // namespace

Buckets::Buckets(const Buckets& other) { *this = other; }

Buckets& Buckets::operator=(const Buckets& other) {
  if (this == &other) return *this;
  char* const copy = other.on_heap() ? new char[other.bytes()] : nullptr;
  Free();
  first_ = other.first_;
  capacity_ = other.capacity_;
  width_ = other.width_;
  if (copy != nullptr) heap_ = copy;
  std::memcpy(data(), other.data(), bytes());
  return *this;
}

Buckets& Buckets::operator=(Buckets&& other) noexcept {
  if (this == &other) return *this;
  Free();
  Take(&other);
  return *this;
}

void Buckets::Free() {
  if (on_heap()) delete[] heap_;
}

void Buckets::Take(Buckets* other) {
  first_ = other->first_;
  capacity_ = other->capacity_;
  width_ = other->width_;
  if (on_heap()) {
    heap_ = other->heap_;
  } else {
    std::memcpy(inline_, other->inline_, bytes());
  }
  other->capacity_ = 0;
}

uint64_t Buckets::operator[](int index) const {
  return WithWidth(width_, [&](auto zero) -> uint64_t {
    return LoadFixed<decltype(zero)>(data() + (index - first_) * sizeof zero);
  });
}

Buckets::Range Buckets::range() const {
  return WithWidth(width_, [&](auto zero) -> Range {
    using Count = decltype(zero);
    const char* const begin = data();
    const char* low = begin;
    const char* high = begin + bytes() - sizeof(Count);
    while (LoadFixed<Count>(low) == 0) low += sizeof(Count);
    while (LoadFixed<Count>(high) == 0) high -= sizeof(Count);
    return {.begin = first_ + static_cast<int>((low - begin) / sizeof(Count)),
            .end = first_ + static_cast<int>((high - begin) / sizeof(Count)) + 1};
  });
}

Buckets::Range Buckets::CopyTo(Counts* counts) const {
  const Range own = range();
  AddTo(Zeroed(counts, own), own.begin, 0);
  return own;
}

void Buckets::Add(int index, uint64_t count) {
  if (TryAdd(index, count)) return;
  Range joint = {.begin = index, .end = index + 1};
  if (!empty()) {
    joint = Joined(joint, range());
    if (index < first_ || index >= first_ + capacity_) {
      Grow(joint);
      if (TryAdd(index, count)) return;
    }
  }
  Counts scratch;
  const absl::Span<uint64_t> sums = Zeroed(&scratch, joint);
  AddTo(sums, joint.begin, 0);
  sums[index - joint.begin] += count;
  Store(joint.begin, sums, /*with_room=*/true);
}

void Buckets::Merge(const Buckets& other, Shifts shifts) {
  if (other.empty() && (empty() || shifts.own == 0)) return;
  Range joint = Shifted(empty() ? other.range() : range(), empty() ? shifts.other : shifts.own);
  if (!other.empty()) joint = Joined(joint, Shifted(other.range(), shifts.other));
  Counts scratch;
  const absl::Span<uint64_t> sums = Zeroed(&scratch, joint);
  AddTo(sums, joint.begin, shifts.own);
  other.AddTo(sums, joint.begin, shifts.other);
  Store(joint.begin, sums, /*with_room=*/false);
}

void Buckets::AddTo(absl::Span<uint64_t> sums, int begin, int shift) const {
  if (empty()) return;
  const Range own = range();
  WithWidth(width_, [&](auto zero) {
    using Count = decltype(zero);
    const char* at = data() + (own.begin - first_) * sizeof(Count);
    if (shift == 0) {
      uint64_t* const to = sums.data() + (own.begin - begin);
      for (int i = 0; i < own.size(); ++i) to[i] += LoadFixed<Count>(at + i * sizeof(Count));
      return;
    }
    for (int index = own.begin; index < own.end; ++index, at += sizeof(Count)) {
      sums[(index >> shift) - begin] += LoadFixed<Count>(at);
    }
  });
}

int Buckets::CapacityFor(int size, int width, bool with_room) {
  const int inline_capacity = static_cast<int>(kInlineBytes) / width;
  if (size <= inline_capacity) return inline_capacity;
  // Half as much again, so that a range growing a bucket at a time is copied a
  // logarithmic number of times.
  return with_room ? std::min(size + size / 2 + 8, kMaxBuckets) : size;
}

void Buckets::Grow(Range range) {
  WEIR_CHECK(range.size() <= kMaxBuckets);
  const Range own = this->range();
  const int capacity = CapacityFor(range.size(), width_, /*with_room=*/true);
  const size_t new_bytes = static_cast<size_t>(capacity) * width_;
  const int first = range.begin - (capacity - range.size()) / 2;
  char inline_copy[kInlineBytes];
  char* const to = new_bytes > kInlineBytes ? new char[new_bytes] : inline_copy;
  std::memset(to, 0, new_bytes);
  std::memcpy(to + static_cast<size_t>(own.begin - first) * width_,
              data() + static_cast<size_t>(own.begin - first_) * width_,
              static_cast<size_t>(own.size()) * width_);
  Free();
  first_ = first;
  capacity_ = static_cast<uint16_t>(capacity);
  if (to == inline_copy) {
    std::memcpy(inline_, to, new_bytes);
  } else {
    heap_ = to;
  }
}

void Buckets::Store(int begin, absl::Span<const uint64_t> counts, bool with_room) {
  WEIR_CHECK(!counts.empty() && counts.size() <= kMaxBuckets);
  const int size = static_cast<int>(counts.size());
  uint64_t all_bits = 0;
  for (const uint64_t count : counts) all_bits |= count;
  const int width = WidthOf(all_bits);

  int capacity = CapacityFor(size, width, with_room);
  const size_t needed_bytes = static_cast<size_t>(capacity) * width;
  if (needed_bytes > kInlineBytes && on_heap() && bytes() >= needed_bytes) {
    // What is allocated suffices; it keeps its size, in slots of the new width.
    const int fitting = static_cast<int>(bytes()) / width;
    if (fitting <= kMaxBuckets && static_cast<size_t>(fitting) * width == bytes()) {
      capacity = fitting;
    }
  }
  const size_t new_bytes = static_cast<size_t>(capacity) * width;
  if (new_bytes <= kInlineBytes) {
    Free();
  } else if (!on_heap() || bytes() != new_bytes) {
    char* const allocated = new char[new_bytes];
    Free();
    heap_ = allocated;
  }
  const int room_before = (capacity - size) / 2;
  first_ = begin - room_before;
  capacity_ = static_cast<uint16_t>(capacity);
  width_ = static_cast<uint8_t>(width);
  std::memset(data(), 0, bytes());
  WithWidth(width, [&](auto zero) {
    using Count = decltype(zero);
    char* at = data() + static_cast<size_t>(room_before) * sizeof(Count);
    for (const uint64_t count : counts) {
      StoreFixed(static_cast<Count>(count), at);
      at += sizeof(Count);
    }
  });
}

bool operator==(const Buckets& a, const Buckets& b) {
  if (a.empty() || b.empty()) return a.empty() == b.empty();
  Buckets::Counts counts_a;
  Buckets::Counts counts_b;
  const Buckets::Range range = a.CopyTo(&counts_a);
  return range == b.CopyTo(&counts_b) &&
         std::equal(counts_a.begin(), counts_a.begin() + range.size(), counts_b.begin());
}

}  // namespace weir
