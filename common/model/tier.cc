#include "common/model/tier.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"

namespace weir {
namespace {

constexpr int64_t kMinute = 60;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;

// No length of time in the table may pass a century, so that sums of a few of
// them and of any sane clock stay far from the ends of an int64.
constexpr int64_t kMaxSeconds = 36'525 * kDay;

absl::Status ValidateAlone(const Tier& tier) {
  const auto error = [&](const char* what) {
    return absl::InvalidArgumentError(absl::StrCat("tier \"", tier.window, "\": ", what));
  };
  if (tier.window.empty()) return error("its window has no name");
  if (tier.bin_seconds <= 0) return error("bin_seconds must be positive");
  if (tier.window_seconds <= 0) return error("window_seconds must be positive");
  if (tier.window_seconds % tier.bin_seconds != 0) {
    return error("window_seconds must be a multiple of bin_seconds");
  }
  if (tier.retention_seconds < tier.window_seconds) {
    return error("retention_seconds must cover the window");
  }
  if (tier.retention_seconds > kMaxSeconds) {
    return error("retention_seconds must be at most a century");
  }
  return absl::OkStatus();
}

absl::Status ValidatePair(const Tier& finer, const Tier& coarser) {
  const auto error = [&](const char* what) {
    return absl::InvalidArgumentError(
        absl::StrCat("tiers \"", finer.window, "\" and \"", coarser.window, "\": ", what));
  };
  if (coarser.bin_seconds <= finer.bin_seconds || coarser.bin_seconds % finer.bin_seconds != 0) {
    return error("each bin_seconds must divide the next, larger one");
  }
  if (coarser.retention_seconds <= finer.retention_seconds) {
    return error("retention_seconds must rise from tier to tier");
  }
  return absl::OkStatus();
}

}  // namespace

TierTable TierTable::Default() {
  absl::StatusOr<TierTable> table = Create({
      {.window = "5m",
       .window_seconds = 5 * kMinute,
       .bin_seconds = 10,
       .retention_seconds = kHour},
      {.window = "1h", .window_seconds = kHour, .bin_seconds = kMinute, .retention_seconds = kDay},
      {.window = "24h",
       .window_seconds = kDay,
       .bin_seconds = 15 * kMinute,
       .retention_seconds = 7 * kDay},
      {.window = "30d",
       .window_seconds = 30 * kDay,
       .bin_seconds = kHour,
       .retention_seconds = 100 * kDay},
      {.window = "1y",
       .window_seconds = 365 * kDay,
       .bin_seconds = kDay,
       .retention_seconds = 400 * kDay},
  });
  WEIR_CHECK_OK(table.status());
  return *std::move(table);
}

absl::StatusOr<TierTable> TierTable::Create(std::vector<Tier> tiers) {
  if (tiers.empty()) return absl::InvalidArgumentError("tiers: at least one is needed");
  for (size_t i = 0; i < tiers.size(); ++i) {
    if (absl::Status status = ValidateAlone(tiers[i]); !status.ok()) return status;
    if (i > 0) {
      if (absl::Status status = ValidatePair(tiers[i - 1], tiers[i]); !status.ok()) return status;
    }
    for (size_t j = 0; j < i; ++j) {
      if (tiers[j].window == tiers[i].window) {
        return absl::InvalidArgumentError(
            absl::StrCat("tiers: two are named \"", tiers[i].window, "\""));
      }
    }
  }
  return TierTable(std::move(tiers));
}

absl::StatusOr<int> TierTable::FindWindow(std::string_view window) const {
  for (int tier = 0; tier < size(); ++tier) {
    if (tiers_[tier].window == window) return tier;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown window \"", std::string(window), "\"; the windows are ",
      absl::StrJoin(tiers_, ", ",
                    [](std::string* out, const Tier& tier) { out->append(tier.window); })));
}

int64_t TierTable::FloorSeconds(int tier, absl::Time now) const {
  const Tier& kept = tiers_[tier];
  const Tier& coarser = tiers_[std::min(tier + 1, size() - 1)];
  return AlignDown(absl::ToUnixSeconds(now) - kept.retention_seconds, coarser.bin_seconds);
}

}  // namespace weir
