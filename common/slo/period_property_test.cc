// Calendar periods against the C library's time zones, which share no code with
// Abseil's: a period's start is found by asking localtime_r() minute by minute, then
// second by second, which is the first instant whose local date is the period's first
// day or later.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/slo/period.h"
#include "common/testing/test_seed.h"

namespace weir {
namespace {

constexpr int64_t kHourSeconds = 3'600;
constexpr int64_t kDaySeconds = 24 * kHourSeconds;

// Zones with something odd about them, and some without: changes at or about midnight,
// by half an hour or two hours, backwards in summer, twice a year and back for Ramadan,
// across the date line, offsets of quarter hours.
constexpr const char* kZones[] = {
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Tokyo",
    "America/Havana",
    "Asia/Beirut",
    "America/Sao_Paulo",
    "America/Asuncion",
    "America/Santiago",
    "America/St_Johns",
    "Africa/Cairo",
    "Asia/Amman",
    "Asia/Damascus",
    "Asia/Gaza",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Pacific/Chatham",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Africa/Casablanca",
    "Europe/Dublin",
    "Atlantic/Azores",
    "America/Scoresbysund",
    "America/Nuuk",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Pacific/Kiritimati",
    "Pacific/Fakaofo",
    "Africa/Monrovia",
    "Asia/Pyongyang",
    "America/Caracas",
    "America/Goose_Bay",
    "Asia/Dhaka",
    "Africa/Juba",
    "Antarctica/Casey",
    "Europe/Lisbon",
    "Europe/Moscow",
    "Asia/Singapore",
    "Pacific/Easter",
};

// The C library in one zone; back to the one before at the end.
class LibraryZone {
 public:
  explicit LibraryZone(const std::string& zone) {
    if (const char* before = std::getenv("TZ"); before != nullptr) before_ = before;
    ::setenv("TZ", (":" + zone).c_str(), 1);
    ::tzset();
  }
  ~LibraryZone() {
    if (before_.empty()) {
      ::unsetenv("TZ");
    } else {
      ::setenv("TZ", before_.c_str(), 1);
    }
    ::tzset();
  }

  std::tm Local(int64_t seconds) const {
    const std::time_t t = seconds;
    std::tm local{};
    ::localtime_r(&t, &local);
    return local;
  }

 private:
  std::string before_;
};

// Days since 1970-01-01 of a date, and back, by counting years and months.
bool IsLeap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }
int DaysInMonth(int64_t year, int month) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return kDays[month - 1] + (month == 2 && IsLeap(year) ? 1 : 0);
}
struct Date {
  int64_t year;
  int month;
  int day;
};
int64_t DayNumber(const Date& date) {
  int64_t days = date.day - 1;
  for (int64_t year = 1970; year < date.year; ++year) days += IsLeap(year) ? 366 : 365;
  for (int64_t year = date.year; year < 1970; ++year) days -= IsLeap(year) ? 366 : 365;
  for (int month = 1; month < date.month; ++month) days += DaysInMonth(date.year, month);
  return days;
}
int64_t LocalDay(const std::tm& local) {
  return DayNumber({local.tm_year + 1900, local.tm_mon + 1, local.tm_mday});
}

// The first instant, in seconds, whose local day is `day` or later; offsets are within
// 26 hours of UTC.
int64_t NaiveFirstInstant(const LibraryZone& zone, int64_t day) {
  const auto reached = [&](int64_t t) { return LocalDay(zone.Local(t)) >= day; };
  int64_t t = day * kDaySeconds - 15 * kHourSeconds;
  EXPECT_FALSE(reached(t));
  // By minutes from a whole minute on: no zone has since 1970 changed twice in one.
  while (!reached(t + 60)) t += 60;
  while (!reached(t)) ++t;
  return t;
}

// What kind of period, in a form both implementations read.
struct Spec {
  enum Kind { kDay, kWeek, kMonth, kQuarter, kYear, kEveryDays } kind;
  int first_weekday = 1;  // 0 is Sunday, as tm_wday
  int day_count = 1;
  Date anchor{2000, 1, 1};
};

// The first days of the period that local day `date` is in, and of the next.
std::pair<int64_t, int64_t> NaiveDays(const Spec& spec, const std::tm& local) {
  const int64_t year = local.tm_year + 1900;
  const int month = local.tm_mon + 1;
  const int64_t today = LocalDay(local);
  const auto of_months = [&](int count) {
    const int first = month - (month - 1) % count;
    const int next = first + count;
    return std::pair(DayNumber({year, first, 1}),
                     next > 12 ? DayNumber({year + 1, next - 12, 1}) : DayNumber({year, next, 1}));
  };
  switch (spec.kind) {
    case Spec::kDay:
      return {today, today + 1};
    case Spec::kWeek: {
      const int64_t first = today - (local.tm_wday - spec.first_weekday + 7) % 7;
      return {first, first + 7};
    }
    case Spec::kMonth:
      return of_months(1);
    case Spec::kQuarter:
      return of_months(3);
    case Spec::kYear:
      return of_months(12);
    case Spec::kEveryDays: {
      int64_t first = DayNumber(spec.anchor);
      while (first > today) first -= spec.day_count;
      while (first + spec.day_count <= today) first += spec.day_count;
      return {first, first + spec.day_count};
    }
  }
  return {};
}

absl::StatusOr<Period> MakePeriod(const Spec& spec, const std::string& zone) {
  constexpr absl::Weekday kWeekdays[] = {absl::Weekday::sunday,   absl::Weekday::monday,
                                         absl::Weekday::tuesday,  absl::Weekday::wednesday,
                                         absl::Weekday::thursday, absl::Weekday::friday,
                                         absl::Weekday::saturday};
  if (spec.kind == Spec::kEveryDays) {
    return Period::EveryDays(
        {.day_count = spec.day_count,
         .anchor = absl::CivilDay(spec.anchor.year, spec.anchor.month, spec.anchor.day),
         .zone = zone});
  }
  constexpr CalendarUnit kUnits[] = {CalendarUnit::kDay, CalendarUnit::kWeek, CalendarUnit::kMonth,
                                     CalendarUnit::kQuarter, CalendarUnit::kYear};
  return Period::Calendar(
      {.unit = kUnits[spec.kind], .zone = zone, .first_weekday = kWeekdays[spec.first_weekday]});
}

Spec AnySpec(Random& random) {
  const int year = static_cast<int>(random.Between(1990, 2030));
  const int month = static_cast<int>(random.Between(1, 12));
  return {.kind = static_cast<Spec::Kind>(random.Below(6)),
          .first_weekday = static_cast<int>(random.Below(7)),
          .day_count = static_cast<int>(random.Between(1, 40)),
          .anchor = {year, month, static_cast<int>(random.Between(1, DaysInMonth(year, month)))}};
}

// An instant of 1971 to 2060, three times in four within two days of a change of the
// clock, if the zone has any in the year after a random instant.
int64_t AnyInstant(Random& random, const LibraryZone& zone) {
  int64_t t = static_cast<int64_t>(random.Between(31'536'000, 2'840'140'800));
  if (random.OneIn(4)) return t;
  for (int day = 0; day < 366; ++day, t += kDaySeconds) {
    if (zone.Local(t).tm_gmtoff == zone.Local(t + kDaySeconds).tm_gmtoff) continue;
    int64_t last = t, first = t + kDaySeconds;
    while (first - last > 1) {
      const int64_t middle = last + (first - last) / 2;
      (zone.Local(middle).tm_gmtoff == zone.Local(t).tm_gmtoff ? last : first) = middle;
    }
    switch (random.Below(3)) {
      case 0:
        return last + static_cast<int64_t>(random.Below(3));
      case 1:
        return first + static_cast<int64_t>(random.Below(4 * kHourSeconds)) - 2 * kHourSeconds;
      default:
        return first + static_cast<int64_t>(random.Below(4 * kDaySeconds)) - 2 * kDaySeconds;
    }
  }
  return t;
}

std::string Described(const Spec& spec, const std::string& zone, int64_t t) {
  return zone + ", kind " + std::to_string(spec.kind) + ", week from " +
         std::to_string(spec.first_weekday) + ", days " + std::to_string(spec.day_count) + " at " +
         std::to_string(t);
}

TEST(PeriodPropertyTest, StartsAndEndsAreThoseOfTheCLibrary) {
  Random random(test::TestSeed());
  for (const char* name : kZones) {
    const LibraryZone zone(name);
    for (int i = 0; i < 100; ++i) {
      const Spec spec = AnySpec(random);
      const absl::StatusOr<Period> period = MakePeriod(spec, name);
      ASSERT_TRUE(period.ok()) << period.status();
      const int64_t t = AnyInstant(random, zone);
      SCOPED_TRACE(Described(spec, name, t));

      auto [first, next] = NaiveDays(spec, zone.Local(t));
      // The clock went back behind the next period's start.
      while (NaiveFirstInstant(zone, next) <= t) {
        first = next;
        next = NaiveDays(spec, zone.Local(NaiveFirstInstant(zone, next) + 2 * kHourSeconds)).second;
      }
      const TimeSpan span = period->At(absl::FromUnixSeconds(t));
      ASSERT_EQ(absl::ToUnixSeconds(span.start), NaiveFirstInstant(zone, first));
      ASSERT_EQ(absl::ToUnixSeconds(span.end), NaiveFirstInstant(zone, next));
    }
  }
}

// Laws that need no second implementation, over many more instants.
TEST(PeriodPropertyTest, PeriodsHaveNoGapAndNoOverlap) {
  Random random(test::TestSeed());
  for (const char* name : kZones) {
    const LibraryZone zone(name);
    for (int i = 0; i < 500; ++i) {
      const Spec spec = AnySpec(random);
      const absl::StatusOr<Period> period = MakePeriod(spec, name);
      ASSERT_TRUE(period.ok()) << period.status();
      const int64_t seconds = AnyInstant(random, zone);
      SCOPED_TRACE(Described(spec, name, seconds));
      const absl::Time t = absl::FromUnixSeconds(seconds);
      const TimeSpan span = period->At(t);
      ASSERT_TRUE(span.Contains(t));
      ASSERT_EQ(period->At(span.start), span);
      ASSERT_EQ(period->At(span.end - absl::Nanoseconds(1)), span);
      ASSERT_EQ(period->At(span.start - absl::Nanoseconds(1)).end, span.start);
      const TimeSpan next = period->Next(span);
      ASSERT_EQ(next.start, span.end);
      ASSERT_LT(next.start, next.end);
      const Ratio elapsed = period->ElapsedRatio(t);
      ASSERT_GE(elapsed, Ratio());
      ASSERT_LT(elapsed, Ratio(1, 1));
      ASSERT_EQ(elapsed == Ratio(), t == span.start);
    }
  }
}

}  // namespace
}  // namespace weir
