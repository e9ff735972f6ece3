#include "common/slo/period.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/testing/status_matchers.h"

namespace weir {
namespace {

using ::testing::HasSubstr;
using ::weir::test::StatusIs;

absl::Time Parsed(const std::string& text) {
  absl::Time t;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &t, &error)) << text << ": " << error;
  return t;
}

// "start/end", in UTC.
std::string Text(const TimeSpan& span) {
  const auto one = [](absl::Time t) {
    return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", t, absl::UTCTimeZone());
  };
  return one(span.start) + "/" + one(span.end);
}

Period Calendar(CalendarUnit unit, const char* zone, absl::Weekday first = absl::Weekday::monday) {
  const absl::StatusOr<Period> period =
      Period::Calendar({.unit = unit, .zone = zone, .first_weekday = first});
  EXPECT_TRUE(period.ok()) << period.status();
  return *period;
}

std::string DayAt(const char* zone, const char* t) {
  return Text(Calendar(CalendarUnit::kDay, zone).At(Parsed(t)));
}

TEST(PeriodTest, ARollingPeriodEndsNow) {
  const Period period = *Period::Rolling(absl::Hours(720));
  const TimeSpan now = period.At(Parsed("2026-03-31T12:00:00Z"));
  EXPECT_EQ(Text(now), "2026-03-01T12:00:00Z/2026-03-31T12:00:00Z");
  EXPECT_EQ(Text(period.Next(now)), "2026-03-31T12:00:00Z/2026-04-30T12:00:00Z");
  EXPECT_EQ(period.ElapsedRatio(now.end), Ratio(1, 1));
  EXPECT_EQ(period.nominal_length(), absl::Hours(720));
  EXPECT_TRUE(period.rolling());
  EXPECT_EQ(period.ToString(), "30d rolling");
}

TEST(PeriodTest, LengthsHaveLimits) {
  for (const absl::Duration length :
       {absl::ZeroDuration(), -absl::Hours(1), absl::Minutes(90), absl::Minutes(30),
        absl::Hours(24 * 3661), absl::InfiniteDuration()}) {
    EXPECT_THAT(Period::Rolling(length),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not whole hours")));
  }
  for (const int days : {0, -1, 3661}) {
    EXPECT_THAT(Period::EveryDays({.day_count = days, .anchor = absl::CivilDay(2026, 1, 1)}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("from 1 to 3660")));
  }
  for (const int year : {1899, 2201}) {
    EXPECT_THAT(Period::EveryDays({.day_count = 7, .anchor = absl::CivilDay(year, 1, 1)}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1900 and 2200")));
  }
}

TEST(PeriodTest, OnlyIanaNamesAreZones) {
  for (const char* zone : {"", "Mars/Olympus", "localtime", "/etc/passwd", "../../etc/passwd",
                           "file:/usr/share/zoneinfo/UTC", "Europe/", "Europe", "europe berlin",
                           ":UTC", "/usr/share/zoneinfo/Europe/Berlin", "posixrules\n"}) {
    EXPECT_THAT(Period::Calendar({.unit = CalendarUnit::kDay, .zone = zone}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("is not in this system's time zone database")))
        << zone;
  }
  EXPECT_FALSE(Period::Calendar({.zone = std::string(100'000, 'A')}).ok());
  EXPECT_FALSE(Period::Calendar({.zone = std::string("UTC\0/x", 6)}).ok());
  EXPECT_TRUE(Period::Calendar({.zone = "Etc/GMT+5"}).ok());
  EXPECT_TRUE(Period::Calendar({.zone = "America/Argentina/Buenos_Aires"}).ok());
}

TEST(PeriodTest, MonthsHaveTheirOwnEnds) {
  const Period month = Calendar(CalendarUnit::kMonth, "UTC");
  EXPECT_EQ(Text(month.At(Parsed("2026-02-28T23:59:59Z"))),
            "2026-02-01T00:00:00Z/2026-03-01T00:00:00Z");
  EXPECT_EQ(Text(month.At(Parsed("2024-02-29T12:00:00Z"))),
            "2024-02-01T00:00:00Z/2024-03-01T00:00:00Z");
  EXPECT_EQ(Text(month.At(Parsed("2026-12-31T23:59:59Z"))),
            "2026-12-01T00:00:00Z/2027-01-01T00:00:00Z");
  EXPECT_EQ(Text(month.Next(month.At(Parsed("2026-12-31T23:59:59Z")))),
            "2027-01-01T00:00:00Z/2027-02-01T00:00:00Z");
  // The end is excluded.
  EXPECT_EQ(Text(month.At(Parsed("2026-03-01T00:00:00Z"))),
            "2026-03-01T00:00:00Z/2026-04-01T00:00:00Z");
}

TEST(PeriodTest, QuartersAndYears) {
  const Period quarter = Calendar(CalendarUnit::kQuarter, "UTC");
  EXPECT_EQ(Text(quarter.At(Parsed("2026-03-31T00:00:00Z"))),
            "2026-01-01T00:00:00Z/2026-04-01T00:00:00Z");
  EXPECT_EQ(Text(quarter.At(Parsed("2026-11-15T00:00:00Z"))),
            "2026-10-01T00:00:00Z/2027-01-01T00:00:00Z");
  EXPECT_EQ(Text(Calendar(CalendarUnit::kYear, "Asia/Tokyo").At(Parsed("2026-12-31T15:00:00Z"))),
            "2026-12-31T15:00:00Z/2027-12-31T15:00:00Z");
}

TEST(PeriodTest, WeeksStartOnTheChosenDay) {
  // 2026-03-04 is a Wednesday.
  const absl::Time t = Parsed("2026-03-04T12:00:00Z");
  EXPECT_EQ(Text(Calendar(CalendarUnit::kWeek, "UTC").At(t)),
            "2026-03-02T00:00:00Z/2026-03-09T00:00:00Z");
  EXPECT_EQ(Text(Calendar(CalendarUnit::kWeek, "UTC", absl::Weekday::sunday).At(t)),
            "2026-03-01T00:00:00Z/2026-03-08T00:00:00Z");
  EXPECT_EQ(Text(Calendar(CalendarUnit::kWeek, "UTC", absl::Weekday::wednesday).At(t)),
            "2026-03-04T00:00:00Z/2026-03-11T00:00:00Z");
  EXPECT_EQ(Text(Calendar(CalendarUnit::kWeek, "UTC", absl::Weekday::thursday).At(t)),
            "2026-02-26T00:00:00Z/2026-03-05T00:00:00Z");
}

TEST(PeriodTest, EveryDaysCountsFromItsAnchorBothWays) {
  const Period sprint =
      *Period::EveryDays({.day_count = 14, .anchor = absl::CivilDay(2026, 1, 5), .zone = "UTC"});
  EXPECT_EQ(Text(sprint.At(Parsed("2026-01-05T00:00:00Z"))),
            "2026-01-05T00:00:00Z/2026-01-19T00:00:00Z");
  EXPECT_EQ(Text(sprint.At(Parsed("2026-01-04T23:59:59Z"))),
            "2025-12-22T00:00:00Z/2026-01-05T00:00:00Z");
  EXPECT_EQ(Text(sprint.At(Parsed("2026-03-01T00:00:00Z"))),
            "2026-02-16T00:00:00Z/2026-03-02T00:00:00Z");
  EXPECT_EQ(sprint.nominal_length(), absl::Hours(14 * 24));
  EXPECT_EQ(sprint.ToString(), "14d from 2026-01-05 in UTC");
}

TEST(PeriodTest, ADayAtClockChangesHas23Or25Hours) {
  EXPECT_EQ(DayAt("Europe/Berlin", "2026-03-29T10:00:00Z"),
            "2026-03-28T23:00:00Z/2026-03-29T22:00:00Z");
  EXPECT_EQ(DayAt("Europe/Berlin", "2026-10-25T10:00:00Z"),
            "2026-10-24T22:00:00Z/2026-10-25T23:00:00Z");
  // A half-hour change: Lord Howe.
  EXPECT_EQ(DayAt("Australia/Lord_Howe", "2026-04-05T00:00:00Z"),
            "2026-04-04T13:00:00Z/2026-04-05T13:30:00Z");
}

TEST(PeriodTest, ADayWhoseMidnightIsSkippedBeginsAtItsFirstInstant) {
  // Beirut goes from 23:59:59 to 01:00:00.
  EXPECT_EQ(DayAt("Asia/Beirut", "2022-03-27T10:00:00Z"),
            "2022-03-26T22:00:00Z/2022-03-27T21:00:00Z");
  EXPECT_EQ(DayAt("Asia/Beirut", "2022-03-26T21:59:59Z"),
            "2022-03-25T22:00:00Z/2022-03-26T22:00:00Z");
  EXPECT_EQ(DayAt("America/Havana", "2024-03-10T12:00:00Z"),
            "2024-03-10T05:00:00Z/2024-03-11T04:00:00Z");
  // Toronto once went from 23:30 to 00:30, so that midnight is within what was skipped.
  EXPECT_EQ(DayAt("America/Toronto", "1919-03-31T12:00:00Z"),
            "1919-03-31T04:30:00Z/1919-04-01T04:00:00Z");
}

TEST(PeriodTest, ADayWhoseMidnightIsRepeatedBeginsAtTheFirst) {
  // Havana goes from 00:59:59 back to 00:00:00.
  EXPECT_EQ(DayAt("America/Havana", "2024-11-03T04:30:00Z"),
            "2024-11-03T04:00:00Z/2024-11-04T05:00:00Z");
  EXPECT_EQ(DayAt("America/Havana", "2024-11-03T05:30:00Z"),
            "2024-11-03T04:00:00Z/2024-11-04T05:00:00Z");
}

TEST(PeriodTest, AnHourOfYesterdayThatComesAgainBelongsToToday) {
  // St. John's went from 00:00:59 on Sunday back to 23:01:00 on Saturday.
  const char* sunday = "2009-11-01T02:30:00Z/2009-11-02T03:30:00Z";
  EXPECT_EQ(DayAt("America/St_Johns", "2009-11-01T02:29:59Z"),
            "2009-10-31T02:30:00Z/2009-11-01T02:30:00Z");
  EXPECT_EQ(DayAt("America/St_Johns", "2009-11-01T02:30:30Z"), sunday);
  EXPECT_EQ(DayAt("America/St_Johns", "2009-11-01T03:00:00Z"), sunday) << "Saturday 23:30 again";
  EXPECT_EQ(DayAt("America/St_Johns", "2009-11-01T12:00:00Z"), sunday);
}

TEST(PeriodTest, ADayThatNeverWasIsPassedOver) {
  // Apia had no 2011-12-30.
  const Period day = Calendar(CalendarUnit::kDay, "Pacific/Apia");
  const TimeSpan before = day.At(Parsed("2011-12-30T09:59:59Z"));
  EXPECT_EQ(Text(before), "2011-12-29T10:00:00Z/2011-12-30T10:00:00Z");
  EXPECT_EQ(Text(day.Next(before)), "2011-12-30T10:00:00Z/2011-12-31T10:00:00Z");
}

TEST(PeriodTest, ElapsedCountsInstantsNotClockTime) {
  const Period day = Calendar(CalendarUnit::kDay, "Europe/Berlin");
  // Noon of a day of 23 hours is 11 hours in; of 25 hours, 13.
  EXPECT_EQ(day.ElapsedRatio(Parsed("2026-03-29T12:00:00+02:00")), Ratio(11, 23));
  EXPECT_EQ(day.ElapsedRatio(Parsed("2026-10-25T12:00:00+01:00")), Ratio(13, 25));
  EXPECT_EQ(day.ElapsedRatio(Parsed("2026-10-25T00:00:00+02:00")), Ratio());
  const Period decade =
      *Period::EveryDays({.day_count = 3660, .anchor = absl::CivilDay(2020, 1, 1)});
  EXPECT_LT(decade.ElapsedRatio(Parsed("2029-12-31T23:59:59.999999999Z")), Ratio(1, 1));
}

TEST(PeriodTest, FactorsAreForANominalLength) {
  EXPECT_EQ(Calendar(CalendarUnit::kDay, "UTC").nominal_length(), absl::Hours(24));
  EXPECT_EQ(Calendar(CalendarUnit::kWeek, "UTC").nominal_length(), absl::Hours(7 * 24));
  EXPECT_EQ(Calendar(CalendarUnit::kMonth, "UTC").nominal_length(), absl::Hours(30 * 24));
  EXPECT_EQ(Calendar(CalendarUnit::kQuarter, "UTC").nominal_length(), absl::Hours(90 * 24));
  EXPECT_EQ(Calendar(CalendarUnit::kYear, "UTC").nominal_length(), absl::Hours(365 * 24));
  EXPECT_EQ(Calendar(CalendarUnit::kMonth, "Europe/Berlin").ToString(), "month in Europe/Berlin");
}

TEST(PeriodDeathTest, TimesOutsideTheCalendarAreBugs) {
  const Period day = Calendar(CalendarUnit::kDay, "UTC");
  EXPECT_DEATH(day.At(absl::InfiniteFuture()), "a time no period is asked for");
  EXPECT_DEATH(day.At(absl::InfinitePast()), "a time no period is asked for");
}

}  // namespace
}  // namespace weir
