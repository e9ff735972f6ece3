// The half-open interval [start, end).
#pragma once

#include "absl/time/time.h"

namespace weir {

struct TimeSpan {
  absl::Time start;  // inclusive
  absl::Time end;    // exclusive; not before start

  bool Contains(absl::Time t) const { return start <= t && t < end; }
  bool Overlaps(const TimeSpan& other) const { return start < other.end && other.start < end; }
  absl::Duration length() const { return end - start; }

  friend bool operator==(const TimeSpan&, const TimeSpan&) = default;
};

}  // namespace weir
