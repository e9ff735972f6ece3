#include "common/alias/alias_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace weir {
namespace {

using ::testing::HasSubstr;

AliasMetric Utilization() {
  return {.name = "utilization",
          .unit = "ratio",
          .kind = Kind::kGauge,
          .least = 0,
          .most = 1,
          .sources = {{.name = "as_ratio"},
                      {.name = "as_percent", .scale = 0.01},
                      {.name = "elsewhere", .overlap = true}},
          .repeats = {"old_as_ratio"}};
}

void ExpectInvalid(std::vector<AliasMetric> metrics, const std::string& what) {
  const auto table = AliasTable::Create(std::move(metrics));
  ASSERT_FALSE(table.ok()) << what;
  EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(table.status().message()), HasSubstr(what));
}

TEST(AliasTableTest, ASourceIsFoundWithItsMetricScaleAndRange) {
  WEIR_ASSERT_OK_AND_ASSIGN(const AliasTable table, AliasTable::Create({Utilization()}));
  const AliasTable::Alias* ratio = table.Find("as_ratio", Kind::kGauge);
  const AliasTable::Alias* percent = table.Find("as_percent", Kind::kGauge);
  const AliasTable::Alias* elsewhere = table.Find("elsewhere", Kind::kGauge);
  ASSERT_TRUE(ratio != nullptr && percent != nullptr && elsewhere != nullptr);
  EXPECT_EQ(ratio->metric, "utilization");
  EXPECT_EQ(ratio->unit, "ratio");
  EXPECT_EQ(table.value_rules()[percent->rule].divisor, 100);
  EXPECT_EQ(table.value_rules()[percent->rule].most, 1);
  EXPECT_EQ(table.value_rules()[percent->rule].metric, "utilization");
  EXPECT_FALSE(percent->keep_source_name);
  EXPECT_TRUE(elsewhere->keep_source_name);
  EXPECT_EQ(elsewhere->rule, ratio->rule);
  // Who uses the canonical name is held to the range as well.
  const AliasTable::Alias* itself = table.Find("utilization", Kind::kGauge);
  ASSERT_NE(itself, nullptr);
  EXPECT_EQ(itself->metric, "utilization");
  EXPECT_EQ(itself->rule, ratio->rule);
}

TEST(AliasTableTest, NamesAndKindsNotInTheTableAreLeftAlone) {
  WEIR_ASSERT_OK_AND_ASSIGN(const AliasTable table, AliasTable::Create({Utilization()}));
  EXPECT_EQ(table.Find("other", Kind::kGauge), nullptr);
  EXPECT_EQ(table.Find("as_ratio", Kind::kCounter), nullptr);
  EXPECT_EQ(table.Find("utilization", Kind::kDistribution), nullptr);
  EXPECT_EQ(table.Find("old_as_ratio", Kind::kGauge), nullptr);
  EXPECT_EQ(AliasTable().Find("as_ratio", Kind::kGauge), nullptr);
  EXPECT_FALSE(table.value_rules()[0].scales());
}

TEST(AliasTableTest, WhatChangesNothingHasTheFirstRule) {
  WEIR_ASSERT_OK_AND_ASSIGN(
      const AliasTable table,
      AliasTable::Create({{.name = "c",
                           .unit = "tokens",
                           .kind = Kind::kCounter,
                           .sources = {{.name = "a"}, {.name = "b", .scale = 1000}}}}));
  EXPECT_EQ(table.Find("a", Kind::kCounter)->rule, 0);
  EXPECT_EQ(table.Find("c", Kind::kCounter)->rule, 0);
  EXPECT_EQ(table.Find("b", Kind::kCounter)->rule, 1);
}

TEST(AliasTableTest, ATableMovedIsTheSameTable) {
  WEIR_ASSERT_OK_AND_ASSIGN(AliasTable table, AliasTable::Create({Utilization()}));
  const AliasTable moved = std::move(table);
  EXPECT_EQ(moved.Find("as_percent", Kind::kGauge)->metric, "utilization");
}

TEST(AliasTableTest, DuplicatesAndCyclesAreRefused) {
  AliasMetric other = {.name = "other", .unit = "ratio", .sources = {{.name = "as_ratio"}}};
  ExpectInvalid({Utilization(), other}, "is one of 'utilization' as well");
  ExpectInvalid({Utilization(), Utilization()}, "is there twice");
  other.sources = {{.name = "utilization"}};
  ExpectInvalid({Utilization(), other}, "is a metric itself");
  ExpectInvalid({other, Utilization()}, "is a metric itself");
  other.sources = {{.name = "other"}};
  ExpectInvalid({other}, "is a metric itself");
  other.sources = {{.name = "x"}, {.name = "x"}};
  ExpectInvalid({other}, "as well");
  other.sources = {{.name = "old_as_ratio"}};
  ExpectInvalid({Utilization(), other}, "its repeat 'old_as_ratio'");
}

TEST(AliasTableTest, WhatCannotBeAppliedIsRefused) {
  AliasMetric metric = Utilization();
  metric.unit = "percent";
  ExpectInvalid({metric}, "unit 'percent' is not known");
  metric = Utilization();
  for (const double scale : {0.0, -1.0, std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()}) {
    metric.sources[0].scale = scale;
    ExpectInvalid({metric}, "is not above 0");
  }
  metric = Utilization();
  metric.least = 2;
  ExpectInvalid({metric}, "its range is empty");
  metric = Utilization();
  metric.kind = Kind::kCounter;
  ExpectInvalid({metric}, "only gauges have a range");
  metric = Utilization();
  metric.sources[0].name = std::string(257, 'x');
  ExpectInvalid({metric}, "too long");
  metric.name = "";
  ExpectInvalid({metric}, "empty");
  metric = {.name = "many", .unit = "ratio"};
  for (int i = 0; i < 200; ++i) {
    metric.sources.push_back({.name = "s" + std::to_string(i), .scale = 2.0 + i});
  }
  ExpectInvalid({metric}, "more than 128");
}

}  // namespace
}  // namespace weir
