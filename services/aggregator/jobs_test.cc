#include "services/aggregator/jobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/random.h"
#include "common/testing/fake_clock.h"
#include "common/testing/memory_store.h"
#include "common/testing/status_matchers.h"
#include "common/testing/test_seed.h"

namespace weir::aggregator {
namespace {

using test::CommitFault;
using test::IsOk;
using test::MemoryStore;
using test::StatusIs;
using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr int kSlots = 3;
constexpr int64_t kNano = 1'000'000'000;
constexpr int64_t kHour = 3600;
constexpr int64_t kDay = 24 * kHour;

// What is compared of the samples of one series and bin: exact in any order.
struct Content {
  int64_t count = 0;
  absl::int128 sum = 0;
  double min = 0;
  double max = 0;
  int64_t first_unix_nano = 0;
  int64_t last_unix_nano = 0;
  double last = 0;
  int64_t sketched_count = 0;
  double median = 0;
  friend bool operator==(const Content&, const Content&) = default;
};

using Merged = std::pair<Aggregate, Sketch>;
using Bins = std::map<std::pair<int64_t, SeriesId>, Merged>;

std::map<std::pair<int64_t, SeriesId>, Content> ContentOf(const Bins& bins) {
  std::map<std::pair<int64_t, SeriesId>, Content> contents;
  for (const auto& [key, merged] : bins) {
    const auto& [aggregate, sketch] = merged;
    contents[key] = {.count = aggregate.count,
                     .sum = aggregate.integer_sum,
                     .min = aggregate.min,
                     .max = aggregate.max,
                     .first_unix_nano = aggregate.first_unix_nano,
                     .last_unix_nano = aggregate.last_unix_nano,
                     .last = aggregate.last,
                     .sketched_count = sketch.count(),
                     .median = sketch.count() > 0 ? sketch.Quantile(0.5) : 0};
  }
  return contents;
}

// Plays the core's part: knows the slots, flushes, derives and retires, and
// holds beside the store what every tier ought to show.
class Schedule {
 public:
  explicit Schedule(uint64_t seed, Mutant mutant = Mutant::kNone)
      : random_(seed), mutant_(mutant), now_(test::FakeClock::Epoch()) {
    auto store = MemoryStore::Create({.slot_count = kSlots, .tiers = tiers_, .created_time = now_});
    WEIR_CHECK_OK(store.status());
    store_ = *std::move(store);
    for (int i = 0; i < 6; ++i) {
      const Series series{.name = "m",
                          .kind = i % 2 == 0 ? Kind::kDistribution : Kind::kCounter,
                          .labels = {{"i", std::to_string(i)}}};
      std::string bytes;
      AppendSeries(series, &bytes);
      // The last series has partials in every slot, as overflow series have.
      for (int slot = 0; slot < kSlots; ++slot) {
        if (i < 5 && slot != SlotOf(IdOfSeries(series), kSlots)) continue;
        auto number = series_.Intern(slot, bytes);
        WEIR_CHECK_OK(number.status());
        numbers_.push_back(*number);
      }
    }
    expected_.resize(tiers_.size());
    const JobResult claimed = RunJob(Context(), ClaimJob{.owner = "test"});
    WEIR_CHECK_OK(claimed.status);
    slots_ = claimed.claimed.slots;
    floors_ = claimed.claimed.floors;
  }

  void InjectFaults() {
    store_->set_fault_policy([this](const store::Transaction&) {
      return random_.OneIn(3) ? static_cast<CommitFault>(random_.Below(test::kCommitFaultCount))
                              : CommitFault::kNone;
    });
  }

  void Step() {
    switch (random_.Below(8)) {
      case 0:
      case 1:
      case 2:
        return Flush();
      case 3:
      case 4:
      case 5:
        return Derive();
      case 6:
        return Retire();
      default:
        // Mostly minutes; at times a month in which nobody derived.
        now_ += absl::Seconds(random_.Below(random_.OneIn(10) ? 30 * kDay : kHour));
    }
  }

  void Flush() {
    const int64_t samples = static_cast<int64_t>(random_.Below(40));
    constexpr int64_t kLateness[] = {60, 2 * kHour, 2 * kDay, 30 * kDay, 400 * kDay, 500 * kDay};
    struct Sample {
      SeriesNumber number;
      int64_t time;
      int64_t value;
    };
    std::vector<Sample> folded;
    auto delta = std::make_shared<Delta>(10);
    for (int64_t i = 0; i < samples; ++i) {
      Sample sample{.number = numbers_[random_.Below(numbers_.size())],
                    .time = absl::ToUnixNanos(now_) - static_cast<int64_t>(random_.Below(
                                                          kLateness[random_.Below(6)] * kNano)),
                    .value = static_cast<int64_t>(random_.Between(1, 1000))};
      frame::Block block;
      block.type = frame::ValueType::kInteger;
      block.refs = {0};
      block.times = {sample.time};
      block.bits = {static_cast<uint64_t>(sample.value)};
      delta->Fold(series_, {&sample.number, 1}, block);
      folded.push_back(sample);
    }
    FlushJob job{.delta = delta, .floors = floors_};
    for (const store::SlotState& slot : slots_) {
      job.slots.push_back({slot.slot, slot.epoch, slot.commit_number});
      job.watermarks.push_back({.slot = slot.slot,
                                .wal_id = WalId{7, 7},
                                .old_lsn = lsn_,
                                .new_lsn = lsn_ + 1,
                                .complete_until = now_,
                                .heard_time = now_});
      job.derived_until.push_back(slot.derived_until);
    }
    const JobResult result = Run(job);
    ++lsn_;
    for (store::SlotState& slot : slots_) ++slot.commit_number;
    if (!result.floors.empty()) floors_ = result.floors;
    for (const SeriesNumber number : result.stored) series_.MarkStored(number);
    for (const Sample& sample : folded) {
      for (int tier = 0; tier < tiers_.size(); ++tier) {
        const int64_t start = AlignDown(SecondsOfNanos(sample.time), tiers_[tier].bin_seconds);
        auto& [aggregate, sketch] = expected_[tier][{start, series_[sample.number].id}];
        aggregate.AddInteger(sample.value, sample.time);
        if (series_[sample.number].kind == Kind::kDistribution) {
          sketch.Add(static_cast<double>(sample.value));
        }
      }
    }
  }

  void Derive() {
    store::SlotState& slot = slots_[random_.Below(kSlots)];
    const int tier = static_cast<int>(random_.Between(1, tiers_.size() - 1));
    const int64_t width = tiers_[tier].bin_seconds;
    const int64_t from = slot.derived_until[tier];
    int64_t until = tier == 1 ? absl::ToUnixSeconds(now_) : slot.derived_until[tier - 1];
    if (random_.OneIn(2)) until = std::min(until, from + 3 * width);
    until = AlignDown(until, width);
    if (until <= from) return;
    const JobResult result = Run(DeriveJob{.slot = {slot.slot, slot.epoch, slot.commit_number},
                                           .tier = tier,
                                           .from_seconds = from,
                                           .until_seconds = until});
    ++slot.commit_number;
    ASSERT_GT(result.derived_until_seconds, from);
    ASSERT_LE(result.derived_until_seconds, until);
    slot.derived_until[tier] = result.derived_until_seconds;
  }

  void Retire() {
    const JobResult result = RunJob(Context(), RetentionJob{.now = now_});
    ASSERT_THAT(result.status, IsOk());
    // A core that was told late routes by the old floors, and must be corrected.
    if (random_.OneIn(2)) floors_ = result.floors;
  }

  // Whether every tier shows exactly the samples of its bins that are kept.
  testing::AssertionResult Agrees() {
    const std::shared_ptr<const MemoryStore::State> state = store_->state();
    for (int tier = 0; tier < tiers_.size(); ++tier) {
      Bins expected;
      for (const auto& [key, merged] : expected_[tier]) {
        if (key.first >= state->floors[tier]) expected[key] = merged;
      }
      if (ContentOf(Visible(*state, tier)) != ContentOf(expected)) {
        return testing::AssertionFailure() << "tier " << tier << " differs at " << now_;
      }
    }
    return testing::AssertionSuccess();
  }

  JobContext Context() {
    return {.store = *store_,
            .tiers = tiers_,
            .slot_count = kSlots,
            .retention_rows_per_step = static_cast<int64_t>(random_.Between(1, 20)),
            .max_retention_steps = 3,
            .derive_rows_per_job = random_.OneIn(2) ? 3 : 1'000,
            .mutant = mutant_};
  }

  Random& random() { return random_; }
  MemoryStore& store() { return *store_; }

 private:
  // Runs a job as the core does: again while its end is unknown, and after a
  // conflict by looking whether it was one's own commit.
  template <typename AnyJob>
  JobResult Run(AnyJob job) {
    const JobContext context = Context();
    while (true) {
      JobResult result = RunJob(context, job);
      if (result.status.ok()) return result;
      if (absl::IsAborted(result.status)) {
        EXPECT_TRUE(job.rerun) << "a conflict without a rival";
        return result;
      }
      EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kUnavailable));
      if (random_.OneIn(2)) store_->CommitGhosts();
      job.rerun = true;
    }
  }

  // Tier's bins by the rule: up to derived_until from the tier itself, after it
  // from the next finer one, recursively; nothing below a floor.
  Bins Visible(const MemoryStore::State& state, int tier) {
    Bins bins;
    for (int source = tier; source >= 0; --source) {
      for (const auto& [start, rows] : state.partials[source]) {
        if (start < state.floors[source]) continue;
        for (const MemoryStore::StoredPartial& row : rows) {
          const std::vector<int64_t>& derived_until = state.slots[row.slot].derived_until;
          bool shown = source == 0 || start < derived_until[source];
          for (int above = source + 1; above <= tier; ++above) {
            shown = shown && start >= derived_until[above];
          }
          if (!shown) continue;
          auto& [aggregate, sketch] =
              bins[{AlignDown(start, tiers_[tier].bin_seconds), row.series_id}];
          aggregate.Merge(row.aggregate);
          if (row.sketch.empty()) continue;
          auto parsed = Sketch::Parse(row.sketch);
          WEIR_CHECK_OK(parsed.status());
          sketch.Merge(*parsed);
        }
      }
    }
    return bins;
  }

  Random random_;
  const Mutant mutant_;
  const TierTable tiers_ = TierTable::Default();
  absl::Time now_;
  std::unique_ptr<MemoryStore> store_;
  SeriesIndex series_{{}};
  std::vector<SeriesNumber> numbers_;
  std::vector<store::SlotState> slots_;
  std::vector<int64_t> floors_;
  uint64_t lsn_ = 0;
  std::vector<Bins> expected_;
};

class JobsScheduleTest : public ::testing::TestWithParam<uint64_t> {};

TEST_P(JobsScheduleTest, EveryTierShowsExactlyItsSamplesAfterEveryStep) {
  const uint64_t seed = test::TestSeed(GetParam());
  SCOPED_TRACE(testing::Message() << "WEIR_TEST_SEED=" << seed);
  Schedule schedule(seed);
  for (int step = 0; step < 100; ++step) {
    ASSERT_NO_FATAL_FAILURE(schedule.Step());
    ASSERT_TRUE(schedule.Agrees()) << "step " << step;
  }
}

TEST_P(JobsScheduleTest, CommitsInDoubtAreRunAgainAndCountOnce) {
  const uint64_t seed = test::TestSeed(GetParam() + 1000);
  SCOPED_TRACE(testing::Message() << "WEIR_TEST_SEED=" << seed);
  Schedule schedule(seed);
  schedule.InjectFaults();
  for (int step = 0; step < 100; ++step) {
    ASSERT_NO_FATAL_FAILURE(schedule.Step());
    ASSERT_TRUE(schedule.Agrees()) << "step " << step;
    if (schedule.random().OneIn(10)) {
      schedule.store().CommitGhosts();
      ASSERT_TRUE(schedule.Agrees()) << "ghosts after step " << step;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, JobsScheduleTest, ::testing::Range<uint64_t>(1, 9));

TEST(JobsMutantTest, TheScheduleNoticesLateDataThatSkipsDerivedTiers) {
  Schedule schedule(test::TestSeed(1), Mutant::kLateSkipsDerived);
  bool agrees = true;
  for (int step = 0; step < 100 && agrees; ++step) {
    schedule.Step();
    agrees = static_cast<bool>(schedule.Agrees());
  }
  EXPECT_FALSE(agrees);
}

// One slot, one or two series, floors and derived_until as a test sets them.
class JobsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WEIR_ASSERT_OK_AND_ASSIGN(
        store_, MemoryStore::Create({.slot_count = 1, .tiers = tiers_, .created_time = now_}));
    const JobResult claimed = RunJob(context(), ClaimJob{.owner = "test"});
    ASSERT_THAT(claimed.status, IsOk());
    slot_ = claimed.claimed.slots[0];
    floors_ = claimed.claimed.floors;
  }

  JobContext context() { return {.store = *store_, .tiers = tiers_, .slot_count = 1}; }

  // A flush of samples of value 1, so many seconds before now.
  FlushJob FlushOf(const std::vector<int64_t>& ages_seconds) {
    std::string bytes;
    AppendSeries({.name = "m", .kind = Kind::kCounter}, &bytes);
    auto number = series_.Intern(0, bytes);
    WEIR_CHECK_OK(number.status());
    auto delta = std::make_shared<Delta>(10);
    for (const int64_t age : ages_seconds) {
      frame::Block block;
      block.type = frame::ValueType::kInteger;
      block.refs = {0};
      block.times = {absl::ToUnixNanos(now_ - absl::Seconds(age))};
      block.bits = {1};
      delta->Fold(series_, {&*number, 1}, block);
    }
    return {.delta = delta,
            .slots = {{0, slot_.epoch, slot_.commit_number}},
            .watermarks = {{.wal_id = WalId{1, 1},
                            .old_lsn = 0,
                            .new_lsn = 1,
                            .complete_until = now_,
                            .heard_time = now_}},
            .derived_until = {slot_.derived_until},
            .floors = floors_};
  }

  size_t RowCount() {
    size_t count = 0;
    for (const auto& tier : store_->state()->partials) {
      for (const auto& [start, rows] : tier) count += rows.size();
    }
    return count;
  }

  const TierTable tiers_ = TierTable::Default();
  const absl::Time now_ = test::FakeClock::Epoch();
  std::unique_ptr<MemoryStore> store_;
  SeriesIndex series_{{}};
  store::SlotState slot_;
  std::vector<int64_t> floors_;
};

TEST_F(JobsTest, LateCellsThatMeetInACoarserBinBecomeOneRowThere) {
  // Two 10 s bins of one minute, hour and day before the store was created.
  const FlushJob job = FlushOf({10, 20});
  std::deque<std::string> sketches;
  JobResult result;
  const store::Transaction transaction = RouteFlush(context(), job, &sketches, &result);
  std::vector<std::pair<int, int64_t>> tiers_and_counts;
  for (const store::PartialRow& row : transaction.partials) {
    tiers_and_counts.emplace_back(row.tier, row.aggregate.count);
  }
  EXPECT_THAT(tiers_and_counts, ElementsAre(std::pair(0, 1), std::pair(0, 1), std::pair(1, 2),
                                            std::pair(2, 2), std::pair(3, 2), std::pair(4, 2)));
  EXPECT_EQ(result.row_count, 6);
  EXPECT_EQ(result.late_row_count, 4);
  EXPECT_THAT(transaction.series, SizeIs(1));
  EXPECT_THAT(result.stored, ElementsAre(0));
}

TEST_F(JobsTest, SamplesGoToTheFinestTierThatKeepsThemAndExpireAfterTheLast) {
  ASSERT_THAT(RunJob(context(), RetentionJob{.now = now_}).status, IsOk());
  floors_ = store_->state()->floors;
  const FlushJob job = FlushOf({1, 2 * kHour, 2 * kDay, 30 * kDay, 300 * kDay, 500 * kDay});
  std::deque<std::string> sketches;
  JobResult result;
  const store::Transaction transaction = RouteFlush(context(), job, &sketches, &result);
  std::map<int, int64_t> rows_per_tier;
  for (const store::PartialRow& row : transaction.partials) {
    ++rows_per_tier[row.tier];
    EXPECT_GE(row.start_seconds, floors_[row.tier]);
  }
  EXPECT_EQ(rows_per_tier, (std::map<int, int64_t>{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 4}}));
  EXPECT_EQ(result.expired_sample_count, 1);
}

TEST_F(JobsTest, RowsAreInKeyOrder) {
  const FlushJob job = FlushOf({5, 500, 50, 5000, 1, 50'000});
  std::deque<std::string> sketches;
  JobResult result;
  const store::Transaction transaction = RouteFlush(context(), job, &sketches, &result);
  EXPECT_TRUE(std::is_sorted(transaction.partials.begin(), transaction.partials.end(),
                             [](const store::PartialRow& a, const store::PartialRow& b) {
                               return std::tie(a.tier, a.start_seconds, a.slot, a.series_id) <
                                      std::tie(b.tier, b.start_seconds, b.slot, b.series_id);
                             }));
}

TEST_F(JobsTest, AFlushThatFindsTheFloorsMovedIsRoutedAgain) {
  const std::vector<int64_t> old_floors = floors_;
  ASSERT_THAT(RunJob(context(), RetentionJob{.now = now_ + absl::Hours(2)}).status, IsOk());
  ASSERT_NE(store_->state()->floors, old_floors);
  const JobResult result = RunJob(context(), FlushOf({1800}));
  ASSERT_THAT(result.status, IsOk());
  EXPECT_EQ(result.floors, store_->state()->floors);
  EXPECT_TRUE(store_->state()->partials[0].empty());
  EXPECT_THAT(store_->state()->partials[1], SizeIs(1));
}

TEST_F(JobsTest, AConflictIsAbortedAndWritesNothing) {
  FlushJob job = FlushOf({1});
  job.watermarks[0].old_lsn = 5;
  job.watermarks[0].new_lsn = 6;
  EXPECT_THAT(RunJob(context(), job).status, StatusIs(absl::StatusCode::kAborted));
  job = FlushOf({1});
  job.slots[0].epoch = 0;
  EXPECT_THAT(RunJob(context(), job).status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(RunJob(context(), DeriveJob{.slot = {0, slot_.epoch, slot_.commit_number + 1},
                                          .tier = 1,
                                          .from_seconds = slot_.derived_until[1],
                                          .until_seconds = slot_.derived_until[1] + 60})
                  .status,
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(RowCount(), 0u);
}

TEST_F(JobsTest, AFlushThatHadCommittedIsAConflictAndStillTellsWhatIsStored) {
  FlushJob job = FlushOf({1});
  ASSERT_THAT(RunJob(context(), job).status, IsOk());
  const size_t rows = RowCount();
  job.rerun = true;
  const JobResult again = RunJob(context(), job);
  EXPECT_THAT(again.status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(again.stored, ElementsAre(0));
  EXPECT_EQ(RowCount(), rows);
  const JobResult read = RunJob(context(), ReadSlotsJob{});
  ASSERT_THAT(read.status, IsOk());
  EXPECT_EQ(read.claimed.slots[0].commit_number, slot_.commit_number + 1);
  EXPECT_EQ(read.claimed.watermarks[0].lsn, 1u);
}

TEST_F(JobsTest, AStoreThatIsDownMakesEveryJobUnavailable) {
  const std::vector<Job> jobs = {ClaimJob{.owner = "x"}, FlushOf({1}),
                                 DeriveJob{.slot = {0, slot_.epoch, slot_.commit_number},
                                           .tier = 1,
                                           .from_seconds = slot_.derived_until[1],
                                           .until_seconds = slot_.derived_until[1] + 60},
                                 RetentionJob{.now = now_}, ReadSlotsJob{}};
  store_->set_unavailable(true);
  for (const Job& job : jobs) {
    EXPECT_THAT(RunJob(context(), job).status, StatusIs(absl::StatusCode::kUnavailable))
        << job.index();
  }
}

TEST_F(JobsTest, AClaimBringsTheSeriesThatAreStored) {
  ASSERT_THAT(RunJob(context(), FlushOf({1})).status, IsOk());
  const JobResult claimed = RunJob(context(), ClaimJob{.owner = "next"});
  ASSERT_THAT(claimed.status, IsOk());
  ASSERT_THAT(claimed.series, SizeIs(1));
  EXPECT_EQ(claimed.series[0].series.name, "m");
  EXPECT_EQ(claimed.claimed.slots[0].epoch, slot_.epoch + 1);
  EXPECT_THAT(claimed.claimed.watermarks, SizeIs(1));
}

TEST_F(JobsTest, RetentionCatchesUpInBoundedSteps) {
  std::vector<int64_t> ages;
  for (int64_t age = 10; age <= kHour; age += 10) ages.push_back(age);
  ASSERT_THAT(RunJob(context(), FlushOf(ages)).status, IsOk());
  JobContext slow = context();
  slow.retention_rows_per_step = 10;
  slow.max_retention_steps = 4;
  const RetentionJob job{.now = now_ + absl::Hours(2)};
  ASSERT_THAT(RunJob(slow, job).status, IsOk());
  size_t left = 0;
  for (const auto& [start, rows] : store_->state()->partials[0]) left += rows.size();
  EXPECT_EQ(left, ages.size() - 40);
  ASSERT_THAT(RunJob(context(), job).status, IsOk());
  EXPECT_TRUE(store_->state()->partials[0].empty());
}

}  // namespace
}  // namespace weir::aggregator
