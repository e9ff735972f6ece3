// What the counts of indicators are called and how long they are kept.
//
// An indicator counts good events among all of them, or adds up a sum, as
// integers per bin of event time. Burn rates and budgets are computed from these
// bins alone, so they are kept in tiers of their own: fine ones for as long as
// the shortest windows look back, coarse ones for the longest period of a goal.
//
// Thread safety: pure functions and constants.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "common/base/id128.h"

namespace weir {

struct IndicatorTag {};
using IndicatorId = Id128<IndicatorTag>;

// The first 128 bits of the SHA-256 of the length-prefixed tenant and name: the
// same in every process and for ever.
IndicatorId IdOfIndicator(std::string_view tenant, std::string_view name);

struct IndicatorTier {
  int64_t bin_seconds;   // bin width; divides the next tier's
  int64_t kept_seconds;  // how long bins are kept, counted from their start
};

// Every tier counts every event, so that each answers alone: 10 s for 2 h, 1 min
// for 2 d, 15 min for 40 d, 1 h for 100 d. A bin is half-open, [start, start +
// bin_seconds), and starts at a multiple of its width since 1970 (AlignDown in
// tier.h).
inline constexpr std::array<IndicatorTier, 4> kIndicatorTiers = {{
    {.bin_seconds = 10, .kept_seconds = 2 * 3600},
    {.bin_seconds = 60, .kept_seconds = 2 * 86400},
    {.bin_seconds = 900, .kept_seconds = 40 * 86400},
    {.bin_seconds = 3600, .kept_seconds = 100 * 86400},
}};
inline constexpr int kIndicatorTierCount = static_cast<int>(kIndicatorTiers.size());

}  // namespace weir
