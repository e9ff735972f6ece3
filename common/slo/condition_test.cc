#include "common/slo/condition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace weir {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::weir::test::IsOk;
using ::weir::test::StatusIs;

// Seconds since the epoch.
absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(seconds); }
TimeSpan Span(int64_t start, int64_t end) { return {.start = At(start), .end = At(end)}; }

constexpr Counts kHot{.bad_count = 2, .total_count = 100};
constexpr Counts kSilent{};

bool Burning(NoDataPolicy policy, const RowInput& input) {
  return RowBurns(WorkbookRows(absl::Hours(720))->front(), *Goal::Parse("99.9%"), policy, input);
}

constexpr NoDataPolicy kPolicies[] = {NoDataPolicy::kKeep, NoDataPolicy::kFire,
                                      NoDataPolicy::kResolve};

TEST(RowBurnsTest, WithDataThePolicyDoesNotMatter) {
  for (const NoDataPolicy policy : kPolicies) {
    for (const bool before : {false, true}) {
      EXPECT_TRUE(Burning(policy, {.counts = {kHot, kHot}, .burnt_before = before}));
      EXPECT_FALSE(Burning(policy, {.counts = {kHot, {0, 9}}, .burnt_before = before}));
    }
  }
}

TEST(RowBurnsTest, SilenceIsWhatThePolicySays) {
  for (const bool before : {false, true}) {
    const RowInput input{.counts = {kHot, kSilent}, .burnt_before = before};
    EXPECT_EQ(Burning(NoDataPolicy::kKeep, input), before);
    EXPECT_TRUE(Burning(NoDataPolicy::kFire, input));
    EXPECT_FALSE(Burning(NoDataPolicy::kResolve, input));
  }
}

TEST(RowBurnsTest, SilenceInBothWindowsIsSilence) {
  EXPECT_TRUE(Burning(NoDataPolicy::kFire, {.counts = {kSilent, kSilent}}));
  EXPECT_TRUE(Burning(NoDataPolicy::kKeep, {.counts = {kSilent, kSilent}, .burnt_before = true}));
}

TEST(RowBurnsTest, TooFewRequestsAreNotSilence) {
  BurnRow row = WorkbookRows(absl::Hours(720))->front();
  row.min_total_count = 1'000;
  EXPECT_FALSE(RowBurns(row, *Goal::Parse("99.9%"), NoDataPolicy::kFire,
                        {.counts = {kHot, kHot}, .burnt_before = true}));
}

TEST(RowBurnsTest, NothingBurnsInMaintenance) {
  for (const NoDataPolicy policy : kPolicies) {
    for (const Counts& counts : {kHot, kSilent}) {
      EXPECT_FALSE(Burning(
          policy, {.counts = {counts, counts}, .in_maintenance = true, .burnt_before = true}));
    }
  }
}

TEST(RowBurnsTest, SilenceThatMaintenanceMadeDoesNotFire) {
  EXPECT_FALSE(Burning(NoDataPolicy::kFire, {.counts = {kHot, kSilent}, .short_window_cut = true}));
  EXPECT_TRUE(Burning(NoDataPolicy::kFire, {.counts = {kHot, kHot}, .short_window_cut = true}));
}

TEST(MaintenanceTest, EndsAreHalfOpen) {
  const std::vector<MaintenanceWindow> windows = {{Span(900, 1800)}};
  EXPECT_FALSE(InMaintenance(windows, At(890)));
  EXPECT_TRUE(InMaintenance(windows, At(900)));
  EXPECT_TRUE(InMaintenance(windows, At(1790)));
  EXPECT_FALSE(InMaintenance(windows, At(1800)));
  EXPECT_FALSE(InMaintenance({}, At(900)));
}

TEST(MaintenanceTest, IsCutOutOfASpan) {
  const std::vector<MaintenanceWindow> windows = {
      {Span(60, 80)}, {Span(20, 40)}, {Span(30, 50)}, {Span(35, 38)}, {Span(200, 300)}};
  EXPECT_THAT(OutsideMaintenance(Span(0, 100), windows),
              ElementsAre(Span(0, 20), Span(50, 60), Span(80, 100)));
  EXPECT_THAT(OutsideMaintenance(Span(25, 70), windows), ElementsAre(Span(50, 60)));
  EXPECT_THAT(OutsideMaintenance(Span(20, 50), windows), IsEmpty());
  EXPECT_THAT(OutsideMaintenance(Span(50, 60), windows), ElementsAre(Span(50, 60)));
  EXPECT_THAT(OutsideMaintenance(Span(5, 15), {}), ElementsAre(Span(5, 15)));
}

TEST(MaintenanceTest, EndsFallBetweenBins) {
  const absl::Duration width = absl::Minutes(15);
  EXPECT_THAT(ValidateMaintenance({Span(900, 1800)}, width), IsOk());
  EXPECT_THAT(
      ValidateMaintenance({Span(960, 1860)}, width),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("[1970-01-01T00:15:00+00:00, 1970-01-01T00:45:00+00:00) holds it")));
  EXPECT_THAT(ValidateMaintenance({Span(-960, 0)}, width),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[1969-12-31T23:30:00")));
  EXPECT_THAT(ValidateMaintenance({Span(1800, 900)}, width),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("after its start")));
  EXPECT_THAT(ValidateMaintenance({{At(900), absl::InfiniteFuture()}}, width),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be given")));
}

TEST(NoDataPolicyTest, HasNames) {
  EXPECT_EQ(NoDataPolicyName(NoDataPolicy::kKeep), "keep");
  EXPECT_EQ(NoDataPolicyName(NoDataPolicy::kFire), "fire");
  EXPECT_EQ(NoDataPolicyName(NoDataPolicy::kResolve), "resolve");
}

}  // namespace
}  // namespace weir
