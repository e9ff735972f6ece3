#include "common/alias/alias_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <set>

#include "common/testing/status_matchers.h"

namespace weir {
namespace {

using ::testing::HasSubstr;

class OwnFile {
 public:
  explicit OwnFile(const std::string& text)
      : path_(testing::TempDir() + "/weir_aliases_" +
              testing::UnitTest::GetInstance()->current_test_info()->name() + ".yaml") {
    std::ofstream(path_) << text;
  }
  ~OwnFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// What is true of the shipped file beyond what makes any table valid.
TEST(ShippedAliasesTest, EveryEntryIsOneTheRulesAllow) {
  WEIR_ASSERT_OK_AND_ASSIGN(const AliasFile file, ParseAliases(ShippedAliases(), "shipped"));
  // Duplicates, unknown units and cycles.
  WEIR_ASSERT_OK_AND_ASSIGN(const AliasTable table, AliasTable::Create(file.metrics));
  EXPECT_FALSE(file.replace);
  EXPECT_GE(table.metrics().size(), 25u);
  std::set<std::string> repeats;
  for (const AliasMetric& metric : table.metrics()) {
    SCOPED_TRACE(metric.name);
    EXPECT_TRUE(metric.name.rfind("llm.", 0) == 0 || metric.name.rfind("gpu.", 0) == 0);
    EXPECT_FALSE(metric.sources.empty());
    if (metric.unit == "ratio") {
      EXPECT_EQ(metric.least, 0);
      EXPECT_EQ(metric.most, 1);
    }
    for (const AliasSource& source : metric.sources) {
      // Exponential histograms cannot be scaled, so that distributions are not.
      if (metric.kind == Kind::kDistribution) {
        EXPECT_EQ(source.scale, 1) << source.name;
      }
      const AliasTable::Alias* alias = table.Find(source.name, metric.kind);
      ASSERT_NE(alias, nullptr) << source.name;
      EXPECT_EQ(alias->metric, metric.name);
      // A router sees the requests of the engines behind it.
      if (source.name.rfind("llm_d_epp_", 0) == 0 || source.name.rfind("dynamo_", 0) == 0) {
        EXPECT_TRUE(source.overlap) << source.name;
      }
    }
    for (const std::string& repeat : metric.repeats) {
      EXPECT_TRUE(repeats.insert(repeat).second) << repeat;
      EXPECT_EQ(table.Find(repeat, metric.kind), nullptr);
    }
  }
}

TEST(ShippedAliasesTest, WhatTheEnginesCallItIsOneMetricInOneUnit) {
  WEIR_ASSERT_OK_AND_ASSIGN(const AliasTable table, LoadAliases(""));
  for (const char* name :
       {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage",
        "trtllm_kv_cache_utilization", "dynamo_component_gpu_cache_usage_percent",
        "llm_d_epp_average_kv_cache_utilization"}) {
    const AliasTable::Alias* alias = table.Find(name, Kind::kGauge);
    ASSERT_NE(alias, nullptr) << name;
    EXPECT_EQ(alias->metric, "llm.kv_cache.utilization");
    EXPECT_EQ(alias->unit, "ratio");
    EXPECT_EQ(Scaled(table.value_rules()[alias->rule], 0.75), 0.75);
  }
  // Emitted beside llm_d_epp_: a sum over both would be twice what there is.
  EXPECT_EQ(table.Find("inference_pool_average_kv_cache_utilization", Kind::kGauge), nullptr);
  const AliasTable::Alias* gpu = table.Find("DCGM_FI_DEV_GPU_UTIL", Kind::kGauge);
  ASSERT_NE(gpu, nullptr);
  EXPECT_EQ(Scaled(table.value_rules()[gpu->rule], 75), 0.75);
  const AliasTable::Alias* memory = table.Find("DCGM_FI_DEV_FB_USED", Kind::kGauge);
  ASSERT_NE(memory, nullptr);
  EXPECT_EQ(ScaledNumber(table.value_rules()[memory->rule], 1024), PointValue(int64_t{1} << 30));
}

TEST(AliasFileTest, EveryFieldIsRead) {
  WEIR_ASSERT_OK_AND_ASSIGN(const AliasFile file, ParseAliases(R"(
replace: true
metrics:
  - name: m
    unit: seconds
    kind: gauge
    range: [0, ~]
    sources:
      - "a:b"
      - {name: c, scale: 0.001, overlap: true}
    repeats: [d]
  - {name: n, unit: tokens, kind: up_down_counter}
)",
                                                               "own"));
  EXPECT_TRUE(file.replace);
  ASSERT_EQ(file.metrics.size(), 2u);
  const AliasMetric& metric = file.metrics[0];
  EXPECT_EQ(metric.name, "m");
  EXPECT_EQ(metric.unit, "seconds");
  EXPECT_EQ(metric.least, 0);
  EXPECT_TRUE(std::isinf(metric.most));
  ASSERT_EQ(metric.sources.size(), 2u);
  EXPECT_EQ(metric.sources[0].name, "a:b");
  EXPECT_EQ(metric.sources[0].scale, 1);
  EXPECT_FALSE(metric.sources[0].overlap);
  EXPECT_EQ(metric.sources[1].scale, 0.001);
  EXPECT_TRUE(metric.sources[1].overlap);
  EXPECT_EQ(metric.repeats, std::vector<std::string>{"d"});
  EXPECT_EQ(file.metrics[1].kind, Kind::kUpDownCounter);
}

TEST(AliasFileTest, WhatIsWrongIsNamedWithItsLine) {
  const auto expect = [](const std::string& yaml, const std::string& what) {
    const auto file = ParseAliases(yaml, "own.yaml");
    ASSERT_FALSE(file.ok()) << yaml;
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(what));
  };
  expect("metrics:\n  - {name: [", "own.yaml:2: not valid YAML");
  expect("[]", "is not a map");
  expect("", "is not a map");
  expect("metric: []", "own.yaml:1: unknown key 'metric'");
  expect("metrics: 1", "metrics is not a list");
  expect("metrics: []\nmetrics: []", "own.yaml:2: 'metrics' is there twice");
  expect("metrics:\n  - {name: m, unit: ratio}", "own.yaml:2: 'kind' is missing");
  expect("metrics:\n  - {name: m, unit: ratio, kind: guage}", "'guage' is no kind");
  expect("metrics:\n  - {name: m, unit: ratio, kind: gauge, range: [0]}", "[least, most]");
  expect("metrics:\n  - {name: m, unit: ratio, kind: gauge, range: [0, x]}", "is not a number");
  expect("metrics:\n  - {name: m, unit: ratio, kind: gauge, sources: [{scale: 2}]}",
         "'name' is missing");
  expect("metrics:\n  - {name: m, unit: ratio, kind: gauge, sources: [{name: a, scale: b}]}",
         "is not a number");
  expect("metrics:\n  - {name: m, unit: ratio, kind: gauge, sources: a}", "sources is not a list");
  expect("metrics:\n  - {name: m, unit: ratio, kind: gauge, scale: 2}", "unknown key 'scale'");
}

TEST(AliasFileTest, AnOwnFileAddsToTheShippedTableAndWhatItNamesIsAsItSays) {
  const OwnFile own(R"(
metrics:
  - {name: llm.ttft, unit: seconds, kind: distribution, sources: [{name: my_ttft_ms, scale: 0.001}]}
  - {name: mine.cache, unit: ratio, kind: gauge, range: [0, 1],
     sources: [{name: "vllm:gpu_cache_usage_perc", scale: 0.01}]}
)");
  WEIR_ASSERT_OK_AND_ASSIGN(const AliasTable table, LoadAliases(own.path()));
  EXPECT_NE(table.Find("my_ttft_ms", Kind::kDistribution), nullptr);
  EXPECT_EQ(table.Find("vllm:time_to_first_token_seconds", Kind::kDistribution), nullptr);
  EXPECT_EQ(table.Find("vllm:gpu_cache_usage_perc", Kind::kGauge)->metric, "mine.cache");
  EXPECT_EQ(table.Find("vllm:kv_cache_usage_perc", Kind::kGauge)->metric,
            "llm.kv_cache.utilization");
}

TEST(AliasFileTest, AnOwnFileMayReplaceTheShippedTable) {
  const OwnFile own("replace: true\nmetrics: [{name: m, unit: ratio, kind: gauge, sources: [a]}]");
  WEIR_ASSERT_OK_AND_ASSIGN(const AliasTable table, LoadAliases(own.path()));
  EXPECT_EQ(table.metrics().size(), 1u);
  EXPECT_EQ(table.Find("vllm:kv_cache_usage_perc", Kind::kGauge), nullptr);
}

TEST(AliasFileTest, AFileThatIsNotThereOrNotValidIsNamed) {
  EXPECT_EQ(LoadAliases("/nowhere/aliases.yaml").status().code(), absl::StatusCode::kNotFound);
  const OwnFile own("metrics: [{name: m, unit: parsec, kind: gauge}]");
  const auto table = LoadAliases(own.path());
  ASSERT_FALSE(table.ok());
  EXPECT_THAT(std::string(table.status().message()), HasSubstr(own.path()));
  EXPECT_THAT(std::string(table.status().message()), HasSubstr("parsec"));
}

}  // namespace
}  // namespace weir
