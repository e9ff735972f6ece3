// Aliases in OTLP requests, with the table that is shipped.

#include <gtest/gtest.h>

#include <map>

#include "common/alias/alias_file.h"
#include "common/testing/status_matchers.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"
#include "services/collector/otlp_reader.h"

namespace weir::collector {
namespace {

namespace metrics = opentelemetry::proto::metrics::v1;
namespace otlp = opentelemetry::proto::collector::metrics::v1;

const absl::Time kNow = absl::FromUnixSeconds(1'750'000'000);
constexpr uint64_t kTime = 1'750'000'000'000'000'000;

class OtlpAliasTest : public ::testing::Test {
 protected:
  OtlpAliasTest() { limits_.value_rules = aliases_.value_rules(); }

  metrics::Metric* AddMetric(const std::string& name) {
    auto* metric = request_.add_resource_metrics()->add_scope_metrics()->add_metrics();
    metric->set_name(name);
    return metric;
  }
  void AddGauge(const std::string& name, double value) {
    auto* point = AddMetric(name)->mutable_gauge()->add_data_points();
    point->set_time_unix_nano(kTime);
    point->set_as_double(value);
  }
  // What is taken in: names and values.
  std::multimap<std::string, PointValue> Read() {
    OtlpReader reader(limits_, table_, cache_, kNow);
    OtlpReader::Request raw;
    EXPECT_TRUE(raw.ParseFromString(request_.SerializeAsString()));
    EXPECT_THAT(reader.Read(raw), test::IsOk());
    rejections_ = reader.rejections();
    std::multimap<std::string, PointValue> taken;
    for (const AdmittedBatch& batch : reader.TakeBatches()) {
      for (const AdmittedSample& sample : batch.samples) {
        const Series series = ParseSeries(table_.Definition(sample.series)).value();
        PointValue value = std::bit_cast<double>(sample.bits);
        if (sample.type == frame::ValueType::kInteger) value = static_cast<int64_t>(sample.bits);
        if (sample.type == frame::ValueType::kPoint) {
          value = ParsePoint(batch.PointOf(sample)).value().value;
        }
        taken.emplace(series.name, std::move(value));
      }
    }
    return taken;
  }

  const AliasTable aliases_ = LoadAliases("").value();
  Limits limits_;
  SeriesTable table_{4, 1000, nullptr, &aliases_};
  SeriesCache cache_;
  otlp::ExportMetricsServiceRequest request_;
  Rejections rejections_;
};

TEST_F(OtlpAliasTest, EnginesMetricsBecomeCanonicalOnes) {
  AddGauge("vllm:gpu_cache_usage_perc", 0.75);
  AddGauge("DCGM_FI_DEV_GPU_UTIL", 98);
  AddGauge("unrelated", 3);
  auto* sum = AddMetric("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION")->mutable_sum();
  sum->set_is_monotonic(true);
  sum->set_aggregation_temporality(metrics::AGGREGATION_TEMPORALITY_CUMULATIVE);
  auto* total = sum->add_data_points();
  total->set_time_unix_nano(kTime);
  total->set_as_int(1500);
  EXPECT_EQ(Read(), (std::multimap<std::string, PointValue>{{"llm.kv_cache.utilization", 0.75},
                                                            {"gpu.utilization", 0.98},
                                                            {"gpu.energy", 1.5},
                                                            {"unrelated", 3.0}}));
  EXPECT_EQ(rejections_.count(), 0);
}

TEST_F(OtlpAliasTest, ARatioSentAsAPercentageIsRejected) {
  AddGauge("vllm:kv_cache_usage_perc", 75);
  AddGauge("vllm:num_requests_waiting", 3);
  EXPECT_EQ(Read(), (std::multimap<std::string, PointValue>{{"llm.queue.depth", 3.0}}));
  ASSERT_EQ(rejections_.list().size(), 1u);
  EXPECT_EQ(rejections_.list()[0].reason, Reject::kValueOutOfRange);
}

TEST_F(OtlpAliasTest, WhatTheEndpointPickerEmitsTwiceIsCountedOnce) {
  for (const char* name :
       {"llm_d_epp_request_ttft_seconds", "llm_d_router_epp_request_ttft_seconds",
        "inference_objective_request_ttft_seconds"}) {
    auto* histogram = AddMetric(name)->mutable_histogram();
    histogram->set_aggregation_temporality(metrics::AGGREGATION_TEMPORALITY_DELTA);
    auto* point = histogram->add_data_points();
    point->set_time_unix_nano(kTime);
    point->set_count(4);
    point->set_sum(2);
  }
  const auto taken = Read();
  EXPECT_EQ(taken.count("llm.ttft"), 1u);
  EXPECT_EQ(taken.count("inference_objective_request_ttft_seconds"), 1u);
  EXPECT_EQ(taken.size(), 3u);
}

TEST_F(OtlpAliasTest, AnExponentialHistogramIsScaledOrKeepsItsName) {
  const AliasTable own = AliasTable::Create({{.name = "size",
                                              .unit = "bytes",
                                              .kind = Kind::kDistribution,
                                              .sources = {{.name = "size_kib", .scale = 1024}}},
                                             {.name = "latency",
                                              .unit = "seconds",
                                              .kind = Kind::kDistribution,
                                              .sources = {{.name = "ms", .scale = 0.001}}}})
                             .value();
  SeriesTable table(4, 1000, nullptr, &own);
  Limits limits;
  limits.value_rules = own.value_rules();
  for (const char* name : {"size_kib", "ms"}) {
    auto* histogram = AddMetric(name)->mutable_exponential_histogram();
    histogram->set_aggregation_temporality(metrics::AGGREGATION_TEMPORALITY_DELTA);
    auto* point = histogram->add_data_points();
    point->set_time_unix_nano(kTime);
    point->set_count(1);
    point->set_scale(3);
    point->mutable_positive()->set_offset(5);
    point->mutable_positive()->add_bucket_counts(1);
  }
  OtlpReader reader(limits, table, cache_, kNow);
  OtlpReader::Request raw;
  EXPECT_TRUE(raw.ParseFromString(request_.SerializeAsString()));
  EXPECT_THAT(reader.Read(raw), test::IsOk());
  EXPECT_EQ(reader.rejections().count(), 0);
  const std::vector<AdmittedBatch> batches = reader.TakeBatches();
  ASSERT_EQ(batches[0].samples.size(), 2u);
  std::map<std::string, int32_t> offsets;
  for (const AdmittedSample& sample : batches[0].samples) {
    const auto value = ParsePoint(batches[0].PointOf(sample)).value().value;
    offsets[ParseSeries(table.Definition(sample.series))->name] =
        std::get<ExponentialBuckets>(std::get<Histogram>(value).buckets).positive.offset;
  }
  EXPECT_EQ(offsets, (std::map<std::string, int32_t>{{"size", 5 + 80}, {"ms", 5}}));
}

}  // namespace
}  // namespace weir::collector
