#include "common/slo/window_bins.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/model/indicator.h"
#include "common/slo/duration_text.h"

namespace weir {
namespace {

constexpr int64_t kMinute = 60;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;

TierTable MakeTiers() {
  // Widths and retentions are the store's; how far back each is asked for is decided here.
  struct Window {
    const char* name;
    int64_t seconds;
  };
  constexpr std::array<Window, kIndicatorTierCount> kWindows = {
      {{"10s", kHour}, {"1m", kDay}, {"15m", 39 * kDay}, {"1h", 99 * kDay}}};
  std::vector<Tier> tiers;
  for (size_t i = 0; i < kWindows.size(); ++i) {
    tiers.push_back({.window = kWindows[i].name,
                     .window_seconds = kWindows[i].seconds,
                     .bin_seconds = kIndicatorTiers[i].bin_seconds,
                     .retention_seconds = kIndicatorTiers[i].kept_seconds});
  }
  absl::StatusOr<TierTable> table = TierTable::Create(std::move(tiers));
  WEIR_CHECK_OK(table.status());
  return *std::move(table);
}

// The longest window a tier answers.
absl::Duration Reach(const Tier& tier) { return absl::Seconds(tier.window_seconds); }

absl::Time AlignedDown(absl::Time t, int64_t width_seconds) {
  return absl::UnixEpoch() + absl::Floor(t - absl::UnixEpoch(), absl::Seconds(width_seconds));
}

// [start, end) from the bins of `tier` and, at its new end, of finer ones.
std::vector<BinSpan> Compose(int tier, const TimeSpan& span) {
  const TierTable& tiers = IndicatorTiers();
  std::vector<BinSpan> bins;
  absl::Time from = AlignedDown(span.start, tiers[tier].bin_seconds);
  for (; tier >= 0; --tier) {
    const absl::Time to = AlignedDown(span.end, tiers[tier].bin_seconds);
    if (to <= from) continue;
    bins.push_back({.tier = tier, .span = {.start = from, .end = to}});
    from = to;
  }
  return bins;
}

std::string TimeText(absl::Time t) {
  return absl::FormatTime(absl::RFC3339_full, t, absl::UTCTimeZone());
}

absl::Status CheckEnd(absl::Time end) {
  if (AlignedDown(end, IndicatorTiers()[0].bin_seconds) == end) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat("a window cannot end at ", TimeText(end),
                                           "; it ends at a multiple of ",
                                           DurationText(EvaluationStep())));
}

absl::Time Floor(int tier, absl::Time now) {
  return absl::FromUnixSeconds(IndicatorTiers().FloorSeconds(tier, now));
}

}  // namespace

const TierTable& IndicatorTiers() {
  static const TierTable& tiers = *new TierTable(MakeTiers());
  return tiers;
}

absl::Duration EvaluationStep() { return absl::Seconds(IndicatorTiers()[0].bin_seconds); }

absl::StatusOr<int> TierOfWindow(absl::Duration window) {
  const TierTable& tiers = IndicatorTiers();
  const absl::Duration longest = Reach(tiers[tiers.size() - 1]);
  if (window <= absl::ZeroDuration() || window > longest) {
    return absl::InvalidArgumentError(StrCat("window ", DurationText(window),
                                             " is not above 0 and at most ", DurationText(longest),
                                             ", which is what bins are kept for"));
  }
  int tier = 0;
  while (window > Reach(tiers[tier])) ++tier;
  const absl::Duration width = absl::Seconds(tiers[tier].bin_seconds);
  if (window != absl::Trunc(window, width)) {
    const absl::Duration below = absl::Trunc(window, width);
    const std::string shorter =
        below > absl::ZeroDuration() ? StrCat(DurationText(below), " or ") : std::string();
    return absl::InvalidArgumentError(
        StrCat("window ", DurationText(window), " is not a multiple of ", DurationText(width),
               ", the bins that windows of its length are read from; use ", shorter,
               DurationText(below + width)));
  }
  return tier;
}

absl::StatusOr<std::vector<BinSpan>> BinsOfWindow(absl::Duration window, absl::Time t) {
  WEIR_ASSIGN_OR_RETURN(const int tier, TierOfWindow(window));
  WEIR_RETURN_IF_ERROR(CheckEnd(t));
  return Compose(tier, {.start = t - window, .end = t});
}

absl::StatusOr<std::vector<BinSpan>> BinsOfSpan(const TimeSpan& span, absl::Time now) {
  WEIR_RETURN_IF_ERROR(CheckEnd(span.end));
  if (span.start >= span.end) {
    return absl::InvalidArgumentError(StrCat("a span cannot begin at ", TimeText(span.start),
                                             " and end at ", TimeText(span.end),
                                             ", which is excluded; its end must be later"));
  }
  const TierTable& tiers = IndicatorTiers();
  for (int tier = 0; tier < tiers.size(); ++tier) {
    if (AlignedDown(span.start, tiers[tier].bin_seconds) < Floor(tier, now)) continue;
    std::vector<BinSpan> bins = Compose(tier, span);
    WEIR_RETURN_IF_ERROR(CheckKept(bins, now));
    return bins;
  }
  const int coarsest = tiers.size() - 1;
  return absl::OutOfRangeError(StrCat("a span that begins at ", TimeText(span.start),
                                      " is older than the oldest bins, which at ", TimeText(now),
                                      " begin at ", TimeText(Floor(coarsest, now))));
}

absl::Status CheckKept(const std::vector<BinSpan>& bins, absl::Time now) {
  const TierTable& tiers = IndicatorTiers();
  for (const BinSpan& part : bins) {
    const absl::Time floor = Floor(part.tier, now);
    if (part.span.start >= floor) continue;
    const Tier& tier = tiers[part.tier];
    return absl::OutOfRangeError(
        StrCat("bins of ", DurationText(absl::Seconds(tier.bin_seconds)), " are kept for ",
               DurationText(absl::Seconds(tier.retention_seconds)), ", at ", TimeText(now),
               " from ", TimeText(floor), " on; this needs them from ", TimeText(part.span.start),
               " on, so it cannot be exact any more"));
  }
  return absl::OkStatus();
}

}  // namespace weir
