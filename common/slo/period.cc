#include "common/slo/period.h"

#include <cstdint>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/slo/duration_text.h"

namespace weir {
namespace {

constexpr int kMaxDays = 3660;
constexpr size_t kMaxZoneLength = 64;

// Loading a zone opens a file of that name, so only names that can be zones get there:
// no absolute paths, no "..", and not "localtime", which means another zone on another
// machine.
bool CanBeZone(std::string_view name) {
  if (name.empty() || name.size() > kMaxZoneLength || !absl::ascii_isalpha(name[0])) return false;
  for (const char c : name) {
    if (!absl::ascii_isalnum(c) && c != '/' && c != '_' && c != '-' && c != '+') return false;
  }
  return name != "localtime" && name.back() != '/';
}

absl::StatusOr<absl::TimeZone> LoadZone(const std::string& name) {
  absl::TimeZone zone;
  if (CanBeZone(name) && absl::LoadTimeZone(name, &zone)) return zone;
  const std::string_view quoted = std::string_view(name).substr(0, kMaxZoneLength);
  return absl::InvalidArgumentError(StrCat(
      "time zone \"", quoted, "\" is not in this system's time zone database; use an IANA name ",
      "such as \"UTC\" or \"Europe/Berlin\", and see that tzdata is installed"));
}

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

}  // namespace

std::string_view CalendarUnitName(CalendarUnit unit) {
  switch (unit) {
    case CalendarUnit::kDay:
      return "day";
    case CalendarUnit::kWeek:
      return "week";
    case CalendarUnit::kMonth:
      return "month";
    case CalendarUnit::kQuarter:
      return "quarter";
    case CalendarUnit::kYear:
      return "year";
  }
  return "unknown";
}

absl::Time FirstInstant(absl::CivilDay day, const absl::TimeZone& zone) {
  const absl::TimeZone::TimeInfo midnight = zone.At(absl::CivilSecond(day));
  // A skipped midnight is passed in the transition; of a repeated one `pre` is the first.
  return midnight.kind == absl::TimeZone::TimeInfo::SKIPPED ? midnight.trans : midnight.pre;
}

absl::StatusOr<Period> Period::Rolling(absl::Duration length) {
  if (length < absl::Hours(1) || length > absl::Hours(24 * kMaxDays) ||
      length != absl::Trunc(length, absl::Hours(1))) {
    return absl::InvalidArgumentError(StrCat("rolling period ", DurationText(length),
                                             " is not whole hours, from 1h to ", kMaxDays,
                                             "d; write for example 720h or 30d"));
  }
  Period period;
  period.kind_ = Kind::kRolling;
  period.length_ = length;
  return period;
}

absl::StatusOr<Period> Period::Calendar(const CalendarSpec& spec) {
  Period period;
  period.kind_ = Kind::kCalendar;
  period.unit_ = spec.unit;
  period.first_weekday_ = spec.first_weekday;
  WEIR_ASSIGN_OR_RETURN(period.zone_, LoadZone(spec.zone));
  return period;
}

absl::StatusOr<Period> Period::EveryDays(const EveryDaysSpec& spec) {
  if (spec.day_count < 1 || spec.day_count > kMaxDays) {
    return absl::InvalidArgumentError(
        StrCat("a period of ", spec.day_count, " days; it must be from 1 to ", kMaxDays));
  }
  if (spec.anchor.year() < 1900 || spec.anchor.year() > 2200) {
    return absl::InvalidArgumentError(
        StrCat("anchor ", absl::FormatCivilTime(spec.anchor),
               " is not between the years 1900 and 2200; choose the first ", "day of any period"));
  }
  Period period;
  period.kind_ = Kind::kEveryDays;
  period.day_count_ = spec.day_count;
  period.anchor_ = spec.anchor;
  WEIR_ASSIGN_OR_RETURN(period.zone_, LoadZone(spec.zone));
  return period;
}

absl::CivilDay Period::FirstDay(absl::CivilDay day) const {
  if (kind_ == Kind::kEveryDays) {
    return anchor_ + FloorDivide(day - anchor_, day_count_) * day_count_;
  }
  switch (unit_) {
    case CalendarUnit::kDay:
      return day;
    case CalendarUnit::kWeek:
      return absl::PrevWeekday(day + 1, first_weekday_);
    case CalendarUnit::kMonth:
      return absl::CivilDay(day.year(), day.month(), 1);
    case CalendarUnit::kQuarter:
      return absl::CivilDay(day.year(), (day.month() - 1) / 3 * 3 + 1, 1);
    case CalendarUnit::kYear:
      return absl::CivilDay(day.year(), 1, 1);
  }
  return day;
}

absl::CivilDay Period::NextFirstDay(absl::CivilDay first) const {
  if (kind_ == Kind::kEveryDays) return first + day_count_;
  switch (unit_) {
    case CalendarUnit::kDay:
      return first + 1;
    case CalendarUnit::kWeek:
      return first + 7;
    // Months beyond December carry into the year.
    case CalendarUnit::kMonth:
      return absl::CivilDay(first.year(), first.month() + 1, 1);
    case CalendarUnit::kQuarter:
      return absl::CivilDay(first.year(), first.month() + 3, 1);
    case CalendarUnit::kYear:
      return absl::CivilDay(first.year() + 1, 1, 1);
  }
  return first + 1;
}

TimeSpan Period::At(absl::Time t) const {
  const absl::CivilDay today = absl::ToCivilDay(t, absl::UTCTimeZone());
  WEIR_CHECK_MSG(today.year() >= 1 && today.year() <= 9998, "a time no period is asked for");
  if (rolling()) return {.start = t - length_, .end = t};
  absl::CivilDay first = FirstDay(absl::ToCivilDay(t, zone_));
  absl::CivilDay next = NextFirstDay(first);
  // The local date says which period it is, but for two cases: the clock went back
  // behind the start of the next one, or the next one's start was passed over.
  while (FirstInstant(next, zone_) <= t) {
    first = next;
    next = NextFirstDay(first);
  }
  return {.start = FirstInstant(first, zone_), .end = FirstInstant(next, zone_)};
}

TimeSpan Period::Next(const TimeSpan& period) const {
  if (rolling()) return {.start = period.end, .end = period.end + length_};
  return At(period.end);
}

Ratio Period::ElapsedRatio(absl::Time t) const {
  if (rolling()) return Ratio(1, 1);
  const TimeSpan period = At(t);
  // Eleven years are 3.5 * 10^17 ns, which an int64 holds.
  return Ratio(absl::ToInt64Nanoseconds(t - period.start),
               absl::ToInt64Nanoseconds(period.length()));
}

absl::Duration Period::nominal_length() const {
  constexpr absl::Duration kDay = absl::Hours(24);
  if (rolling()) return length_;
  if (kind_ == Kind::kEveryDays) return day_count_ * kDay;
  switch (unit_) {
    case CalendarUnit::kDay:
      return kDay;
    case CalendarUnit::kWeek:
      return 7 * kDay;
    case CalendarUnit::kMonth:
      return 30 * kDay;
    case CalendarUnit::kQuarter:
      return 90 * kDay;
    case CalendarUnit::kYear:
      return 365 * kDay;
  }
  return kDay;
}

absl::Duration Period::max_length() const {
  constexpr absl::Duration kDay = absl::Hours(24);
  if (rolling()) return length_;
  absl::Duration length = nominal_length();
  if (kind_ == Kind::kCalendar) {
    if (unit_ == CalendarUnit::kMonth || unit_ == CalendarUnit::kYear) length += kDay;  // 31, 366
    if (unit_ == CalendarUnit::kQuarter) length += 2 * kDay;                            // 92
  }
  return length + absl::Hours(2);
}

std::string Period::ToString() const {
  if (rolling()) return StrCat(DurationText(length_), " rolling");
  if (kind_ == Kind::kEveryDays) {
    return StrCat(day_count_, "d from ", absl::FormatCivilTime(anchor_), " in ", zone_.name());
  }
  return StrCat(CalendarUnitName(unit_), " in ", zone_.name());
}

}  // namespace weir
