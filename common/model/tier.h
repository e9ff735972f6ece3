// The one table of windows, bins and retention. Nothing else knows the numbers.
//
// A tier holds the bins of one width. Tier 0 is the finest: samples are folded
// into it; each coarser tier is derived from the one before it.
//
// Thread safety: values and pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace weir {

struct Tier {
  std::string window;             // "5m": what queries ask for
  int64_t window_seconds = 0;     // its default range
  int64_t bin_seconds = 0;        // bin width; divides the next tier's
  int64_t retention_seconds = 0;  // how long bins are kept
};

class TierTable {
 public:
  // 5m/10 s/1 h, 1h/1 min/1 d, 24h/15 min/7 d, 30d/1 h/100 d, 1y/1 d/400 d.
  static TierTable Default();

  // Errors: InvalidArgument unless every width divides the next and its window,
  // retentions rise and each covers its window, and names are unique and not
  // empty.
  static absl::StatusOr<TierTable> Create(std::vector<Tier> tiers);

  int size() const { return static_cast<int>(tiers_.size()); }
  const Tier& operator[](int tier) const { return tiers_[tier]; }

  // The tier a window is answered from. Errors: InvalidArgument, naming the
  // valid windows.
  absl::StatusOr<int> FindWindow(std::string_view window) const;

  // Where the bins of `tier` that are still kept begin at `now`: aligned down to
  // the next coarser bin, since a coarser bin must not lose a part.
  int64_t FloorSeconds(int tier, absl::Time now) const;

 private:
  explicit TierTable(std::vector<Tier> tiers) : tiers_(std::move(tiers)) {}
  std::vector<Tier> tiers_;
};

// The start of the bin of `width_seconds` that holds the instant, rounding
// towards the past also before 1970. Bins are half-open, [start, start + width).
inline int64_t AlignDown(int64_t seconds, int64_t width_seconds) {
  const int64_t remainder = seconds % width_seconds;
  return seconds - remainder - (remainder < 0 ? width_seconds : 0);
}

inline int64_t SecondsOfNanos(int64_t unix_nano) {
  const int64_t seconds = unix_nano / 1'000'000'000;
  return seconds - (unix_nano % 1'000'000'000 < 0 ? 1 : 0);
}

}  // namespace weir
