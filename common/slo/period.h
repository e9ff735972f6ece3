// The span of time an SLO or a budget is judged over: the last 30 days, or this month
// in Berlin.
//
//   rolling     [t - length, t) at any instant t
//   calendar    a day, week, month, quarter or year of an IANA zone
//   every days  N days of an IANA zone, counted from a date
//
// A calendar period begins at the first instant of its first local day. That is not
// always 00:00: clocks that go forward at midnight (Beirut, Havana) skip it, and the
// day begins at 01:00; clocks that go back just after midnight (St. John's, 1987 to
// 2011, at 00:01) repeat it, and the day begins at the first of the two, so that an
// hour of "yesterday" that comes again belongs to today. Periods are thus without gap
// or overlap, and a day may have 23, 24, 25 or, at the date line, 0 hours; one without
// any instant (Apia, 2011-12-30) is passed over.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "common/slo/ratio.h"
#include "common/slo/time_span.h"

namespace weir {

enum class CalendarUnit { kDay, kWeek, kMonth, kQuarter, kYear };
std::string_view CalendarUnitName(CalendarUnit unit);  // "day", "week", ...

class Period {
 public:
  // Errors: InvalidArgument unless `length` is whole hours, from 1 h to 3,660 d.
  static absl::StatusOr<Period> Rolling(absl::Duration length);

  // Errors: InvalidArgument for a zone that the system's time zone database does not
  // have, or a name that is no IANA one ("UTC" and "Europe/Berlin" are).
  struct CalendarSpec {
    CalendarUnit unit = CalendarUnit::kMonth;
    std::string zone = "UTC";
    absl::Weekday first_weekday = absl::Weekday::monday;  // of weeks; others ignore it
  };
  static absl::StatusOr<Period> Calendar(const CalendarSpec& spec);

  // Errors: as Calendar; and unless 1 <= day_count <= 3,660 and the anchor's year is in
  // [1900, 2200].
  struct EveryDaysSpec {
    int day_count = 1;
    absl::CivilDay anchor;  // the first day of one of the periods
    std::string zone = "UTC";
  };
  static absl::StatusOr<Period> EveryDays(const EveryDaysSpec& spec);

  // The period at `t`: that which holds it, or for rolling ones that which ends at it.
  // Never empty. REQUIRES: t is in the years 1 to 9998.
  TimeSpan At(absl::Time t) const;

  // The calendar period after `period`, one of At(). Its start is period.end. A
  // rolling period has no next one: it is the same length, moved to begin at the end.
  TimeSpan Next(const TimeSpan& period) const;

  // How much of its period has passed at `t`, to the nanosecond: in [0, 1) for calendar
  // periods, 1 for rolling ones.
  Ratio ElapsedRatio(absl::Time t) const;

  // What burn-rate factors are computed for, since a factor cannot change with the
  // month: a week is 7 d, a month 30 d, a quarter 90 d, a year 365 d.
  absl::Duration nominal_length() const;
  // The longest that a period can be, which bins must be kept for: 31 d for a month, and
  // two hours for clocks that go back (Antarctica/Troll). Only the date line takes more.
  absl::Duration max_length() const;

  bool rolling() const { return kind_ == Kind::kRolling; }
  // "30d rolling", "month in Europe/Berlin", "14d from 2026-01-05 in UTC".
  std::string ToString() const;

 private:
  enum class Kind { kRolling, kCalendar, kEveryDays };

  Period() = default;

  // The first day of the period that `day` is in, and of the one after it.
  absl::CivilDay FirstDay(absl::CivilDay day) const;
  absl::CivilDay NextFirstDay(absl::CivilDay first) const;

  Kind kind_ = Kind::kRolling;
  absl::Duration length_;  // rolling
  CalendarUnit unit_ = CalendarUnit::kDay;
  absl::Weekday first_weekday_ = absl::Weekday::monday;
  int day_count_ = 1;      // every days
  absl::CivilDay anchor_;  // every days
  absl::TimeZone zone_;
};

// The first instant whose local date in `zone` is `day`; where the zone skips the day
// whole, the instant that it skips it at.
absl::Time FirstInstant(absl::CivilDay day, const absl::TimeZone& zone);

}  // namespace weir
