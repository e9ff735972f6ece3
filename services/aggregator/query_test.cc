#include "services/aggregator/query.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/random.h"
#include "common/testing/fake_clock.h"
#include "common/testing/memory_store.h"
#include "common/testing/status_matchers.h"
#include "common/testing/test_seed.h"
#include "services/aggregator/jobs.h"

namespace weir::aggregator {
namespace {

using test::IsOk;
using test::MemoryStore;
using test::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kSlots = 4;
constexpr int64_t kNano = 1'000'000'000;
constexpr int64_t kDay = 86'400;

struct Sample {
  Series series;
  absl::Time time;
  double value = 0;
  bool integer = false;
};

Series SeriesOf(std::string name, Kind kind, std::vector<Label> labels) {
  return {.name = std::move(name), .kind = kind, .labels = std::move(labels)};
}

// A store filled the way the aggregator fills it.
class QueryTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override {
    WEIR_ASSERT_OK_AND_ASSIGN(
        store_, MemoryStore::Create({.slot_count = kSlots, .tiers = tiers_, .created_time = now_}));
    const JobResult claimed = RunJob(Context(), ClaimJob{.owner = "test"});
    ASSERT_THAT(claimed.status, IsOk());
    slots_ = claimed.claimed.slots;
    floors_ = claimed.claimed.floors;
  }

  JobContext Context() { return {.store = *store_, .tiers = tiers_, .slot_count = kSlots}; }

  // Commits samples, each in its series' slot unless `slot` says otherwise.
  void Commit(const std::vector<Sample>& samples, int forced_slot = -1) {
    auto delta = std::make_shared<Delta>(10);
    for (const Sample& sample : samples) {
      std::string bytes;
      AppendSeries(sample.series, &bytes);
      const int slot = forced_slot >= 0 ? forced_slot : SlotOf(IdOfSeries(sample.series), kSlots);
      WEIR_ASSERT_OK_AND_ASSIGN(const SeriesNumber number, series_.Intern(slot, bytes));
      frame::Block block;
      block.type = sample.integer ? frame::ValueType::kInteger : frame::ValueType::kFloat;
      block.refs = {0};
      block.times = {absl::ToUnixNanos(sample.time)};
      block.bits = {sample.integer ? static_cast<uint64_t>(static_cast<int64_t>(sample.value))
                                   : std::bit_cast<uint64_t>(sample.value)};
      delta->Fold(series_, {&number, 1}, block);
    }
    FlushJob job{.delta = delta, .floors = floors_};
    for (store::SlotState& slot : slots_) {
      job.slots.push_back({slot.slot, slot.epoch, slot.commit_number++});
      job.derived_until.push_back(slot.derived_until);
    }
    ASSERT_THAT(RunJob(Context(), job).status, IsOk());
  }

  void Derive(int slot_number, int tier, int64_t until_seconds) {
    store::SlotState& slot = slots_[slot_number];
    int64_t& derived_until = slot.derived_until[tier];
    until_seconds = AlignDown(until_seconds, tiers_[tier].bin_seconds);
    if (until_seconds <= derived_until) return;
    ASSERT_THAT(RunJob(Context(), DeriveJob{.slot = {slot_number, slot.epoch, slot.commit_number},
                                            .tier = tier,
                                            .from_seconds = derived_until,
                                            .until_seconds = until_seconds})
                    .status,
                IsOk());
    ++slot.commit_number;
    derived_until = until_seconds;
  }

  void Retire() {
    const JobResult result = RunJob(Context(), RetentionJob{.now = now_});
    ASSERT_THAT(result.status, IsOk());
    floors_ = result.floors;
  }

  // Writes one watermark, without rows.
  void SetWatermark(int slot_number, WalId wal_id, absl::Time complete_until,
                    absl::Time heard_time) {
    store::SlotState& slot = slots_[slot_number];
    store::Transaction transaction;
    transaction.slots = {{slot_number, slot.epoch, slot.commit_number++}};
    transaction.watermarks = {{.slot = slot_number,
                               .wal_id = wal_id,
                               .old_lsn = 0,
                               .new_lsn = 1,
                               .complete_until = complete_until,
                               .heard_time = heard_time}};
    WEIR_ASSERT_OK_AND_ASSIGN(const store::CommitResult result, store_->Commit(transaction));
    ASSERT_EQ(result, store::CommitResult::kCommitted);
  }

  absl::StatusOr<WindowAnswer> Query(const WindowQuery& query) {
    auto snapshot = store_->OpenSnapshot();
    WEIR_CHECK_OK(snapshot.status());
    return QueryWindow(query, **snapshot, tiers_, now_, limits_);
  }

  absl::StatusOr<SeriesPage> List(const SeriesQuery& query) {
    auto snapshot = store_->OpenSnapshot();
    WEIR_CHECK_OK(snapshot.status());
    return ListSeries(query, **snapshot, limits_);
  }

  const TierTable tiers_ = TierTable::Default();
  absl::Time now_ = test::FakeClock::Epoch();
  QueryLimits limits_;
  std::unique_ptr<MemoryStore> store_;
  SeriesIndex series_{{}};
  std::vector<store::SlotState> slots_;
  std::vector<int64_t> floors_;
};

void ExpectRefused(const absl::Status& status, RefusalReason reason,
                   const RefusalMetadata& metadata) {
  EXPECT_EQ(RefusalReasonOf(status), reason) << status;
  EXPECT_EQ(RefusalMetadataOf(status), metadata) << status;
  EXPECT_FALSE(status.message().empty());
}

// The brute force: every sample, one by one.
class Oracle {
 public:
  explicit Oracle(std::vector<Sample> samples) : samples_(std::move(samples)) {}

  // The samples of each group and bin, sorted by value.
  std::map<std::vector<Label>, std::map<int64_t, std::vector<Sample>>> Answer(
      const WindowQuery& query, const WindowAnswer& answer, bool eu_only) const {
    std::map<std::vector<Label>, std::map<int64_t, std::vector<Sample>>> groups;
    for (const Sample& sample : samples_) {
      if (sample.series.name != query.name) continue;
      if (query.kind.has_value() && sample.series.kind != *query.kind) continue;
      if (eu_only && LabelOf(sample.series, "region").substr(0, 2) != "eu") continue;
      std::vector<Label> labels = sample.series.labels;
      if (query.group_by.has_value()) {
        labels.clear();
        for (const std::string& name : *query.group_by) {
          labels.push_back({name, LabelOf(sample.series, name)});
        }
        SortLabels(&labels);
      }
      auto& bins = groups[labels];
      const int64_t start = AlignDown(absl::ToUnixSeconds(sample.time), answer.bin_seconds);
      if (start < answer.start_seconds || start >= answer.end_seconds) continue;
      bins[start].push_back(sample);
    }
    for (auto& [labels, bins] : groups) {
      for (auto& [start, samples] : bins) {
        std::sort(samples.begin(), samples.end(),
                  [](const Sample& a, const Sample& b) { return a.value < b.value; });
      }
    }
    return groups;
  }

  static std::string LabelOf(const Series& series, const std::string& name) {
    for (const Label& label : series.labels) {
      if (label.name == name) return label.value;
    }
    return "";
  }

 private:
  const std::vector<Sample> samples_;
};

void ExpectBin(const BinAnswer& bin, const std::vector<Sample>& samples, const WindowQuery& query,
               int64_t bin_seconds, Kind kind) {
  ASSERT_EQ(bin.aggregate.count, static_cast<int64_t>(samples.size()));
  if (samples.empty()) {
    EXPECT_THAT(bin.quantiles, IsEmpty());
    return;
  }
  double sum = 0;
  Sample last = samples[0];
  for (const Sample& sample : samples) {
    sum += sample.value;
    if (std::tie(sample.time, sample.value) > std::tie(last.time, last.value)) last = sample;
  }
  const auto count = static_cast<double>(samples.size());
  const double avg = sum / count;
  double squares = 0;
  for (const Sample& sample : samples) squares += (sample.value - avg) * (sample.value - avg);
  const double tolerance = 1e-9 * std::max(1.0, std::abs(sum));
  const auto value_of = [&](Function function) {
    return ValueOf(function, kind, bin.aggregate, bin_seconds);
  };
  EXPECT_EQ(value_of(Function::kCount), count);
  EXPECT_NEAR(value_of(Function::kSum), sum, tolerance);
  EXPECT_NEAR(value_of(Function::kAvg), avg, tolerance);
  EXPECT_EQ(value_of(Function::kMin), samples.front().value);
  EXPECT_EQ(value_of(Function::kMax), samples.back().value);
  EXPECT_EQ(value_of(Function::kLast), last.value);
  EXPECT_NEAR(value_of(Function::kStddev), std::sqrt(squares / count), 1e-6);
  EXPECT_NEAR(value_of(Function::kRate),
              (kind == Kind::kDistribution ? count : sum) / static_cast<double>(bin_seconds),
              tolerance);
  ASSERT_EQ(bin.quantiles.size(), query.quantiles.size());
  for (size_t i = 0; i < bin.quantiles.size(); ++i) {
    const double rank = std::max(1.0, std::ceil(query.quantiles[i] * count));
    const double exact = samples[static_cast<size_t>(rank) - 1].value;
    EXPECT_GT(bin.relative_error, 0);
    EXPECT_LT(bin.relative_error, 0.011);
    EXPECT_NEAR(bin.quantiles[i], exact, exact * bin.relative_error * 1.0001);
  }
}

TEST_P(QueryTest, AnswersEqualBruteForceThroughLateDataDerivationAndRetention) {
  const uint64_t seed = test::TestSeed(GetParam());
  SCOPED_TRACE(testing::Message() << "WEIR_TEST_SEED=" << seed);
  Random random(seed);
  std::vector<Series> all;
  for (const char* model : {"a", "b", "c"}) {
    for (const char* region : {"eu-1", "eu-2", "us-1", ""}) {
      for (const Kind kind : {Kind::kCounter, Kind::kDistribution}) {
        std::vector<Label> labels = {{"model", model}};
        if (*region != '\0') labels.push_back({"region", region});
        all.push_back(SeriesOf("m", kind, labels));
      }
    }
  }
  std::vector<Sample> samples;
  for (int step = 0; step < 25; ++step) {
    std::vector<Sample> batch;
    for (uint64_t i = random.Below(40); i > 0; --i) {
      constexpr int64_t kLateness[] = {60, 3'000, 20 * 3'600, 6 * kDay, 90 * kDay, 390 * kDay};
      const absl::Duration late =
          absl::Nanoseconds(random.Below(kLateness[random.Below(6)] * kNano));
      batch.push_back({.series = all[random.Below(all.size())],
                       .time = now_ - late,
                       .value = static_cast<double>(random.Between(1, 100'000)),
                       .integer = random.OneIn(2)});
    }
    Commit(batch, random.OneIn(4) ? static_cast<int>(random.Below(kSlots)) : -1);
    samples.insert(samples.end(), batch.begin(), batch.end());
    now_ += absl::Seconds(random.Below(random.OneIn(5) ? 2 * kDay : 900));
    for (int slot = 0; slot < kSlots; ++slot) {
      for (int tier = 1; tier < tiers_.size() && !random.OneIn(4); ++tier) {
        Derive(slot, tier,
               tier == 1 ? absl::ToUnixSeconds(now_) : slots_[slot].derived_until[tier - 1]);
      }
    }
    if (random.OneIn(3)) Retire();

    const Oracle oracle(samples);
    for (int i = 0; i < 8; ++i) {
      const int tier = static_cast<int>(random.Below(tiers_.size()));
      WindowQuery query{.window = tiers_[tier].window, .name = "m"};
      query.kind = random.OneIn(2) ? Kind::kCounter : Kind::kDistribution;
      if (query.kind == Kind::kDistribution) query.quantiles = {0, 0.5, 0.99, 1};
      if (random.OneIn(2)) query.group_by.emplace();
      if (query.group_by.has_value() && random.OneIn(2)) query.group_by->push_back("region");
      if (query.group_by.has_value() && random.OneIn(2)) query.group_by->push_back("model");
      const bool eu_only = random.OneIn(3);
      if (eu_only) query.matchers = {{.label = "region", .pattern = "eu-.*"}};
      if (random.OneIn(3)) {
        query.end_time = now_ - absl::Seconds(random.Below(tiers_[tier].retention_seconds));
      }
      WEIR_ASSERT_OK_AND_ASSIGN(const WindowAnswer answer, Query(query));
      auto expected = oracle.Answer(query, answer, eu_only);
      ASSERT_EQ(answer.series.size(), expected.size());
      auto group = expected.begin();
      for (const SeriesAnswer& series : answer.series) {
        ASSERT_EQ(series.labels, group->first);
        ASSERT_EQ(series.kind, *query.kind);
        ASSERT_EQ(static_cast<int64_t>(series.bins.size()) * answer.bin_seconds,
                  answer.end_seconds - answer.start_seconds);
        for (size_t bin = 0; bin < series.bins.size(); ++bin) {
          const int64_t start =
              answer.start_seconds + static_cast<int64_t>(bin) * answer.bin_seconds;
          ASSERT_NO_FATAL_FAILURE(ExpectBin(series.bins[bin], group->second[start], query,
                                            answer.bin_seconds, *query.kind))
              << "window " << query.window << " bin " << start << " step " << step;
        }
        ++group;
      }
      ASSERT_FALSE(HasFailure());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, QueryTest, ::testing::Range<uint64_t>(1, 9));

TEST_F(QueryTest, TheDefaultRangeEndsNowAndIsTheWindowsLengthInWholeBins) {
  now_ += absl::Seconds(3);
  const int64_t epoch = absl::ToUnixSeconds(test::FakeClock::Epoch());
  WEIR_ASSERT_OK_AND_ASSIGN(WindowAnswer answer, Query({.window = "5m", .name = "m"}));
  EXPECT_EQ(answer.start_seconds, epoch - 300);
  EXPECT_EQ(answer.end_seconds, epoch + 10);
  EXPECT_EQ(answer.bin_seconds, 10);
  EXPECT_THAT(answer.series, IsEmpty());

  WEIR_ASSERT_OK_AND_ASSIGN(
      answer, Query({.window = "24h", .name = "m", .end_time = absl::FromUnixSeconds(epoch)}));
  EXPECT_EQ(answer.start_seconds, epoch - kDay);
  EXPECT_EQ(answer.end_seconds, epoch);
}

TEST_F(QueryTest, StartIsAlignedDownAndEndUp) {
  const int64_t epoch = absl::ToUnixSeconds(now_);
  WEIR_ASSERT_OK_AND_ASSIGN(
      const WindowAnswer answer,
      Query({.window = "1h",
             .name = "m",
             .start_time = absl::FromUnixSeconds(epoch - 119),
             .end_time = absl::FromUnixSeconds(epoch - 60) + absl::Nanoseconds(1)}));
  EXPECT_EQ(answer.start_seconds, epoch - 120);
  EXPECT_EQ(answer.end_seconds, epoch);
}

TEST_F(QueryTest, BinsBelowTheFloorAreNotAnswered) {
  const Series series = SeriesOf("m", Kind::kCounter, {});
  now_ += absl::Hours(3);
  for (int slot = 0; slot < kSlots; ++slot) Derive(slot, 1, absl::ToUnixSeconds(now_));
  Retire();
  Commit({{series, now_ - absl::Minutes(1), 1, true}});
  WEIR_ASSERT_OK_AND_ASSIGN(
      WindowAnswer answer,
      Query({.window = "5m", .name = "m", .start_time = now_ - absl::Hours(2)}));
  EXPECT_EQ(answer.kept_since_seconds, absl::ToUnixSeconds(now_ - absl::Hours(1)));
  EXPECT_EQ(answer.start_seconds, answer.kept_since_seconds);
  ASSERT_THAT(answer.series, SizeIs(1));
  EXPECT_THAT(answer.series[0].bins, SizeIs(360));

  WEIR_ASSERT_OK_AND_ASSIGN(answer, Query({.window = "5m",
                                           .name = "m",
                                           .start_time = now_ - absl::Hours(3),
                                           .end_time = now_ - absl::Hours(2)}));
  EXPECT_EQ(answer.start_seconds, answer.end_seconds);
  ASSERT_THAT(answer.series, SizeIs(1));
  EXPECT_THAT(answer.series[0].bins, IsEmpty());
}

TEST_F(QueryTest, AnUnknownWindowIsRefusedWithTheValidOnes) {
  ExpectRefused(Query({.window = "7m", .name = "m"}).status(), RefusalReason::kUnknownWindow,
                {{"valid", "5m,1h,24h,30d,1y"}, {"window", "7m"}});
}

TEST_F(QueryTest, WrongFieldsAreRefusedByName) {
  const auto refused = [&](const WindowQuery& query) {
    const absl::Status status = Query(query).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_EQ(RefusalReasonOf(status), RefusalReason::kInvalidField);
    const RefusalMetadata metadata = RefusalMetadataOf(status);
    return metadata.size() == 1 && metadata[0].first == "field" ? metadata[0].second : "";
  };
  EXPECT_EQ(refused({.window = "5m"}), "name");
  EXPECT_EQ(refused({.window = "5m", .name = std::string("a\0b", 3)}), "name");
  EXPECT_EQ(refused({.window = "5m", .name = "m", .labels = {{"", "x"}}}), "labels");
  EXPECT_EQ(refused({.window = "5m", .name = "m", .quantiles = {1.5}}), "quantiles");
  EXPECT_EQ(refused({.window = "5m", .name = "m", .quantiles = {std::nan("")}}), "quantiles");
  EXPECT_EQ(refused({.window = "5m", .name = "m", .quantiles = std::vector<double>(17, 0.5)}),
            "quantiles");
  EXPECT_EQ(refused({.window = "5m",
                     .name = "m",
                     .matchers = std::vector<LabelMatcher>(17, {.label = "a", .pattern = "b"})}),
            "matchers");
  EXPECT_EQ(refused({.window = "5m", .name = "m", .matchers = {{.pattern = "b"}}}),
            "matchers.label");
  EXPECT_EQ(refused({.window = "5m", .name = "m", .group_by = std::vector<std::string>{""}}),
            "group_by.labels");
  EXPECT_EQ(refused({.window = "5m", .name = "m", .start_time = now_, .end_time = now_}),
            "start_time");
  EXPECT_EQ(refused({.window = "5m", .name = "m", .start_time = absl::InfinitePast()}),
            "start_time");
  EXPECT_EQ(refused({.window = "5m", .name = "m", .end_time = absl::InfiniteFuture()}), "end_time");
}

TEST_F(QueryTest, AbsurdRangesAreRefusedForTheirSize) {
  const auto year = [](int number) {
    return absl::FromCivil(absl::CivilYear(number), absl::UTCTimeZone());
  };
  for (const int tier : {0, 1, 2, 3, 4}) {
    const absl::Status status = Query({.window = tiers_[tier].window,
                                       .name = "m",
                                       .start_time = now_ - absl::Seconds(1),
                                       .end_time = year(9999)})
                                    .status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted)) << tier;
    ExpectRefused(status, RefusalReason::kAnswerTooLarge, {{"limit", "1000000"}});
  }
}

TEST_F(QueryTest, ARangeFromYearOneIsCutAtTheFloor) {
  Retire();
  WEIR_ASSERT_OK_AND_ASSIGN(
      const WindowAnswer answer,
      Query({.window = "5m",
             .name = "m",
             .start_time = absl::FromCivil(absl::CivilYear(1), absl::UTCTimeZone())}));
  EXPECT_EQ(answer.start_seconds, floors_[0]);
}

TEST_F(QueryTest, AnswersOverTheLimitsAreRefused) {
  std::vector<Sample> samples;
  for (int i = 0; i < 20; ++i) {
    samples.push_back({SeriesOf("m", Kind::kCounter, {{"i", std::to_string(i)}}),
                       now_ - absl::Seconds(1), 1, true});
  }
  Commit(samples);
  limits_.max_answer_bins = 20 * 30;
  EXPECT_THAT(Query({.window = "5m", .name = "m"}), IsOk());
  limits_.max_answer_bins = 20 * 30 - 1;
  const absl::Status bins = Query({.window = "5m", .name = "m"}).status();
  EXPECT_THAT(bins, StatusIs(absl::StatusCode::kResourceExhausted));
  ExpectRefused(bins, RefusalReason::kAnswerTooLarge, {{"limit", "599"}});
  // Merged into one, it fits.
  EXPECT_THAT(Query({.window = "5m", .name = "m", .group_by = std::vector<std::string>{}}), IsOk());

  limits_ = {};
  limits_.max_answer_series = 19;
  ExpectRefused(Query({.window = "5m", .name = "m"}).status(), RefusalReason::kAnswerTooLarge,
                {{"limit", "19"}});
  limits_.max_matched_series = 18;
  ExpectRefused(
      Query({.window = "5m", .name = "m", .group_by = std::vector<std::string>{}}).status(),
      RefusalReason::kAnswerTooLarge, {{"limit", "18"}});
}

TEST_F(QueryTest, PatternsThatAreWrongOrTooLargeAreRefused) {
  const auto refused = [&](const std::string& pattern) {
    return Query({.window = "5m", .name = "m", .matchers = {{.label = "a", .pattern = pattern}}})
        .status();
  };
  ExpectRefused(refused("("), RefusalReason::kInvalidPattern, {{"pattern", "("}});
  ExpectRefused(refused("(?=a)"), RefusalReason::kInvalidPattern, {{"pattern", "(?=a)"}});
  const std::string huge = "((a{100}){100}){100}";
  ExpectRefused(refused(huge), RefusalReason::kInvalidPattern, {{"pattern", huge}});
  EXPECT_EQ(RefusalReasonOf(refused(std::string(5000, 'a'))), RefusalReason::kInvalidPattern);
}

TEST_F(QueryTest, SeriesOfSeveralKindsAreRefusedWithTheList) {
  Commit({{SeriesOf("m", Kind::kGauge, {}), now_, 1, false},
          {SeriesOf("m", Kind::kCounter, {{"a", "b"}}), now_, 1, true}});
  const absl::Status status = Query({.window = "5m", .name = "m"}).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition));
  ExpectRefused(status, RefusalReason::kKindMismatch, {{"kinds", "gauge,counter"}});
  WEIR_ASSERT_OK_AND_ASSIGN(const WindowAnswer answer,
                            Query({.window = "5m", .name = "m", .kind = Kind::kCounter}));
  ASSERT_THAT(answer.series, SizeIs(1));
  EXPECT_THAT(answer.series[0].labels, ElementsAre(Label{"a", "b"}));
}

TEST_F(QueryTest, FunctionsAKindDoesNotHaveAreRefused) {
  Commit({{SeriesOf("gauge", Kind::kGauge, {}), now_, 1, false},
          {SeriesOf("counter", Kind::kCounter, {}), now_, 1, true},
          {SeriesOf("up_down", Kind::kUpDownCounter, {}), now_, -1, true},
          {SeriesOf("distribution", Kind::kDistribution, {}), now_, 1, false}});
  const auto query = [&](const std::string& name, std::vector<Function> functions,
                         std::vector<double> quantiles) {
    return Query({.window = "5m",
                  .name = name,
                  .functions = std::move(functions),
                  .quantiles = std::move(quantiles)})
        .status();
  };
  ExpectRefused(query("gauge", {Function::kRate}, {}), RefusalReason::kKindMismatch,
                {{"kinds", "gauge"}});
  EXPECT_THAT(query("counter", {Function::kRate}, {}), IsOk());
  EXPECT_THAT(query("up_down", {Function::kRate}, {}), IsOk());
  EXPECT_THAT(query("distribution", {Function::kRate}, {0.5}), IsOk());
  ExpectRefused(query("gauge", {}, {0.5}), RefusalReason::kKindMismatch, {{"kinds", "gauge"}});
  ExpectRefused(query("counter", {}, {0.5}), RefusalReason::kKindMismatch, {{"kinds", "counter"}});
  for (const char* name : {"gauge", "counter", "up_down", "distribution"}) {
    EXPECT_THAT(query(name,
                      {Function::kCount, Function::kSum, Function::kAvg, Function::kMin,
                       Function::kMax, Function::kLast, Function::kStddev},
                      {}),
                IsOk());
  }
}

TEST_F(QueryTest, ValuesAreWhatTheirNamesSay) {
  Aggregate aggregate;
  aggregate.AddInteger(7, 100);
  aggregate.AddInteger(-3, 300);
  aggregate.AddInteger(2, 200);
  const auto value = [&](Function function, Kind kind = Kind::kCounter) {
    return ValueOf(function, kind, aggregate, 10);
  };
  EXPECT_EQ(value(Function::kCount), 3);
  EXPECT_EQ(value(Function::kSum), 6);
  EXPECT_EQ(value(Function::kAvg), 2);
  EXPECT_EQ(value(Function::kMin), -3);
  EXPECT_EQ(value(Function::kMax), 7);
  EXPECT_EQ(value(Function::kLast), -3);
  EXPECT_EQ(value(Function::kRate), 0.6);
  EXPECT_EQ(value(Function::kRate, Kind::kDistribution), 0.3);
  EXPECT_DOUBLE_EQ(value(Function::kStddev), std::sqrt((25. + 25. + 0.) / 3));
}

TEST_F(QueryTest, LabelsMatchWhollyAndAnAbsentOneIsEmpty) {
  Commit({{SeriesOf("m", Kind::kCounter, {{"region", "eu-1"}}), now_, 1, true},
          {SeriesOf("m", Kind::kCounter, {{"region", "eu-10"}}), now_, 1, true},
          {SeriesOf("m", Kind::kCounter, {{"model", "x"}}), now_, 1, true}});
  const auto labels = [&](std::vector<Label> contained, std::vector<LabelMatcher> matchers) {
    std::vector<std::vector<Label>> found;
    auto answer = Query({.window = "5m",
                         .name = "m",
                         .labels = std::move(contained),
                         .matchers = std::move(matchers)});
    WEIR_CHECK_OK(answer.status());
    for (const SeriesAnswer& series : answer->series) found.push_back(series.labels);
    return found;
  };
  const std::vector<Label> eu1 = {{"region", "eu-1"}};
  const std::vector<Label> eu10 = {{"region", "eu-10"}};
  const std::vector<Label> model = {{"model", "x"}};
  EXPECT_THAT(labels({}, {}), ElementsAre(model, eu1, eu10));
  EXPECT_THAT(labels({{"region", "eu-1"}}, {}), ElementsAre(eu1));
  EXPECT_THAT(labels({}, {{"region", "eu-1", false}}), ElementsAre(eu1));
  EXPECT_THAT(labels({}, {{"region", "eu-1.", false}}), ElementsAre(eu10));
  EXPECT_THAT(labels({}, {{"region", "eu-1", true}}), ElementsAre(model, eu10));
  EXPECT_THAT(labels({}, {{"region", "", false}}), ElementsAre(model));
  EXPECT_THAT(labels({}, {{"region", ".+", false}, {"region", "eu-10", true}}), ElementsAre(eu1));
  EXPECT_THAT(labels({}, {{"none", ".+", false}}), IsEmpty());
}

TEST_F(QueryTest, GroupsCarryTheirLabelsAndMergeTheirSeries) {
  Commit({{SeriesOf("m", Kind::kCounter, {{"model", "x"}, {"region", "eu"}}), now_, 1, true},
          {SeriesOf("m", Kind::kCounter, {{"model", "y"}, {"region", "eu"}}), now_, 2, true},
          {SeriesOf("m", Kind::kCounter, {{"model", "y"}}), now_, 4, true}});
  now_ += absl::Seconds(10);
  WEIR_ASSERT_OK_AND_ASSIGN(
      WindowAnswer answer,
      Query({.window = "5m", .name = "m", .group_by = std::vector<std::string>{"region"}}));
  ASSERT_THAT(answer.series, SizeIs(2));
  EXPECT_THAT(answer.series[0].labels, ElementsAre(Label{"region", ""}));
  EXPECT_EQ(answer.series[0].bins.back().aggregate.integer_sum, 4);
  EXPECT_THAT(answer.series[1].labels, ElementsAre(Label{"region", "eu"}));
  EXPECT_EQ(answer.series[1].bins.back().aggregate.integer_sum, 3);
  WEIR_ASSERT_OK_AND_ASSIGN(
      answer, Query({.window = "5m", .name = "m", .group_by = std::vector<std::string>{}}));
  ASSERT_THAT(answer.series, SizeIs(1));
  EXPECT_THAT(answer.series[0].labels, IsEmpty());
  EXPECT_EQ(answer.series[0].bins.back().aggregate.integer_sum, 7);
}

TEST_F(QueryTest, CompleteUntilIsTheLowestOfTheLiveLogs) {
  WEIR_ASSERT_OK_AND_ASSIGN(WindowAnswer answer, Query({.window = "5m", .name = "m"}));
  EXPECT_EQ(answer.complete_until, std::nullopt);
  EXPECT_THAT(answer.missing, IsEmpty());

  const WalId live{1, 0}, half{2, 0}, silent{3, 0};
  SetWatermark(0, live, now_ - absl::Seconds(2), now_);
  // One slot was not heard of for long, but the log was: its samples for that
  // slot may be on their way.
  SetWatermark(0, half, now_ - absl::Seconds(1), now_ - absl::Seconds(60));
  SetWatermark(1, half, now_ - absl::Seconds(90), now_ - absl::Seconds(80));
  SetWatermark(0, silent, now_ - absl::Seconds(200), now_ - absl::Seconds(61));
  SetWatermark(1, silent, now_ - absl::Seconds(300), now_ - absl::Seconds(100));
  WEIR_ASSERT_OK_AND_ASSIGN(answer, Query({.window = "5m", .name = "m"}));
  EXPECT_EQ(answer.complete_until, now_ - absl::Seconds(90));
  ASSERT_THAT(answer.missing, SizeIs(1));
  EXPECT_EQ(answer.missing[0].wal_id, silent);
  EXPECT_EQ(answer.missing[0].heard_time, now_ - absl::Seconds(61));
  EXPECT_EQ(answer.missing[0].complete_until, now_ - absl::Seconds(300));

  now_ += absl::Hours(1);
  WEIR_ASSERT_OK_AND_ASSIGN(answer, Query({.window = "5m", .name = "m"}));
  EXPECT_EQ(answer.complete_until, std::nullopt);
  EXPECT_THAT(answer.missing, SizeIs(3));
}

TEST_F(QueryTest, ARangeOfManyQuantilesIsReadInPartsAndIsWhole) {
  // Twenty series of 1440 bins: more than the sketches held at a time.
  std::vector<Sample> samples;
  for (int i = 0; i < 20 * 144; ++i) {
    samples.push_back({SeriesOf("m", Kind::kDistribution, {{"i", std::to_string(i % 20)}}),
                       now_ - absl::Seconds(1) - absl::Minutes(10) * (i / 20), 1.0 + i, false});
  }
  Commit(samples);
  WEIR_ASSERT_OK_AND_ASSIGN(
      const WindowAnswer answer,
      Query(
          {.window = "1h", .name = "m", .start_time = now_ - absl::Hours(24), .quantiles = {0.5}}));
  ASSERT_THAT(answer.series, SizeIs(20));
  int64_t count = 0;
  for (const SeriesAnswer& series : answer.series) {
    ASSERT_THAT(series.bins, SizeIs(1440));
    for (const BinAnswer& bin : series.bins) {
      count += bin.aggregate.count;
      ASSERT_EQ(bin.quantiles.size(), bin.aggregate.count > 0 ? 1u : 0u);
      if (bin.aggregate.count > 0) {
        ASSERT_EQ(bin.quantiles[0], bin.aggregate.last);
      }
    }
  }
  EXPECT_EQ(count, 20 * 144);
}

TEST_F(QueryTest, ListsPageThroughEverySeriesOnce) {
  std::vector<Sample> samples;
  std::set<SeriesId> ids;
  for (int i = 0; i < 100; ++i) {
    const Series series = SeriesOf(i < 70 ? "m" : "n", Kind::kCounter, {{"i", std::to_string(i)}});
    samples.push_back({series, now_, 1, true});
    if (i < 70) ids.insert(IdOfSeries(series));
  }
  Commit(samples);
  for (const int limit : {1, 7, 35, 70, 71}) {
    SeriesQuery query{.name = "m", .limit = limit};
    std::vector<SeriesId> listed;
    int pages = 0;
    while (true) {
      WEIR_ASSERT_OK_AND_ASSIGN(const SeriesPage page, List(query));
      ++pages;
      for (const store::SeriesRow& row : page.series) listed.push_back(row.id);
      if (!page.next_after.has_value()) break;
      EXPECT_THAT(page.series, SizeIs(limit));
      query.after = page.next_after;
    }
    EXPECT_EQ(pages, (70 + limit - 1) / limit);
    EXPECT_EQ(listed, std::vector<SeriesId>(ids.begin(), ids.end()));
  }
  WEIR_ASSERT_OK_AND_ASSIGN(const SeriesPage all, List({.limit = 1000}));
  EXPECT_THAT(all.series, SizeIs(100));
}

TEST_F(QueryTest, ListsWithMatchersEndAPageWhereTheyHaveLookedEnough) {
  std::vector<Sample> samples;
  for (int i = 0; i < 3000; ++i) {
    samples.push_back({SeriesOf("m", Kind::kCounter, {{"i", std::to_string(i)}}), now_, 1, true});
  }
  Commit(samples);
  SeriesQuery query{.name = "m", .matchers = {{.label = "i", .pattern = "17|2900"}}, .limit = 1};
  WEIR_ASSERT_OK_AND_ASSIGN(SeriesPage page, List(query));
  EXPECT_THAT(page.series, SizeIs(1));
  ASSERT_TRUE(page.next_after.has_value());
  query.after = page.next_after;
  WEIR_ASSERT_OK_AND_ASSIGN(page, List(query));
  EXPECT_THAT(page.series, SizeIs(1));
  EXPECT_FALSE(page.next_after.has_value());

  limits_.max_scanned_series = 1000;
  query = {.name = "m", .matchers = {{.label = "i", .pattern = "none"}}, .limit = 10};
  int pages = 0;
  do {
    WEIR_ASSERT_OK_AND_ASSIGN(page, List(query));
    EXPECT_THAT(page.series, IsEmpty());
    query.after = page.next_after;
    ++pages;
  } while (page.next_after.has_value());
  EXPECT_EQ(pages, 4);
}

TEST_F(QueryTest, TheStoresErrorsAreNoRefusals) {
  EXPECT_EQ(RefusalReasonOf(absl::UnavailableError("down")), std::nullopt);
  EXPECT_THAT(RefusalMetadataOf(absl::UnavailableError("down")), IsEmpty());
}

}  // namespace
}  // namespace weir::aggregator
