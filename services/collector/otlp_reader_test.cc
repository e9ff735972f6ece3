#include "services/collector/otlp_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>

#include "common/testing/status_matchers.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"

namespace weir::collector {
namespace {

namespace metrics = opentelemetry::proto::metrics::v1;
namespace otlp = opentelemetry::proto::collector::metrics::v1;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

const absl::Time kNow = absl::FromUnixSeconds(1'750'000'000);
constexpr uint64_t kTime = 1'750'000'000'000'000'000;
constexpr uint64_t kStart = kTime - 60'000'000'000;

template <typename Attributes>
void AddAttribute(const std::string& key, const std::string& value, Attributes* attributes) {
  auto* attribute = attributes->Add();
  attribute->set_key(key);
  attribute->mutable_value()->set_string_value(value);
}

class OtlpReaderTest : public ::testing::Test {
 protected:
  OtlpReaderTest() {
    resource_ = request_.add_resource_metrics();
    scope_ = resource_->add_scope_metrics();
  }

  metrics::Metric* AddMetric(const std::string& name) {
    metrics::Metric* metric = scope_->add_metrics();
    metric->set_name(name);
    return metric;
  }
  metrics::NumberDataPoint* AddSum(const std::string& name,
                                   metrics::AggregationTemporality temporality,
                                   bool monotonic = true) {
    metrics::Sum* sum = AddMetric(name)->mutable_sum();
    sum->set_aggregation_temporality(temporality);
    sum->set_is_monotonic(monotonic);
    metrics::NumberDataPoint* point = sum->add_data_points();
    point->set_start_time_unix_nano(kStart);
    point->set_time_unix_nano(kTime);
    return point;
  }
  metrics::HistogramDataPoint* AddHistogram(const std::string& name,
                                            metrics::AggregationTemporality temporality) {
    metrics::Histogram* histogram = AddMetric(name)->mutable_histogram();
    histogram->set_aggregation_temporality(temporality);
    metrics::HistogramDataPoint* point = histogram->add_data_points();
    point->set_start_time_unix_nano(kStart);
    point->set_time_unix_nano(kTime);
    return point;
  }

  void Read() {
    OtlpReader reader(limits_, table_, cache_, kNow);
    OtlpReader::Request raw;
    EXPECT_TRUE(raw.ParseFromString(request_.SerializeAsString()));
    EXPECT_THAT(reader.Read(raw), test::IsOk());
    batches_ = reader.TakeBatches();
    rejections_ = reader.rejections();
    increases_ = reader.increases();
    client_overflow_ = reader.client_overflow_count();
  }

  Series SeriesOf(const AdmittedSample& sample) const {
    return ParseSeries(table_.Definition(sample.series)).value();
  }
  const AdmittedSample& Only() const {
    EXPECT_EQ(batches_.size(), 1u);
    EXPECT_EQ(batches_[0].sample_count(), 1);
    return batches_[0].samples[0];
  }
  Point PointOf(const AdmittedSample& sample) const {
    EXPECT_EQ(sample.type, frame::ValueType::kPoint);
    return ParsePoint(batches_[0].PointOf(sample)).value();
  }
  std::map<Reject, int64_t> Reasons() const {
    std::map<Reject, int64_t> reasons;
    for (const Rejected& rejected : rejections_.list()) reasons[rejected.reason] = rejected.count;
    return reasons;
  }

  Limits limits_;
  SeriesTable table_{4, 1000};
  SeriesCache cache_;
  otlp::ExportMetricsServiceRequest request_;
  metrics::ResourceMetrics* resource_;
  metrics::ScopeMetrics* scope_;
  std::vector<AdmittedBatch> batches_;
  Rejections rejections_;
  std::vector<DeltaOverlaps::Increase> increases_;
  int64_t client_overflow_ = 0;
};

TEST_F(OtlpReaderTest, NumbersThatAreNotTotalsAreSamples) {
  AddSum("delta", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(5);
  AddSum("updown", metrics::AGGREGATION_TEMPORALITY_DELTA, false)->set_as_double(-0.5);
  auto* gauge = AddMetric("gauge")->mutable_gauge()->add_data_points();
  gauge->set_time_unix_nano(kTime);
  gauge->set_as_int(-7);
  Read();
  EXPECT_EQ(rejections_.count(), 0);
  ASSERT_EQ(batches_.size(), 1u);
  std::map<std::string, std::pair<Kind, frame::ValueType>> found;
  for (const AdmittedSample& sample : batches_[0].samples) {
    found[SeriesOf(sample).name] = {SeriesOf(sample).kind, sample.type};
    EXPECT_EQ(sample.event_unix_nano, static_cast<int64_t>(kTime));
  }
  EXPECT_THAT(found, UnorderedElementsAre(
                         Pair("delta", Pair(Kind::kCounter, frame::ValueType::kInteger)),
                         Pair("updown", Pair(Kind::kUpDownCounter, frame::ValueType::kFloat)),
                         Pair("gauge", Pair(Kind::kGauge, frame::ValueType::kInteger))));
}

TEST_F(OtlpReaderTest, AdmittedIncreasesAreNotedWithTheTimeTheyAreOf) {
  AddSum("delta", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(5);
  AddHistogram("observed", metrics::AGGREGATION_TEMPORALITY_DELTA);
  // None of these: a total, one that is rejected, one whose start is not known.
  AddSum("total", metrics::AGGREGATION_TEMPORALITY_CUMULATIVE)->set_as_int(5);
  AddSum("negative", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(-5);
  auto* unknown = AddSum("unknown", metrics::AGGREGATION_TEMPORALITY_DELTA);
  unknown->set_as_int(5);
  unknown->set_start_time_unix_nano(0);
  Read();
  ASSERT_EQ(increases_.size(), 2u);
  for (const DeltaOverlaps::Increase& increase : increases_) {
    EXPECT_EQ(increase.start_unix_nano, static_cast<int64_t>(kStart));
    EXPECT_EQ(increase.end_unix_nano, static_cast<int64_t>(kTime));
  }
}

TEST_F(OtlpReaderTest, WhatAClientSumsUpPastItsOwnLimitIsCounted) {
  auto* point = AddSum("delta", metrics::AGGREGATION_TEMPORALITY_DELTA);
  point->set_as_int(5);
  auto* attribute = point->add_attributes();
  attribute->set_key("otel.metric.overflow");
  attribute->mutable_value()->set_bool_value(true);
  AddSum("other", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(5);
  Read();
  EXPECT_EQ(client_overflow_, 1);
}

TEST_F(OtlpReaderTest, WhatIsKnownByItsBytesIsTakenAsWhatIsNew) {
  resource_->mutable_resource()->add_attributes()->set_key("service.name");
  for (const char* name : {"a", "b"}) {
    auto* point = AddSum(name, metrics::AGGREGATION_TEMPORALITY_DELTA);
    point->set_as_int(5);
    auto* attribute = point->add_attributes();
    attribute->set_key("model");
    attribute->mutable_value()->set_string_value("m");
    AddHistogram(name, metrics::AGGREGATION_TEMPORALITY_CUMULATIVE);
  }
  AddSum("a", metrics::AGGREGATION_TEMPORALITY_DELTA, /*monotonic=*/false)->set_as_int(5);
  AddSum("bad\0name", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(5);
  auto* twice = AddSum("twice", metrics::AGGREGATION_TEMPORALITY_DELTA);
  twice->set_as_int(5);
  twice->add_attributes()->set_key("");
  std::vector<std::vector<Series>> read;
  for (int i = 0; i < 2; ++i) {
    Read();
    EXPECT_EQ(rejections_.count(), 0) << "empty values are left out";
    read.emplace_back();
    for (const AdmittedSample& sample : batches_[0].samples) {
      read.back().push_back(SeriesOf(sample));
    }
  }
  EXPECT_EQ(read[0].size(), 7u);
  EXPECT_EQ(read[0], read[1]);
  // Of another resource it is another series.
  resource_->mutable_resource()->mutable_attributes(0)->mutable_value()->set_string_value("s");
  Read();
  EXPECT_EQ(SeriesOf(batches_[0].samples[0]).labels.size(), 2u);
}

TEST_F(OtlpReaderTest, SeriesAreNotMistakenForOneAnother) {
  // Run together without lengths, these say the same.
  auto* point = AddMetric("y\x01m")->mutable_gauge()->add_data_points();
  point->set_time_unix_nano(kTime);
  Read();
  const std::string odd = std::string("\x01x\x01y") + static_cast<char>(Kind::kCounter) + "m";
  for (const std::string& name : {odd, odd.substr(1), std::string("m")}) {
    scope_->clear_metrics();
    auto* gauge = AddMetric(name)->mutable_gauge()->add_data_points();
    gauge->set_time_unix_nano(kTime);
    gauge->set_as_int(1);
    Read();
    EXPECT_EQ(SeriesOf(Only()).name, name);
    EXPECT_EQ(SeriesOf(Only()).kind, Kind::kGauge);
  }
  scope_->clear_metrics();
  AddSum("m", metrics::AGGREGATION_TEMPORALITY_CUMULATIVE)->set_as_int(5);
  auto* attribute = resource_->mutable_resource()->add_attributes();
  attribute->set_key("x");
  attribute->mutable_value()->set_string_value("y");
  Read();
  EXPECT_EQ(SeriesOf(Only()).name, "m");
  EXPECT_EQ(SeriesOf(Only()).kind, Kind::kCounter);
}

TEST_F(OtlpReaderTest, AttributesThatAreNoneSpoilTheRequest) {
  AddSum("good", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(5);
  AddSum("bad", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(5);
  OtlpReader::Request raw;
  ASSERT_TRUE(raw.ParseFromString(request_.SerializeAsString()));
  auto* point = raw.mutable_resource_metrics(0)
                    ->mutable_scope_metrics(0)
                    ->mutable_metrics(1)
                    ->mutable_sum()
                    ->mutable_data_points(0);
  for (const std::string bytes : {"\x0a\x05two", "\x0a\x02\xff\xfe"}) {
    point->clear_attributes();
    point->add_attributes(bytes);
    OtlpReader reader(limits_, table_, cache_, kNow);
    EXPECT_THAT(reader.Read(raw), test::StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

TEST_F(OtlpReaderTest, RunningTotalsAreLoggedAsTheyCame) {
  AddSum("total", metrics::AGGREGATION_TEMPORALITY_CUMULATIVE)->set_as_int(5);
  Read();
  const Point point = PointOf(Only());
  EXPECT_TRUE(point.cumulative);
  EXPECT_TRUE(point.certain_start);
  EXPECT_EQ(point.start_unix_nano, static_cast<int64_t>(kStart));
  EXPECT_EQ(point.value, PointValue(int64_t{5}));
  EXPECT_EQ(SeriesOf(Only()).kind, Kind::kCounter);
}

TEST_F(OtlpReaderTest, AScopeThatScrapesHasNoCertainStarts) {
  scope_->mutable_scope()->set_name(
      "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver");
  AddSum("total", metrics::AGGREGATION_TEMPORALITY_CUMULATIVE)->set_as_int(5);
  Read();
  EXPECT_FALSE(PointOf(Only()).certain_start);
}

TEST_F(OtlpReaderTest, HistogramsBecomePointsOfDistributions) {
  auto* delta = AddHistogram("h", metrics::AGGREGATION_TEMPORALITY_DELTA);
  delta->set_count(3);
  delta->set_sum(4.5);
  delta->set_min(0.5);
  delta->add_explicit_bounds(1);
  delta->add_bucket_counts(1);
  delta->add_bucket_counts(2);
  Read();
  Point point = PointOf(Only());
  EXPECT_FALSE(point.cumulative);
  const auto histogram = std::get<Histogram>(point.value);
  EXPECT_EQ(histogram.count, 3);
  EXPECT_EQ(histogram.sum, 4.5);
  EXPECT_EQ(histogram.min, 0.5);
  EXPECT_EQ(histogram.max, std::nullopt);
  EXPECT_THAT(std::get<ExplicitBuckets>(histogram.buckets).counts, ElementsAre(1, 2));
  EXPECT_EQ(SeriesOf(Only()).kind, Kind::kDistribution);
}

TEST_F(OtlpReaderTest, ExponentialHistogramsKeepEveryField) {
  auto* data = AddMetric("e")->mutable_exponential_histogram();
  data->set_aggregation_temporality(metrics::AGGREGATION_TEMPORALITY_CUMULATIVE);
  auto* sent = data->add_data_points();
  sent->set_start_time_unix_nano(kStart);
  sent->set_time_unix_nano(kTime);
  sent->set_count(6);
  sent->set_scale(3);
  sent->set_zero_count(1);
  sent->set_zero_threshold(0.25);
  sent->mutable_positive()->set_offset(-2);
  sent->mutable_positive()->add_bucket_counts(2);
  sent->mutable_negative()->set_offset(4);
  sent->mutable_negative()->add_bucket_counts(3);
  Read();
  const Point point = PointOf(Only());
  EXPECT_TRUE(point.cumulative);
  const ExponentialBuckets expected = {.scale = 3,
                                       .zero_count = 1,
                                       .zero_threshold = 0.25,
                                       .positive = {.offset = -2, .counts = {2}},
                                       .negative = {.offset = 4, .counts = {3}}};
  EXPECT_EQ(std::get<ExponentialBuckets>(std::get<Histogram>(point.value).buckets), expected);
}

TEST_F(OtlpReaderTest, ASummaryIsTwoTotalsAndAGaugeForEachQuantile) {
  auto* sent = AddMetric("s")->mutable_summary()->add_data_points();
  sent->set_start_time_unix_nano(kStart);
  sent->set_time_unix_nano(kTime);
  sent->set_count(4);
  sent->set_sum(2.5);
  for (const double q : {0.5, 0.99}) {
    auto* quantile = sent->add_quantile_values();
    quantile->set_quantile(q);
    quantile->set_value(q * 10);
  }
  Read();
  ASSERT_EQ(batches_.size(), 1u);
  std::vector<std::string> names;
  for (const AdmittedSample& sample : batches_[0].samples) {
    const Series series = SeriesOf(sample);
    names.push_back(series.name +
                    (series.labels.empty() ? "" : "{" + series.labels[0].value + "}"));
  }
  EXPECT_THAT(names, ElementsAre("s_count", "s_sum", "s{0.5}", "s{0.99}"));
  EXPECT_EQ(PointOf(batches_[0].samples[0]).value, PointValue(int64_t{4}));
}

TEST_F(OtlpReaderTest, LabelsAreThePointsThenTheScopesThenTheResources) {
  AddAttribute("service.name", "chat", resource_->mutable_resource()->mutable_attributes());
  AddAttribute("shared", "resource", resource_->mutable_resource()->mutable_attributes());
  AddAttribute("own", "resource", resource_->mutable_resource()->mutable_attributes());
  scope_->mutable_scope()->set_name("lib");
  scope_->mutable_scope()->set_version("1.2");
  AddAttribute("shared", "scope", scope_->mutable_scope()->mutable_attributes());
  auto* point = AddSum("m", metrics::AGGREGATION_TEMPORALITY_DELTA);
  point->set_as_int(1);
  AddAttribute("own", "point", point->mutable_attributes());
  Read();
  EXPECT_THAT(
      SeriesOf(Only()).labels,
      ElementsAre(Label{"otel.scope.name", "lib"}, Label{"otel.scope.version", "1.2"},
                  Label{"own", "point"}, Label{"service.name", "chat"}, Label{"shared", "scope"}));
}

TEST_F(OtlpReaderTest, AMarkerOfNoValueIsTakenAndAddsNothing) {
  auto* point = AddSum("m", metrics::AGGREGATION_TEMPORALITY_CUMULATIVE);
  point->set_flags(1);
  AddHistogram("h", metrics::AGGREGATION_TEMPORALITY_CUMULATIVE)->set_flags(1);
  Read();
  EXPECT_EQ(rejections_.count(), 0);
  EXPECT_THAT(batches_, IsEmpty());
}

TEST_F(OtlpReaderTest, EachBadPointIsRejectedAloneWithItsReason) {
  AddSum("unspecified", metrics::AGGREGATION_TEMPORALITY_UNSPECIFIED)->set_as_int(1);
  AddSum("no.value", metrics::AGGREGATION_TEMPORALITY_DELTA);
  AddSum("negative", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(-1);
  AddSum("negative.total", metrics::AGGREGATION_TEMPORALITY_CUMULATIVE)->set_as_double(-1);
  AddSum("nan", metrics::AGGREGATION_TEMPORALITY_CUMULATIVE)->set_as_double(std::nan(""));
  AddSum("", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(1);
  for (const uint64_t time : {uint64_t{0}, kTime * 2, uint64_t{INT64_MAX}, UINT64_MAX}) {
    auto* point = AddSum("time", metrics::AGGREGATION_TEMPORALITY_DELTA);
    point->set_as_int(1);
    point->set_time_unix_nano(time);
  }
  auto* disagrees = AddHistogram("disagrees", metrics::AGGREGATION_TEMPORALITY_DELTA);
  disagrees->set_count(5);
  disagrees->add_bucket_counts(4);
  AddHistogram("huge", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_count(UINT64_MAX);
  auto* exponential = AddMetric("far")->mutable_exponential_histogram();
  exponential->set_aggregation_temporality(metrics::AGGREGATION_TEMPORALITY_DELTA);
  auto* far = exponential->add_data_points();
  far->set_time_unix_nano(kTime);
  far->set_count(1);
  far->mutable_positive()->set_offset(std::numeric_limits<int32_t>::max());
  far->mutable_positive()->add_bucket_counts(1);
  AddMetric("empty");
  AddSum("good", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(1);
  Read();
  EXPECT_EQ(SeriesOf(Only()).name, "good");
  EXPECT_THAT(Reasons(), UnorderedElementsAre(
                             Pair(Reject::kMetricUnsupported, 2), Pair(Reject::kValueMissing, 1),
                             Pair(Reject::kValueNegative, 2), Pair(Reject::kValueNotFinite, 1),
                             Pair(Reject::kNameInvalid, 1), Pair(Reject::kTimeTooOld, 1),
                             Pair(Reject::kTimeInFuture, 3), Pair(Reject::kHistogramInvalid, 3)));
}

TEST_F(OtlpReaderTest, LabelsWithoutEndAreRejectedWithoutBeingCopiedForEachPoint) {
  AddAttribute("big", std::string(1 << 20, 'x'),
               resource_->mutable_resource()->mutable_attributes());
  metrics::Gauge* gauge = AddMetric("m")->mutable_gauge();
  for (int i = 0; i < 100'000; ++i) gauge->add_data_points()->set_as_int(1);
  Read();  // a copy each would be 100 GB
  EXPECT_THAT(Reasons(), ElementsAre(Pair(Reject::kTooManyLabels, 100'000)));
  EXPECT_THAT(rejections_.list()[0].message, HasSubstr("attributes of scope and resource"));
}

TEST_F(OtlpReaderTest, TenThousandLabelsAreTooMany) {
  auto* point = AddSum("m", metrics::AGGREGATION_TEMPORALITY_DELTA);
  point->set_as_int(1);
  for (int i = 0; i < 10'000; ++i) {
    AddAttribute("l" + std::to_string(i), "v", point->mutable_attributes());
  }
  AddSum("good", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(1);
  Read();
  EXPECT_EQ(SeriesOf(Only()).name, "good");
  EXPECT_THAT(Reasons(), ElementsAre(Pair(Reject::kTooManyLabels, 1)));
}

TEST_F(OtlpReaderTest, TotalsOfSeriesPastTheLimitAreRejectedIncreasesKept) {
  SeriesTable small(4, 1);
  AddSum("a", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(1);
  AddSum("b", metrics::AGGREGATION_TEMPORALITY_DELTA)->set_as_int(2);
  AddSum("b", metrics::AGGREGATION_TEMPORALITY_CUMULATIVE)->set_as_int(3);
  OtlpReader reader(limits_, small, cache_, kNow);
  OtlpReader::Request raw;
  EXPECT_TRUE(raw.ParseFromString(request_.SerializeAsString()));
  EXPECT_THAT(reader.Read(raw), test::IsOk());
  const std::vector<AdmittedBatch> batches = reader.TakeBatches();
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].sample_count(), 2);
  ASSERT_EQ(reader.rejections().list().size(), 1u);
  EXPECT_EQ(reader.rejections().list()[0].reason, Reject::kSeriesLimit);
}

// A repeat that is judged differently, as time has passed, has its batches in the
// same places.
TEST_F(OtlpReaderTest, BatchesAreCutAtTheSamePointsWhateverIsRejected) {
  metrics::Gauge* gauge = AddMetric("m")->mutable_gauge();
  for (int i = 0; i < 150'000; ++i) {
    auto* point = gauge->add_data_points();
    point->set_time_unix_nano(kTime);
    point->set_as_int(i);
  }
  Read();
  ASSERT_EQ(batches_.size(), 3u);
  const AdmittedSample first = batches_[1].samples[0];
  for (int i = 0; i < 70'000; ++i) gauge->mutable_data_points(i)->set_time_unix_nano(1);
  Read();
  ASSERT_EQ(batches_.size(), 3u);
  EXPECT_EQ(batches_[0].sample_count(), 0);
  EXPECT_EQ(batches_[1].samples[0].bits, 70'000u);
  EXPECT_EQ(first.bits, 65'536u);
}

TEST_F(OtlpReaderTest, LargePointsMakeSmallBatches) {
  for (int i = 0; i < 500; ++i) {
    auto* point = AddHistogram("h", metrics::AGGREGATION_TEMPORALITY_DELTA);
    for (int bucket = 0; bucket < 1000; ++bucket) {
      if (bucket > 0) point->add_explicit_bounds(bucket);
      point->add_bucket_counts(1);
    }
    point->set_count(1000);
  }
  Read();
  EXPECT_GT(batches_.size(), 2u);
  int64_t samples = 0;
  for (const AdmittedBatch& batch : batches_) {
    samples += batch.sample_count();
    EXPECT_LT(batch.points.size(), size_t{2} << 20);
  }
  EXPECT_EQ(samples, 500);
}

}  // namespace
}  // namespace weir::collector
