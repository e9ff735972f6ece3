#include "services/collector/remote_write_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <map>

#include "common/alias/alias_file.h"

namespace weir::collector {
namespace {

namespace v2 = io::prometheus::write::v2;
using Role = HistogramPart::Role;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;
using Labels = std::vector<std::pair<std::string, std::string>>;

const absl::Time kNow = absl::FromUnixSeconds(1'750'000'000);
constexpr int64_t kTimeMs = 1'750'000'000'000;
constexpr int64_t kTime = kTimeMs * 1'000'000;
constexpr int64_t kStartMs = kTimeMs - 60'000;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const auto kStale = std::bit_cast<double>(uint64_t{0x7ff0000000000002});

// What is kept of a request: series as text, and numbers; of points, what they are.
struct Kept {
  Series series;
  int64_t time = 0;
  Point point;  // of a plain sample: its value alone
  friend bool operator==(const Kept&, const Kept&) = default;
};

class RemoteWriteReaderTest : public ::testing::Test {
 protected:
  static prometheus::TimeSeries* AddSeries(const Labels& labels,
                                           prometheus::WriteRequest* request) {
    prometheus::TimeSeries* series = request->add_timeseries();
    for (const auto& [name, value] : labels) {
      prometheus::Label* label = series->add_labels();
      label->set_name(name);
      label->set_value(value);
    }
    return series;
  }
  static void AddSample(const Labels& labels, double value, prometheus::WriteRequest* request) {
    prometheus::Sample* sample = AddSeries(labels, request)->add_samples();
    sample->set_value(value);
    sample->set_timestamp(kTimeMs);
  }
  void Add(const std::string& name, double value, Labels labels = {}) {
    labels.emplace_back("__name__", name);
    AddSample(labels, value, &v1_);
  }
  prometheus::Histogram* AddHistogram(const std::string& name) {
    prometheus::Histogram* histogram = AddSeries({{"__name__", name}}, &v1_)->add_histograms();
    histogram->set_timestamp(kTimeMs);
    return histogram;
  }
  uint32_t Symbol(const std::string& text) {
    if (v2_.symbols_size() == 0) v2_.add_symbols("");
    for (int i = 0; i < v2_.symbols_size(); ++i) {
      if (v2_.symbols(i) == text) return static_cast<uint32_t>(i);
    }
    v2_.add_symbols(text);
    return static_cast<uint32_t>(v2_.symbols_size() - 1);
  }
  v2::TimeSeries* Add2(const std::string& name, v2::Metadata::MetricType type, double value,
                       Labels labels = {}) {
    labels.emplace_back("__name__", name);
    v2::TimeSeries* series = v2_.add_timeseries();
    for (const auto& [label, text] : labels) {
      series->add_labels_refs(Symbol(label));
      series->add_labels_refs(Symbol(text));
    }
    series->mutable_metadata()->set_type(type);
    v2::Sample* sample = series->add_samples();
    sample->set_value(value);
    sample->set_timestamp(kTimeMs);
    sample->set_start_timestamp(kStartMs);
    return series;
  }

  template <typename Request>
  std::vector<Kept> Read(const Request& request) {
    RemoteWriteReader reader(limits_, table_, families_, election_, now_);
    reader.Read(request);
    rejections_ = reader.rejections();
    counts_ = reader.counts();
    taken_over_ = reader.taken_over();
    batches_ = reader.TakeBatches();
    std::vector<Kept> kept;
    for (const AdmittedBatch& batch : batches_) {
      for (const AdmittedSample& sample : batch.samples) {
        Kept one = {.series = ParseSeries(table_.Definition(sample.series)).value(),
                    .time = sample.event_unix_nano,
                    .point = {.value = std::bit_cast<double>(sample.bits)}};
        if (sample.type == frame::ValueType::kPoint) {
          one.point = ParsePoint(batch.PointOf(sample)).value();
        }
        kept.push_back(std::move(one));
      }
    }
    return kept;
  }
  // "NAME kind" of everything kept, a part's role included.
  template <typename Request>
  std::vector<std::string> Kinds(const Request& request) {
    std::vector<std::string> kinds;
    for (const Kept& kept : Read(request)) {
      std::string text = kept.series.name;
      switch (kept.series.kind) {
        case Kind::kGauge:
          text += " gauge";
          break;
        case Kind::kCounter:
          text += " counter";
          break;
        default:
          text += " distribution";
          break;
      }
      if (kept.point.part.has_value()) {
        constexpr const char* kRoles[] = {" bucket", " sum", " count"};
        text += kRoles[static_cast<int>(kept.point.part->role)];
      }
      kinds.push_back(text);
    }
    return kinds;
  }
  std::map<Reject, int64_t> Reasons() const {
    std::map<Reject, int64_t> reasons;
    for (const Rejected& rejected : rejections_.list()) reasons[rejected.reason] = rejected.count;
    return reasons;
  }

  Limits limits_;
  SeriesTable table_{4, 1000};
  HistogramFamilies families_;
  ReplicaElection election_{{}};
  absl::Time now_ = kNow;
  prometheus::WriteRequest v1_;
  v2::Request v2_;
  std::vector<AdmittedBatch> batches_;
  Rejections rejections_;
  RemoteWriteReader::Counts counts_;
  std::vector<RemoteWriteReader::TakenOver> taken_over_;
};

TEST_F(RemoteWriteReaderTest, ASeriesIsItsLabelsWithoutTheNameAndTheEmptyOnes) {
  Add("up", 1, {{"job", "weir"}, {"instance", "a:1"}, {"zone", ""}});
  EXPECT_THAT(Read(v1_),
              ElementsAre(Kept{.series = {.tenant = "default",
                                          .name = "up",
                                          .kind = Kind::kGauge,
                                          .labels = {{"instance", "a:1"}, {"job", "weir"}}},
                               .time = kTime,
                               .point = {.value = 1.0}}));
  EXPECT_EQ(counts_.samples, 1);
  EXPECT_EQ(counts_.samples_taken, 1);
  EXPECT_THAT(Reasons(), IsEmpty());
}

TEST_F(RemoteWriteReaderTest, ByItsNameATotalIsACounterAndWhatIsNothingElseAGauge) {
  Add("http_requests_total", 5);
  Add("process_open_fds", 5);
  Add("build_count", 5);
  Add("build_sum", 5);
  Add("rainbow_bucket", 5);  // no label `le`
  Add("_bucket", 5, {{"le", "1"}});
  EXPECT_THAT(Kinds(v1_), ElementsAre("http_requests_total counter", "process_open_fds gauge",
                                      "build_count counter", "build_sum counter",
                                      "rainbow_bucket gauge", "_bucket gauge"));
}

TEST_F(RemoteWriteReaderTest, ACounterIsARunningTotalWhoseStartIsNotKnown) {
  Add("http_requests_total", 5.5);
  const auto kept = Read(v1_);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].point, (Point{.cumulative = true, .value = 5.5}));
}

TEST_F(RemoteWriteReaderTest, AClassicHistogramIsPartsOfOneDistribution) {
  Add("rpc_seconds_count", 7, {{"job", "weir"}});
  Add("rpc_seconds_sum", 2.5, {{"job", "weir"}});
  Add("rpc_seconds_bucket", 3, {{"job", "weir"}, {"le", "0.5"}});
  Add("rpc_seconds_bucket", 7, {{"job", "weir"}, {"le", "+Inf"}});
  const Series series = {.tenant = "default",
                         .name = "rpc_seconds",
                         .kind = Kind::kDistribution,
                         .labels = {{"job", "weir"}}};
  const auto kept = [&](HistogramPart part, PointValue value) {
    return Kept{.series = series,
                .time = kTime,
                .point = {.cumulative = true, .part = part, .value = std::move(value)}};
  };
  EXPECT_THAT(Read(v1_),
              ElementsAre(kept({.role = Role::kCount}, int64_t{7}), kept({.role = Role::kSum}, 2.5),
                          kept({.role = Role::kBucket, .upper_bound = 0.5}, int64_t{3}),
                          kept({.role = Role::kBucket, .upper_bound = kInfinity}, int64_t{7})));
}

TEST_F(RemoteWriteReaderTest, BoundsAreReadHoweverTheyAreWritten) {
  for (const char* le : {"1", "1.0", "1e0", "+1"}) Add("h_bucket", 1, {{"le", le}});
  for (const Kept& kept : Read(v1_)) EXPECT_EQ(kept.point.part.value().upper_bound, 1);
  v1_.Clear();
  for (const char* le : {"Inf", "+Inf", "inf"}) Add("h_bucket", 1, {{"le", le}});
  for (const Kept& kept : Read(v1_)) EXPECT_EQ(kept.point.part.value().upper_bound, kInfinity);
  v1_.Clear();
  for (const char* le : {"one", "1 ", "-Inf", "NaN", "1e999", "+"}) {
    Add("h_bucket", 1, {{"le", le}});
  }
  EXPECT_THAT(Read(v1_), IsEmpty());
  EXPECT_THAT(Reasons(), ElementsAre(Pair(Reject::kLabelInvalid, 6)));
}

TEST_F(RemoteWriteReaderTest, AHistogramSeenBeforeOrToldOfIsKnown) {
  Add("seen_bucket", 7, {{"le", "+Inf"}});
  Read(v1_);
  v1_.Clear();
  auto* metadata = v1_.add_metadata();
  metadata->set_type(prometheus::MetricMetadata::HISTOGRAM);
  metadata->set_metric_family_name("told");
  metadata = v1_.add_metadata();
  metadata->set_type(prometheus::MetricMetadata::SUMMARY);
  metadata->set_metric_family_name("summary");
  EXPECT_THAT(Read(v1_), IsEmpty());
  v1_.Clear();
  for (const char* name : {"seen_sum", "told_count", "summary_sum", "other_count"}) Add(name, 1);
  EXPECT_THAT(Kinds(v1_), ElementsAre("seen distribution sum", "told distribution count",
                                      "summary_sum counter", "other_count counter"));
}

TEST_F(RemoteWriteReaderTest, FamiliesBeyondTheMostAreKnownInTheirOwnRequestOnly) {
  HistogramFamilies few(/*max_count=*/1);
  few.Remember("default", "a");
  few.Remember("default", "b");
  EXPECT_TRUE(few.Knows("default", "a"));
  EXPECT_FALSE(few.Knows("default", "b"));
  EXPECT_FALSE(few.Knows("other", "a"));
}

TEST_F(RemoteWriteReaderTest, Version2SaysWhatASeriesIs) {
  using Metadata = v2::Metadata;
  Add2("requests", Metadata::METRIC_TYPE_COUNTER, 1);
  Add2("temperature_total", Metadata::METRIC_TYPE_GAUGE, 1);
  Add2("h_bucket", Metadata::METRIC_TYPE_HISTOGRAM, 1, {{"le", "1"}});
  Add2("h_sum", Metadata::METRIC_TYPE_HISTOGRAM, 1);
  Add2("h_count", Metadata::METRIC_TYPE_HISTOGRAM, 1);
  Add2("g_bucket", Metadata::METRIC_TYPE_GAUGEHISTOGRAM, 1, {{"le", "1"}});
  Add2("s", Metadata::METRIC_TYPE_SUMMARY, 1, {{"quantile", "0.5"}});
  Add2("s_sum", Metadata::METRIC_TYPE_SUMMARY, 1);
  Add2("s_count", Metadata::METRIC_TYPE_SUMMARY, 1);
  Add2("build_info", Metadata::METRIC_TYPE_INFO, 1);
  Add2("state_total", Metadata::METRIC_TYPE_STATESET, 1);
  Add2("by_name_total", Metadata::METRIC_TYPE_UNSPECIFIED, 1);
  Add2("newer", static_cast<Metadata::MetricType>(99), 1);
  EXPECT_THAT(Kinds(v2_),
              ElementsAre("requests counter", "temperature_total gauge", "h distribution bucket",
                          "h distribution sum", "h distribution count", "g_bucket gauge", "s gauge",
                          "s_sum counter", "s_count counter", "build_info gauge",
                          "state_total gauge", "by_name_total counter", "newer gauge"));
}

TEST_F(RemoteWriteReaderTest, Version2SaysWhenATotalStarted) {
  Add2("requests", v2::Metadata::METRIC_TYPE_COUNTER, 1);
  auto* series = Add2("other", v2::Metadata::METRIC_TYPE_COUNTER, 1);
  series->mutable_samples(0)->set_start_timestamp(0);
  series->set_created_timestamp(kStartMs + 1);
  series = Add2("impossible", v2::Metadata::METRIC_TYPE_COUNTER, 1);
  series->mutable_samples(0)->set_start_timestamp(-5);
  const auto kept = Read(v2_);
  ASSERT_EQ(kept.size(), 3u);
  EXPECT_EQ(kept[0].point.start_unix_nano, kStartMs * 1'000'000);
  EXPECT_EQ(kept[1].point.start_unix_nano, (kStartMs + 1) * 1'000'000);
  EXPECT_EQ(kept[2].point.start_unix_nano, 0);
}

TEST_F(RemoteWriteReaderTest, ReferencesToNothingAreRejectedWithTheirSeriesAlone) {
  Add2("good", v2::Metadata::METRIC_TYPE_GAUGE, 1);
  Add2("beyond", v2::Metadata::METRIC_TYPE_GAUGE, 1)->set_labels_refs(0, 1000);
  Add2("odd", v2::Metadata::METRIC_TYPE_GAUGE, 1)->add_labels_refs(0);
  v2_.add_timeseries()->add_samples();
  EXPECT_THAT(Kinds(v2_), ElementsAre("good gauge"));
  EXPECT_THAT(Reasons(),
              UnorderedElementsAre(Pair(Reject::kLabelInvalid, 2), Pair(Reject::kNameInvalid, 1)));
  EXPECT_EQ(counts_.samples, 4);
  EXPECT_EQ(counts_.samples_taken, 1);
}

TEST_F(RemoteWriteReaderTest, BadSeriesAreRejectedAndTheirNeighboursKept) {
  AddSample({{"job", "no name"}}, 1, &v1_);
  Add("twice", 1, {{"a", "1"}, {"a", "2"}});
  Add("name", 1, {{"__name__", "twice"}});
  Add("large", 1, {{"a", std::string(2000, 'x')}});
  Add("larger", 1, {{"a", std::string(1'000'000, 'x')}});
  auto* many = AddSeries({{"__name__", "many"}}, &v1_);
  for (int i = 0; i < 10'000; ++i) many->add_labels()->set_name(std::to_string(i));
  many->add_samples();
  Add("nul", 1, {{"a", std::string(1, '\0')}});
  Add("infinite", kInfinity);
  Add("negative_total", -1);
  auto* early = AddSeries({{"__name__", "early"}}, &v1_);
  early->add_samples()->set_timestamp(0);
  early->add_samples()->set_timestamp(std::numeric_limits<int64_t>::min());
  early->add_samples()->set_timestamp(std::numeric_limits<int64_t>::max());
  Add("good", 1);
  EXPECT_THAT(Kinds(v1_), ElementsAre("good gauge"));
  EXPECT_THAT(Reasons(), UnorderedElementsAre(
                             Pair(Reject::kNameInvalid, 1), Pair(Reject::kLabelInvalid, 4),
                             Pair(Reject::kTooManyLabels, 2), Pair(Reject::kValueNotFinite, 1),
                             Pair(Reject::kValueNegative, 1), Pair(Reject::kTimeTooOld, 2),
                             Pair(Reject::kTimeInFuture, 1)));
  EXPECT_EQ(counts_.samples, 13);
  EXPECT_EQ(counts_.samples_taken, 1);
}

TEST_F(RemoteWriteReaderTest, APartThatIsNoNumberIsNotWaitedFor) {
  Add("h_bucket", kStale, {{"le", "1"}});
  Add("h_sum", kNan);
  const auto read = Read(v1_);
  ASSERT_EQ(read.size(), 2u);
  for (const auto& taken : read) EXPECT_TRUE(taken.point.part->gone);
}

TEST_F(RemoteWriteReaderTest, ABoundThatIsWrittenTwiceOrWronglyIsRejected) {
  Add("h_bucket", 1, {{"le", "+-1"}});
  Add("h_bucket", 1, {{"le", "1"}, {"le", "2"}});
  Add("h_bucket", 1, {{"le", "3"}});
  EXPECT_EQ(Read(v1_).size(), 1u);
  EXPECT_THAT(Reasons(), ElementsAre(Pair(Reject::kLabelInvalid, 2)));
}

TEST_F(RemoteWriteReaderTest, WhatIsNoNumberIsTakenAndAddsNothing) {
  Add("gauge", kStale);
  Add("summary", kNan, {{"quantile", "0.5"}});
  Add("requests_total", kStale);
  AddHistogram("native")->set_sum(kStale);
  EXPECT_THAT(Read(v1_), IsEmpty());
  EXPECT_THAT(Reasons(), IsEmpty());
  EXPECT_EQ(counts_.samples_taken, 3);
  EXPECT_EQ(counts_.histograms_taken, 1);
}

TEST_F(RemoteWriteReaderTest, APartThatEndedSaysSo) {
  Add("h_bucket", kStale, {{"le", "1"}});
  Add("h_sum", kStale);
  std::vector<Point> points;
  for (const Kept& kept : Read(v1_)) points.push_back(kept.point);
  EXPECT_THAT(
      points,
      ElementsAre(
          Point{.cumulative = true,
                .part = HistogramPart{.role = Role::kBucket, .upper_bound = 1, .gone = true},
                .value = int64_t{0}},
          Point{.cumulative = true,
                .part = HistogramPart{.role = Role::kSum, .gone = true},
                .value = int64_t{0}}));
}

TEST_F(RemoteWriteReaderTest, CountsThatAreNoneAreRejected) {
  Add("h_bucket", 1.5, {{"le", "1"}});
  Add("h_bucket", -1, {{"le", "2"}});
  Add("h_count", 9007199254740992.0);
  Add("h_bucket", kInfinity, {{"le", "+Inf"}});
  Add("h_sum", -kInfinity);
  EXPECT_THAT(Read(v1_), IsEmpty());
  EXPECT_THAT(Reasons(), UnorderedElementsAre(Pair(Reject::kHistogramInvalid, 3),
                                              Pair(Reject::kValueNotFinite, 2)));
}

TEST_F(RemoteWriteReaderTest, ANativeHistogramIsExponentialBucketsOneIndexLower) {
  auto* sent = AddHistogram("latency");
  sent->set_count_int(16);
  sent->set_sum(20.5);
  sent->set_schema(3);
  sent->set_zero_threshold(0.001);
  sent->set_zero_count_int(2);
  // Buckets 1, 2 and 5; then -3.
  auto* span = sent->add_positive_spans();
  span->set_offset(1);
  span->set_length(2);
  span = sent->add_positive_spans();
  span->set_offset(2);
  span->set_length(1);
  for (const int delta : {3, 1, -2}) sent->add_positive_deltas(delta);
  span = sent->add_negative_spans();
  span->set_offset(-3);
  span->set_length(1);
  sent->add_negative_deltas(5);
  const auto kept = Read(v1_);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].series.name, "latency");
  EXPECT_EQ(kept[0].series.kind, Kind::kDistribution);
  const Histogram expected = {
      .count = 16,
      .sum = 20.5,
      .buckets = ExponentialBuckets{.scale = 3,
                                    .zero_count = 2,
                                    .zero_threshold = 0.001,
                                    .positive = {.offset = 0, .counts = {3, 4, 0, 0, 2}},
                                    .negative = {.offset = -4, .counts = {5}}}};
  EXPECT_EQ(kept[0].point, (Point{.cumulative = true, .value = expected}));
  EXPECT_EQ(counts_.histograms_taken, 1);
  EXPECT_EQ(counts_.samples, 0);

  // The same as floats, with a start.
  auto* series = v2_.add_timeseries();
  series->add_labels_refs(Symbol("__name__"));
  series->add_labels_refs(Symbol("latency"));
  v2::Histogram* floats = series->add_histograms();
  ASSERT_TRUE(floats->ParseFromString(sent->SerializeAsString()));
  floats->set_start_timestamp(kStartMs);
  floats->set_count_float(16);
  floats->set_zero_count_float(2);
  floats->clear_positive_deltas();
  floats->clear_negative_deltas();
  for (const int count : {3, 4, 2}) floats->add_positive_counts(count);
  floats->add_negative_counts(5);
  const auto kept_floats = Read(v2_);
  ASSERT_EQ(kept_floats.size(), 1u);
  EXPECT_EQ(
      kept_floats[0].point,
      (Point{.cumulative = true, .start_unix_nano = kStartMs * 1'000'000, .value = expected}));
}

TEST_F(RemoteWriteReaderTest, BucketsFarApartAreJoinedUntilTheyFit) {
  auto* sent = AddHistogram("latency");
  sent->set_count_int(3);
  sent->set_schema(8);
  auto* span = sent->add_positive_spans();
  span->set_offset(-5000);
  span->set_length(1);
  span = sent->add_positive_spans();
  span->set_offset(9999);
  span->set_length(1);
  sent->add_positive_deltas(1);
  sent->add_positive_deltas(1);
  const auto kept = Read(v1_);
  ASSERT_EQ(kept.size(), 1u) << rejections_.list()[0].message;
  const auto& histogram = std::get<Histogram>(kept[0].point.value);
  const auto& buckets = std::get<ExponentialBuckets>(histogram.buckets);
  // 10,001 buckets, then 5,001, then 2,501.
  EXPECT_EQ(buckets.scale, 6);
  EXPECT_EQ(buckets.positive.offset, -5001 >> 2);
  EXPECT_EQ(buckets.positive.counts.size(), 2501u);
  EXPECT_EQ(buckets.positive.counts.front(), 1);
  EXPECT_EQ(buckets.positive.counts.back(), 2);
}

TEST_F(RemoteWriteReaderTest, CustomBoundsAreExplicitOnes) {
  auto* sent = AddHistogram("latency");
  sent->set_count_int(6);
  sent->set_sum(9);
  sent->set_schema(-53);
  for (const double bound : {0.5, 1.0, 2.0}) sent->add_custom_values(bound);
  auto* span = sent->add_positive_spans();
  span->set_offset(1);
  span->set_length(1);
  span = sent->add_positive_spans();
  span->set_offset(1);
  span->set_length(1);
  sent->add_positive_deltas(4);
  sent->add_positive_deltas(-2);
  const auto kept = Read(v1_);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].point.value,
            PointValue(Histogram{
                .count = 6,
                .sum = 9,
                .buckets = ExplicitBuckets{.bounds = {0.5, 1, 2}, .counts = {0, 4, 0, 2}}}));
}

TEST_F(RemoteWriteReaderTest, ObservationsThatAreNoNumbersAreNotCounted) {
  auto* sent = AddHistogram("latency");
  sent->set_count_int(7);
  sent->set_zero_count_int(5);
  sent->set_sum(kNan);
  const auto kept = Read(v1_);
  ASSERT_EQ(kept.size(), 1u);
  const auto& histogram = std::get<Histogram>(kept[0].point.value);
  EXPECT_EQ(histogram.count, 5);
  EXPECT_FALSE(histogram.sum.has_value());
}

TEST_F(RemoteWriteReaderTest, NativeHistogramsThatCannotBeAreRejected) {
  const auto add_span = [](prometheus::Histogram* histogram, int32_t offset, uint32_t length) {
    auto* span = histogram->add_positive_spans();
    span->set_offset(offset);
    span->set_length(length);
  };
  AddHistogram("schema")->set_schema(9);
  AddHistogram("count")->set_count_int(1);             // and no buckets
  AddHistogram("count64")->set_count_int(UINT64_MAX);  // negative
  AddHistogram("fraction")->set_count_float(0.5);
  add_span(AddHistogram("spans"), 0, UINT32_MAX);
  AddHistogram("deltas")->add_positive_deltas(1);
  auto* negative = AddHistogram("negative");
  add_span(negative, 0, 1);
  negative->add_positive_deltas(-1);
  auto* overlap = AddHistogram("overlap");
  add_span(overlap, 0, 1);
  add_span(overlap, -1, 1);
  for (int i = 0; i < 2; ++i) overlap->add_positive_deltas(0);
  auto* far = AddHistogram("far");
  add_span(far, INT32_MIN, 1);
  add_span(far, INT32_MAX, 1);
  for (int i = 0; i < 2; ++i) far->add_positive_deltas(0);
  auto* overflow = AddHistogram("overflow");
  add_span(overflow, 0, 2);
  for (int i = 0; i < 2; ++i) overflow->add_positive_deltas(INT64_MAX);
  auto* many = AddHistogram("many");
  add_span(many, 0, 100'000);
  for (int i = 0; i < 100'000; ++i) many->add_positive_deltas(0);
  auto* custom = AddHistogram("custom");
  custom->set_schema(-53);
  add_span(custom, 7, 1);
  custom->add_positive_deltas(0);
  AddHistogram("gauge")->set_reset_hint(prometheus::Histogram::GAUGE);
  EXPECT_THAT(Read(v1_), IsEmpty());
  EXPECT_THAT(Reasons(), UnorderedElementsAre(Pair(Reject::kHistogramInvalid, 12),
                                              Pair(Reject::kMetricUnsupported, 1)));
  EXPECT_EQ(counts_.histograms, 13);
  EXPECT_EQ(counts_.histograms_taken, 0);
}

TEST_F(RemoteWriteReaderTest, AReplicaThatIsNotElectedIsTakenAndDropped) {
  const auto request = [](const std::string& replica) {
    prometheus::WriteRequest made;
    AddSample({{"__name__", "up"}, {"cluster", "eu"}, {"__replica__", replica}}, 1, &made);
    AddSample({{"__name__", "load"}, {"cluster", "eu"}, {"__replica__", replica}}, 1, &made);
    return made;
  };
  const auto kept = Read(request("a"));
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_THAT(kept[0].series.labels, ElementsAre(Label{"cluster", "eu"}));
  EXPECT_THAT(Read(request("b")), IsEmpty());
  EXPECT_EQ(counts_.samples_taken, 2);
  EXPECT_EQ(counts_.dropped, 2);
  EXPECT_THAT(Reasons(), IsEmpty());
  EXPECT_THAT(taken_over_, IsEmpty());
  now_ += absl::Seconds(30);
  EXPECT_EQ(Read(request("b")).size(), 2u);
  EXPECT_EQ(counts_.dropped, 0);
  ASSERT_EQ(taken_over_.size(), 1u);
  EXPECT_EQ(taken_over_[0].replica, "b");
  EXPECT_THAT(Read(request("a")), IsEmpty());
}

TEST_F(RemoteWriteReaderTest, AReplicaWithoutAClusterIsOneOfTheClusterWithoutAName) {
  const auto request = [](const std::string& replica) {
    prometheus::WriteRequest made;
    AddSample({{"__name__", "up"}, {"__replica__", replica}}, 1, &made);
    return made;
  };
  EXPECT_EQ(Read(request("a")).size(), 1u);
  EXPECT_THAT(Read(request("b")), IsEmpty());
  EXPECT_EQ(Read(request("")).size(), 1u) << "no replica";
}

TEST_F(RemoteWriteReaderTest, ExemplarsAreCountedAndNotKept) {
  auto* series = AddSeries({{"__name__", "requests_total"}}, &v1_);
  series->add_exemplars();
  series->add_exemplars();
  EXPECT_THAT(Read(v1_), IsEmpty());
  EXPECT_EQ(counts_.exemplars, 2);
  EXPECT_THAT(Reasons(), IsEmpty());
}

TEST_F(RemoteWriteReaderTest, ARequestIsCutAtTheSamePointsWhateverIsTakenOfIt) {
  for (int i = 0; i < 70'000; ++i) Add("up", 1, {{"__replica__", i < 69'990 ? "a" : "b"}});
  Read(v1_);
  std::vector<int64_t> sizes;
  for (const AdmittedBatch& batch : batches_) sizes.push_back(batch.sample_count());
  const size_t cuts = sizes.size();
  EXPECT_GE(cuts, 3u);
  now_ += absl::Hours(1);  // now nobody is dropped but the first, which is the other way round
  Read(v1_);
  EXPECT_EQ(batches_.size(), cuts);
}

TEST_F(RemoteWriteReaderTest, WhatAFewBytesStandForIsKnownBeforehand) {
  auto* sent = AddHistogram("latency");
  for (int i = 0; i < 2; ++i) {
    auto* span = sent->add_positive_spans();
    span->set_offset(i == 0 ? 0 : 3000);
    span->set_length(1);
    sent->add_positive_deltas(1);
  }
  EXPECT_GE(RemoteWriteReader::ExpandedBytes(v1_), 3000);
  EXPECT_LE(RemoteWriteReader::ExpandedBytes(v1_), 4000);
  for (int i = 0; i < 10; ++i) {
    Add2(std::string(100'000, 'n'), v2::Metadata::METRIC_TYPE_GAUGE, 1);
  }
  EXPECT_LT(v2_.ByteSizeLong(), 110'000u);
  EXPECT_GE(RemoteWriteReader::ExpandedBytes(v2_), 1'000'000);
}

TEST_F(RemoteWriteReaderTest, EnginesHistogramsBecomeCanonicalOnes) {
  const AliasTable aliases = LoadAliases("").value();
  SeriesTable table{4, 1000, nullptr, &aliases};
  Limits limits;
  limits.value_rules = aliases.value_rules();
  Add("vllm:time_to_first_token_seconds_bucket", 3, {{"le", "0.5"}});
  Add("vllm:time_to_first_token_seconds_count", 3);
  RemoteWriteReader reader(limits, table, families_, election_, kNow);
  reader.Read(v1_);
  const auto batches = reader.TakeBatches();
  ASSERT_EQ(batches.size(), 1u);
  ASSERT_EQ(batches[0].sample_count(), 2);
  EXPECT_EQ(batches[0].samples[0].series, batches[0].samples[1].series);
  const Series series = ParseSeries(table.Definition(batches[0].samples[0].series)).value();
  EXPECT_EQ(series.kind, Kind::kDistribution);
  EXPECT_NE(series.name, "vllm:time_to_first_token_seconds");
}

}  // namespace
}  // namespace weir::collector
