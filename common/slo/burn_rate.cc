#include "common/slo/burn_rate.h"

#include "absl/status/status.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/slo/duration_text.h"

namespace weir {
namespace {

constexpr absl::Duration kMaxPeriod = absl::Hours(24 * 3660);

absl::Status CheckLength(std::string_view name, absl::Duration length) {
  if (length <= absl::ZeroDuration() || length > kMaxPeriod ||
      length != absl::Trunc(length, absl::Seconds(1))) {
    return absl::InvalidArgumentError(
        StrCat(name, " ", DurationText(length),
               " is not a whole number of seconds above 0 and at most ", DurationText(kMaxPeriod)));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kTicket:
      return "ticket";
    case Severity::kPage:
      return "page";
  }
  return "unknown";
}

absl::StatusOr<Factor> Factor::FromRatio(const Ratio& ratio, std::string_view what) {
  if (ratio.numerator() <= 0) {
    return absl::InvalidArgumentError(
        StrCat(what, " is not above 0; a factor is the burn rate a row must pass, such as 14.4"));
  }
  if (ratio.numerator() > kMaxTerm || ratio.denominator() > kMaxTerm) {
    return absl::InvalidArgumentError(StrCat(
        what, " is the ratio ", ratio.ToString(), " when reduced, whose terms may be at most ",
        kMaxTerm, "; write it with fewer digits, or choose rounder windows"));
  }
  return Factor(static_cast<int64_t>(ratio.numerator()), static_cast<int64_t>(ratio.denominator()));
}

absl::StatusOr<Factor> Factor::Create(Decimal value) {
  return FromRatio(value.ToRatio(), StrCat("factor ", value.ToString()));
}

absl::StatusOr<Factor> Factor::FromShare(const Share& share) {
  WEIR_RETURN_IF_ERROR(CheckLength("period", share.period));
  WEIR_RETURN_IF_ERROR(CheckLength("window", share.window));
  if (share.budget_share <= Decimal() || share.budget_share > Decimal::Of(1, 0)) {
    return absl::InvalidArgumentError(StrCat("budget share ", share.budget_share.ToString(),
                                             " is not above 0 and at most 1; write 0.02 or 2%"));
  }
  // Terms at most 10^9 * 3.2 * 10^8 < 2^59.
  const Ratio ratio(
      absl::int128(share.budget_share.units()) * absl::ToInt64Seconds(share.period),
      absl::int128(PowerOfTen(share.budget_share.scale())) * absl::ToInt64Seconds(share.window));
  return FromRatio(
      ratio, StrCat("the factor that spends ", share.budget_share.ToString(), " of the budget of ",
                    DurationText(share.period), " in ", DurationText(share.window)));
}

absl::StatusOr<std::vector<BurnRow>> WorkbookRows(absl::Duration period) {
  WEIR_RETURN_IF_ERROR(CheckLength("period", period));
  if (period < absl::Hours(1)) {
    return absl::InvalidArgumentError(StrCat(
        "period ", DurationText(period), " is below 1h, the shortest long window of the workbook"));
  }
  struct Preset {
    Severity severity;
    int budget_percent;
    absl::Duration long_window;
  };
  std::vector<BurnRow> rows;
  for (const Preset& preset :
       {Preset{Severity::kPage, 2, absl::Hours(1)}, Preset{Severity::kPage, 5, absl::Hours(6)},
        Preset{Severity::kTicket, 10, absl::Hours(24)},
        Preset{Severity::kTicket, 10, absl::Hours(72)}}) {
    WEIR_ASSIGN_OR_RETURN(const Factor factor,
                          Factor::FromShare({.budget_share = Decimal::Of(preset.budget_percent, 2),
                                             .period = period,
                                             .window = preset.long_window}));
    rows.push_back({.severity = preset.severity,
                    .long_window = preset.long_window,
                    .short_window = preset.long_window / 12,
                    .factor = factor});
  }
  return rows;
}

bool BurnsAbove(const Factor& factor, const Goal& goal, const Counts& counts) {
  if (counts.total_count <= 0 || counts.bad_count <= 0) return false;
  // The header proves that neither side overflows.
  return absl::int128(counts.bad_count) * goal.allowed_denominator() * factor.denominator() >
         absl::int128(counts.total_count) * goal.allowed_numerator() * factor.numerator();
}

bool Burns(const BurnRow& row, const Goal& goal, const RowCounts& counts) {
  return counts.long_window.total_count >= row.min_total_count &&
         BurnsAbove(row.factor, goal, counts.long_window) &&
         BurnsAbove(row.factor, goal, counts.short_window);
}

}  // namespace weir
