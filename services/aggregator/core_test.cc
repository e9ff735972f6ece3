#include "services/aggregator/core.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <string>

#include "common/frame/frame.h"
#include "common/testing/memory_store.h"

namespace weir::aggregator {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);
const WalId kWal = {.high = 5, .low = 6};
constexpr int kSlots = 2;

// A collector's frame of one slot, with one series of one sample.
class TestFrame {
 public:
  TestFrame(uint64_t lsn, uint64_t previous_lsn, int64_t value, bool define = true,
            absl::Time event = kStart) {
    Series series = {.tenant = "t", .name = "tokens", .kind = Kind::kCounter};
    std::string bytes;
    AppendSeries(series, &bytes);
    AppendVarint(define ? 1 : 0, &subframe_);
    if (define) {
      AppendVarint(0, &subframe_);
      AppendLengthPrefixed(bytes, &subframe_);
    }
    frame::Block block;
    block.type = frame::ValueType::kInteger;
    block.refs = {0};
    block.times = {absl::ToUnixNanos(event)};
    block.bits = {static_cast<uint64_t>(value)};
    frame::AppendBlock(block, &subframe_);
    frame_ = {.lsn = lsn,
              .segment = 1,
              .seal_time = kStart + absl::Seconds(static_cast<int64_t>(lsn)),
              .ranges = {{.slot = 0, .previous_lsn = previous_lsn, .subframe = subframe_}}};
  }
  operator const delivery::Frame&() const { return frame_; }  // NOLINT

 private:
  std::string subframe_;
  delivery::Frame frame_;
};

// The core over a store in memory; jobs run when the test says so.
class CoreTest : public ::testing::Test {
 protected:
  CoreTest()
      : store_(*test::MemoryStore::Create({.slot_count = kSlots, .created_time = kStart})),
        core_(Options()) {
    Perform(core_.Start(now_));
  }

  static CoreOptions Options() {
    CoreOptions options;
    options.slot_count = kSlots;
    options.flush_memory_bytes = 64 << 10;
    options.window_bytes = 64 << 10;
    return options;
  }

  void Perform(Actions actions) {
    for (Action& action : actions) {
      if (auto* run = std::get_if<RunStoreJob>(&action)) {
        jobs_.push_back(std::move(run->job));
      } else if (auto* send = std::get_if<SendTo>(&action)) {
        sent_[send->connection].push_back(std::move(send->message));
      } else if (auto* close = std::get_if<CloseConnection>(&action)) {
        closed_[close->connection] = close->why;
      } else {
        fenced_ = true;
      }
    }
  }

  JobResult Run(const Job& job) {
    return RunJob({.store = *store_, .tiers = tiers_, .slot_count = kSlots, .tenant = "t"}, job);
  }
  void FinishJob() {
    ASSERT_EQ(jobs_.size(), 1u) << "one job at a time";
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    Perform(core_.OnJobDone(Run(job), now_));
  }
  void FailJob(const absl::Status& status) {
    ASSERT_EQ(jobs_.size(), 1u);
    jobs_.pop_front();
    Perform(core_.OnJobDone({.status = status}, now_));
  }
  void FinishJobs() {
    while (!jobs_.empty()) FinishJob();
  }
  void TickAfter(absl::Duration wait) {
    now_ += wait;
    Perform(core_.OnTick(now_));
  }
  void Open(ConnectionId connection) {
    Perform(core_.OnHello(connection, {.wal_id = kWal, .slot_count = kSlots}, now_));
  }
  void Receive(ConnectionId connection, const TestFrame& frame) {
    Perform(core_.OnFrame(connection, frame, now_));
  }
  // The last message of the kind, which must be there.
  template <typename T>
  T Last(ConnectionId connection) {
    for (auto it = sent_[connection].rbegin(); it != sent_[connection].rend(); ++it) {
      if (std::holds_alternative<T>(*it)) return std::get<T>(*it);
    }
    ADD_FAILURE() << "no such message";
    return {};
  }
  // The exact total of everything in tier 0.
  absl::int128 Total() {
    absl::int128 total = 0;
    const auto snapshot = store_->OpenSnapshot();
    EXPECT_TRUE((*snapshot)
                    ->ReadPartials({.tier = 0, .end_seconds = int64_t{1} << 40},
                                   [&](const store::PartialRow& row) {
                                     total += row.aggregate.integer_sum;
                                     return absl::OkStatus();
                                   })
                    .ok());
    return total;
  }

  absl::Time now_ = kStart;
  const TierTable tiers_ = TierTable::Default();
  const std::unique_ptr<test::MemoryStore> store_;
  Core core_;
  std::deque<Job> jobs_;
  std::map<ConnectionId, std::vector<delivery::FromAggregator>> sent_;
  std::map<ConnectionId, absl::Status> closed_;
  bool fenced_ = false;
};

TEST_F(CoreTest, AGreetingIsAnsweredOnceTheSlotsAreClaimed) {
  Open(1);
  EXPECT_TRUE(sent_[1].empty());
  FinishJobs();
  EXPECT_EQ(Last<delivery::Resume>(1).slots.size(), static_cast<size_t>(kSlots));
}

TEST_F(CoreTest, AFrameIsAcknowledgedOnlyAfterItsCommit) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  TickAfter(absl::Seconds(1));
  ASSERT_EQ(jobs_.size(), 1u);
  EXPECT_EQ(sent_[1].size(), 1u);  // the resume
  FinishJobs();
  EXPECT_EQ(Last<delivery::Ack>(1).slots[0].committed_lsn, 1u);
  EXPECT_EQ(Total(), 10);
}

TEST_F(CoreTest, ARepeatedFrameIsNotFoldedAgain) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  Receive(1, TestFrame(1, 0, 10));
  TickAfter(absl::Seconds(1));
  FinishJobs();
  Receive(1, TestFrame(1, 0, 10));
  TickAfter(absl::Seconds(2));
  FinishJobs();
  EXPECT_EQ(Total(), 10);
  EXPECT_EQ(core_.counts().repeated_ranges, 2);
}

TEST_F(CoreTest, AGapIsAnsweredWithAResumeAndNotFolded) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  now_ += absl::Seconds(3);
  Receive(1, TestFrame(5, 3, 100));
  EXPECT_EQ(core_.counts().gaps, 1);
  EXPECT_EQ(Last<delivery::Resume>(1).slots[0].applied_lsn, 1u);
  Receive(1, TestFrame(3, 1, 1000));
  Receive(1, TestFrame(5, 3, 100));
  TickAfter(absl::Seconds(1));
  FinishJobs();
  EXPECT_EQ(Total(), 1110);
}

TEST_F(CoreTest, AFlushInDoubtThatHadCommittedIsNotWrittenAgain) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  TickAfter(absl::Seconds(1));
  ASSERT_EQ(jobs_.size(), 1u);
  ASSERT_TRUE(Run(jobs_.front()).status.ok());         // it committed ...
  FailJob(absl::UnavailableError("connection lost"));  // ... and nobody heard
  Receive(1, TestFrame(2, 1, 5));
  TickAfter(absl::Seconds(1));
  FinishJobs();
  TickAfter(absl::Seconds(2));
  FinishJobs();
  EXPECT_EQ(Total(), 15);
  EXPECT_EQ(core_.counts().conflicts_committed, 1);
  EXPECT_EQ(Last<delivery::Ack>(1).slots[0].committed_lsn, 2u);
}

TEST_F(CoreTest, AFlushInDoubtThatHadNotCommittedIsRunAgain) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  TickAfter(absl::Seconds(1));
  for (int i = 0; i < 5; ++i) {
    FailJob(absl::UnavailableError("database starting"));
    EXPECT_TRUE(jobs_.empty()) << "it backs off";
    TickAfter(absl::Seconds(10));
  }
  FinishJobs();
  EXPECT_EQ(Total(), 10);
}

TEST_F(CoreTest, AnotherOwnerFencesAndNothingIsWritten) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  ASSERT_TRUE(store_->Claim({0, 1}, "other").ok());
  TickAfter(absl::Seconds(1));
  FinishJobs();
  EXPECT_TRUE(fenced_);
  EXPECT_EQ(Total(), 0);
  Receive(1, TestFrame(2, 1, 10));
  TickAfter(absl::Seconds(100));
  EXPECT_TRUE(jobs_.empty());
}

TEST_F(CoreTest, ASuccessorGoesOnWhereTheCommitsEnd) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  TickAfter(absl::Seconds(1));
  FinishJobs();
  Receive(1, TestFrame(2, 1, 20));  // folded, never committed

  Core successor(Options());
  jobs_.clear();
  Actions actions = successor.Start(now_);
  JobResult claimed = Run(std::get<RunStoreJob>(actions.at(0)).job);
  successor.OnJobDone(std::move(claimed), now_);
  actions = successor.OnHello(9, {.wal_id = kWal, .slot_count = kSlots}, now_);
  const auto& resume = std::get<delivery::Resume>(std::get<SendTo>(actions.at(0)).message);
  EXPECT_EQ(resume.slots[0].applied_lsn, 1u);
  EXPECT_EQ(resume.slots[0].epoch, 2);
}

TEST_F(CoreTest, ASuccessorWhoseClockIsBehindStillCommitsThatItHearsACollector) {
  FinishJobs();
  now_ += absl::Hours(1);
  Open(1);
  TickAfter(absl::Seconds(1));
  FinishJobs();  // heard an hour from the successor's now

  Core successor(Options());
  absl::Time now = kStart;
  bool flushed = false;
  const auto run_all = [&](Actions actions) {
    while (!actions.empty()) {
      Actions more;
      for (const Action& action : actions) {
        const auto* run = std::get_if<RunStoreJob>(&action);
        if (run == nullptr) continue;
        flushed |= std::holds_alternative<FlushJob>(run->job);
        more = successor.OnJobDone(Run(run->job), now);
      }
      actions = std::move(more);
    }
  };
  run_all(successor.Start(now));
  now += absl::Seconds(1);
  run_all(successor.OnHello(9, {.wal_id = kWal, .slot_count = kSlots}, now));
  now += absl::Seconds(2);
  run_all(successor.OnTick(now));
  EXPECT_TRUE(flushed) << "it would not notice that another has taken its slots";
}

TEST_F(CoreTest, ANewerConnectionOfALogReplacesTheOlder) {
  FinishJobs();
  Open(1);
  Open(2);
  EXPECT_TRUE(absl::IsAborted(closed_[1]));
  Receive(1, TestFrame(1, 0, 10));  // still in flight on the dead connection
  EXPECT_EQ(core_.counts().samples, 0);
  Receive(2, TestFrame(1, 0, 10));
  EXPECT_EQ(core_.counts().samples, 1);
}

TEST_F(CoreTest, DamageEndsTheStreamAndFoldsNothing) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10, /*define=*/false));
  EXPECT_TRUE(absl::IsDataLoss(closed_[1]));
  EXPECT_EQ(core_.counts().samples, 0);
  Open(2);
  EXPECT_EQ(Last<delivery::Resume>(2).slots[0].applied_lsn, 0u);
}

TEST_F(CoreTest, AnotherSlotCountIsRefused) {
  FinishJobs();
  Perform(core_.OnHello(1, {.wal_id = kWal, .slot_count = 3}, now_));
  EXPECT_TRUE(absl::IsFailedPrecondition(closed_[1]));
}

TEST_F(CoreTest, CompletenessIsCommittedWithTheFramesItSpeaksOf) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  now_ += absl::Seconds(30);
  Perform(core_.OnHeartbeat(1, {.time = kStart + absl::Seconds(30)}, now_));
  TickAfter(absl::Seconds(1));
  FinishJobs();
  const auto watermarks = (*store_->OpenSnapshot())->Watermarks();
  ASSERT_TRUE(watermarks.ok());
  ASSERT_EQ(watermarks->size(), static_cast<size_t>(kSlots));  // slots without samples, too
  for (const store::Watermark& watermark : *watermarks) {
    EXPECT_EQ(watermark.complete_until, kStart + absl::Seconds(30));
  }
}

TEST_F(CoreTest, HalfAWindowIsCommittedBeforeItsTime) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 1));
  TickAfter(absl::Seconds(1));
  FinishJobs();  // the next flush is due in a second
  uint64_t lsn = 1;
  while (jobs_.empty() && lsn < 10'000) {
    ++lsn;
    Receive(1, TestFrame(lsn, lsn - 1, 1));
  }
  ASSERT_EQ(jobs_.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<FlushJob>(jobs_.front()));
}

TEST_F(CoreTest, ACollectorWhoseClockIsAheadDoesNotClaimTimesToCome) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  Perform(core_.OnHeartbeat(1, {.time = kStart + absl::Hours(24 * 365)}, now_));
  TickAfter(absl::Seconds(1));
  FinishJobs();
  const auto watermarks = (*store_->OpenSnapshot())->Watermarks();
  for (const store::Watermark& watermark : *watermarks) {
    EXPECT_LE(watermark.complete_until, now_);
  }
}

TEST_F(CoreTest, ASecondGreetingOnOneStreamEndsIt) {
  FinishJobs();
  Open(1);
  Perform(core_.OnHello(1, {.wal_id = {.high = 8, .low = 8}, .slot_count = kSlots}, now_));
  EXPECT_TRUE(absl::IsInvalidArgument(closed_[1]));
}

TEST_F(CoreTest, ARetentionThatFailsDoesNotStopFlushes) {
  FinishJobs();
  Open(1);
  TickAfter(absl::Hours(1));
  while (!jobs_.empty() && !std::holds_alternative<RetentionJob>(jobs_.front())) FinishJob();
  ASSERT_EQ(jobs_.size(), 1u);
  FailJob(absl::FailedPreconditionError("permission denied"));
  Receive(1, TestFrame(1, 0, 10));
  TickAfter(absl::Seconds(5));
  FinishJobs();
  EXPECT_EQ(Last<delivery::Ack>(1).slots[0].committed_lsn, 1u);
}

TEST_F(CoreTest, WhileTheStoreIsAwayItSaysWhenItsMemoryIsFull) {
  FinishJobs();
  Open(1);
  EXPECT_FALSE(core_.full());
  uint64_t lsn = 0;
  while (!core_.full() && lsn < 2000) {
    ++lsn;
    // Each in a bin of its own.
    Receive(1, TestFrame(lsn, lsn - 1, 1, true, kStart - absl::Seconds(10 * lsn)));
  }
  EXPECT_TRUE(core_.full());
  for (int i = 0; i < 5; ++i) {
    FinishJobs();
    TickAfter(absl::Seconds(1));
  }
  FinishJobs();
  EXPECT_FALSE(core_.full());
  EXPECT_EQ(Last<delivery::Ack>(1).slots[0].committed_lsn, lsn);
}

TEST_F(CoreTest, AGapHoldsCompletenessBack) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(5, 3, 100));
  Perform(core_.OnHeartbeat(1, {.time = kStart + absl::Seconds(30)}, now_));
  TickAfter(absl::Seconds(1));
  FinishJobs();
  const auto watermarks = (*store_->OpenSnapshot())->Watermarks();
  for (const store::Watermark& watermark : *watermarks) {
    EXPECT_EQ(watermark.complete_until, absl::InfinitePast());
  }
}

TEST_F(CoreTest, CoarserTiersAreDerivedOnceTheyAreComplete) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  for (int i = 0; i < 40; ++i) {
    TickAfter(absl::Seconds(10));
    Perform(core_.OnHeartbeat(1, {.time = now_}, now_));
    FinishJobs();
  }
  EXPECT_GT(core_.counts().derives, 0);
  const auto slots = (*store_->OpenSnapshot())->Slots();
  EXPECT_GT((*slots)[0].derived_until[1], absl::ToUnixSeconds(kStart));
  // Late data, now: to the finest tier and to the minute derived already.
  Receive(1, TestFrame(2, 1, 7));
  TickAfter(absl::Seconds(2));
  FinishJobs();
  EXPECT_GE(core_.counts().late_rows, 1);
}

TEST_F(CoreTest, DrainingCommitsWhatWasReceived) {
  FinishJobs();
  Open(1);
  Receive(1, TestFrame(1, 0, 10));
  EXPECT_FALSE(core_.drained());
  Perform(core_.Drain(now_));
  EXPECT_FALSE(core_.drained());
  FinishJobs();
  EXPECT_TRUE(core_.drained());
  EXPECT_EQ(Total(), 10);
}

}  // namespace
}  // namespace weir::aggregator
