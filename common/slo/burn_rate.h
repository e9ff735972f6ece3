// When a burn rate is worth waking somebody: multiwindow, multi-burn-rate rows.
//
//   factor = share of the period's budget * period / long window
//   a row burns  iff  burn(long) > factor  and  burn(short) > factor
//
// SRE workbook, chapter 5: the long window says that it matters, the short one (a
// twelfth) that it still goes on, so that an alert resolves soon after the errors
// stop. An SLO alerts when any of its rows does. 2 % of a 30-day budget in one hour
// is a factor of 14.4: against a goal of 99.9 %, more than 1.44 % bad requests.
//
// No comparison divides. With burn = (bad / total) * (aD / aN), where aN / aD is what
// the goal allows, and factor = fN / fD:
//
//   burn > factor   iff   bad * aD * fD > total * aN * fN
//
// bad and total are below 2^63, aN and aD at most 10^9, fN and fD at most 10^10:
// each product is below 9.3 * 10^18 * 10^19 = 9.3 * 10^37 < 2^127 = 1.7 * 10^38, so
// signed 128 bits hold it, whatever the counts are.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/slo/decimal.h"
#include "common/slo/goal.h"
#include "common/slo/ratio.h"

namespace weir {

// The burn rate that a row must pass: a ratio above 0, as written ("14.4") or as
// computed from a share of the budget (14/15, which no decimal is).
//
// Invariant: numerator and denominator, reduced, are in [1, 10^10].
class Factor {
 public:
  static constexpr int64_t kMaxTerm = 10'000'000'000;

  // The burn rate that spends the budget exactly in the period.
  static constexpr Factor One() { return Factor(1, 1); }

  // Errors: InvalidArgument unless value > 0, and within the invariant.
  static absl::StatusOr<Factor> Create(Decimal value);

  // The factor at which `window` spends `budget_share` of the budget of `period`:
  // share * period / window. 2 % in 1 h of 30 d is 14.4, of 28 d 13.44.
  //
  // Errors: InvalidArgument unless the share is in (0, 1], both durations are whole
  // seconds above 0 and at most 10 years, and the result is within the invariant.
  struct Share {
    Decimal budget_share;
    absl::Duration period;
    absl::Duration window;
  };
  static absl::StatusOr<Factor> FromShare(const Share& share);

  int64_t numerator() const { return numerator_; }
  int64_t denominator() const { return denominator_; }
  Ratio ToRatio() const { return Ratio(numerator_, denominator_); }
  std::string ToString() const { return ToRatio().ToString(); }

  friend bool operator==(const Factor&, const Factor&) = default;
  friend std::strong_ordering operator<=>(const Factor& a, const Factor& b) {
    // Each product is at most 10^20 < 2^67.
    const absl::int128 left = absl::int128(a.numerator_) * b.denominator_;
    const absl::int128 right = absl::int128(b.numerator_) * a.denominator_;
    if (left == right) return std::strong_ordering::equal;
    return left < right ? std::strong_ordering::less : std::strong_ordering::greater;
  }

 private:
  constexpr Factor(int64_t numerator, int64_t denominator)
      : numerator_(numerator), denominator_(denominator) {}
  static absl::StatusOr<Factor> FromRatio(const Ratio& ratio, std::string_view what);

  int64_t numerator_;
  int64_t denominator_;
};

// How soon somebody must look. In rising order.
enum class Severity {
  kTicket,  // within days
  kPage,    // now
};
std::string_view SeverityName(Severity severity);  // "ticket", "page"

// One row of an SLO's burn-rate table.
struct BurnRow {
  Severity severity = Severity::kPage;
  absl::Duration long_window;   // whole seconds, above short_window
  absl::Duration short_window;  // whole seconds, above 0
  Factor factor = Factor::One();
  // How long the row must have burnt without a break before it fires; 0 fires at
  // once. The workbook has none: its short windows are the damping.
  absl::Duration for_duration;
  // The row burns only where the long window has at least this many requests; 0
  // for any. At 10 requests an hour one failure burns a 99.9 % goal 100-fold.
  int64_t min_total_count = 0;

  friend bool operator==(const BurnRow&, const BurnRow&) = default;
};

// The workbook's four rows for a period of any length:
//
//   severity  budget  long  short   factor of 30 d   28 d
//   page         2 %   1 h    5 m             14.4  13.44
//   page         5 %   6 h   30 m              6      5.6
//   ticket      10 %   1 d    2 h              3      2.8
//   ticket      10 %   3 d    6 h              1     14/15
//
// Errors: InvalidArgument for a period below 1 h or above 10 years, or one that is
// not whole seconds. For a short period some rows may be useless: see lint.h.
absl::StatusOr<std::vector<BurnRow>> WorkbookRows(absl::Duration period);

// What a row's two windows hold at one instant.
struct RowCounts {
  Counts long_window;
  Counts short_window;
};

// Whether one window's burn rate is above the factor; strictly, so that a row at
// exactly its factor is quiet. A window without requests burns nothing.
bool BurnsAbove(const Factor& factor, const Goal& goal, const Counts& counts);

// Whether the row burns: both windows above its factor, and enough requests in the
// long one. `for_duration` is time's business, not counted here.
bool Burns(const BurnRow& row, const Goal& goal, const RowCounts& counts);

}  // namespace weir
