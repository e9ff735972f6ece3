#include "services/collector/group_commit.h"

#include <gtest/gtest.h>

#include <map>

#include "common/base/random.h"
#include "common/testing/test_seed.h"
#include "services/collector/collector_test.h"

namespace weir::collector {
namespace {

using test::kStart;
using test::TestLog;
using weir::test::SimDisk;
using Step = Advanced::Step;

constexpr frame::SessionId kSession = {.high = 3, .low = 4};

Submission BatchOf(TestLog& log, uint64_t sequence, AckLevel level = AckLevel::kDurable) {
  return {.waiter = {.connection = 7, .sequence = sequence, .level = level},
          .session = frame::SessionMark{.id = kSession, .sequence = sequence},
          .batch = log.Batch({"a", "b"})};
}

Advanced Next(GroupCommit& steps, absl::Time now = kStart) {
  absl::StatusOr<Advanced> advanced = steps.Advance(now);
  EXPECT_TRUE(advanced.ok()) << advanced.status();
  return advanced.ok() ? *std::move(advanced) : Advanced();
}

// Steps until nothing waits; who was told.
std::vector<Waiter> RunToEnd(GroupCommit& steps, absl::Time now = kStart) {
  std::vector<Waiter> told;
  while (true) {
    const Advanced advanced = Next(steps, now);
    if (advanced.step == Step::kIdle || advanced.step == Step::kFull) return told;
    told.insert(told.end(), advanced.told.begin(), advanced.told.end());
  }
}

TEST(GroupCommitTest, AGroupIsWrittenThenSyncedThenTold) {
  SimDisk disk;
  TestLog log(disk);
  GroupCommit steps({}, *log.log, *log.writer);
  EXPECT_EQ(Next(steps).step, Step::kIdle);
  EXPECT_EQ(steps.Submit(BatchOf(log, 1)).result, SubmitResult::kQueued);

  const Advanced written = Next(steps);
  EXPECT_EQ(written.step, Step::kWritten);
  EXPECT_TRUE(written.told.empty());
  EXPECT_EQ(log.log->durable_lsn(), 0u);
  EXPECT_EQ(steps.LastSequence(kSession), 0u) << "nothing of it is durable";

  const Advanced synced = Next(steps);
  EXPECT_EQ(synced.step, Step::kSynced);
  EXPECT_TRUE(synced.told.empty());
  EXPECT_EQ(log.log->durable_lsn(), steps.written().lsn);

  const Advanced told = Next(steps);
  EXPECT_EQ(told.step, Step::kTold);
  ASSERT_EQ(told.told.size(), 1u);
  EXPECT_EQ(told.told[0].sequence, 1u);
  EXPECT_EQ(told.sample_count, 2);
  EXPECT_EQ(steps.LastSequence(kSession), 1u);
  EXPECT_EQ(Next(steps).step, Step::kIdle);
}

TEST(GroupCommitTest, WhatWasToldSurvivesAPowerLossAtAnyStep) {
  Random random(weir::test::TestSeed());
  int lost = 0;
  for (int round = 0; round < 300; ++round) {
    SimDisk disk;
    uint64_t told = 0;
    uint64_t submitted = 0;
    {
      TestLog log(disk);
      GroupCommit steps({}, *log.log, *log.writer);
      for (uint64_t left = 1 + random.Below(40); left > 0; --left) {
        if (random.OneIn(2)) steps.Submit(BatchOf(log, ++submitted));
        for (const Waiter& waiter : Next(steps).told) told = waiter.sequence;
      }
      disk.PowerLoss(random);
    }
    TestLog log(disk);
    GroupCommit steps({}, *log.log, *log.writer);
    const uint64_t kept = steps.LastSequence(kSession).value_or(0);
    ASSERT_GE(kept, told) << "round " << round;
    ASSERT_LE(kept, submitted);
    lost += kept < submitted ? 1 : 0;
  }
  EXPECT_GT(lost, 0) << "the disk lost nothing, so nothing was shown";
}

TEST(GroupCommitTest, AfterAFailedSyncNobodyIsTold) {
  SimDisk disk;
  TestLog log(disk);
  GroupCommit steps({}, *log.log, *log.writer);
  steps.Submit(BatchOf(log, 1));
  EXPECT_EQ(Next(steps).step, Step::kWritten);
  disk.FailNth(SimDisk::Operation::kSync, 1, {.kind = SimDisk::Fault::Kind::kLie});
  EXPECT_FALSE(steps.Advance(kStart).ok());
  EXPECT_FALSE(steps.Advance(kStart).ok()) << "the log is broken for good";
}

TEST(GroupCommitTest, WhoWaitsForACommitIsToldThenAndNotBefore) {
  SimDisk disk;
  TestLog log(disk);
  GroupCommit steps({}, *log.log, *log.writer);
  steps.Submit(BatchOf(log, 1, AckLevel::kCommitted));
  EXPECT_TRUE(RunToEnd(steps).empty());
  EXPECT_TRUE(steps.OnCommitted(0).empty());
  EXPECT_EQ(steps.OnCommitted(1).size(), 1u);

  // The store may have a durable frame before its waiters are known.
  steps.Submit(BatchOf(log, 2, AckLevel::kCommitted));
  EXPECT_EQ(Next(steps).step, Step::kWritten);
  EXPECT_EQ(Next(steps).step, Step::kSynced);
  EXPECT_TRUE(steps.OnCommitted(2).empty());
  EXPECT_EQ(Next(steps).told.size(), 1u);
}

TEST(GroupCommitTest, AFullLogKeepsTheGroupUntilThereIsRoom) {
  SimDisk disk;
  constexpr int64_t kQuota = 3 * 4096;
  TestLog log(disk, /*segment_bytes=*/4096, kQuota);
  GroupCommit steps({.full_ratio = 0.9999, .quota_bytes = kQuota}, *log.log, *log.writer);
  uint64_t submitted = 0;
  uint64_t told = 0;
  Advanced advanced;
  for (int i = 0; i < 1000 && advanced.step != Step::kFull; ++i) {
    if (advanced.step == Step::kIdle) steps.Submit(BatchOf(log, ++submitted));
    advanced = Next(steps);
    for (const Waiter& waiter : advanced.told) told = waiter.sequence;
  }
  ASSERT_EQ(advanced.step, Step::kFull);
  EXPECT_EQ(told + 1, submitted);
  EXPECT_TRUE(steps.HouseKeepingDue(kStart)) << "at once, whenever it was last";
  EXPECT_EQ(Next(steps).step, Step::kFull);

  // Nothing is committed, so nothing can be trimmed: batches are refused, however
  // far the log is from its quota.
  absl::StatusOr<HouseKept> kept = steps.HouseKeep(kStart);
  ASSERT_TRUE(kept.ok());
  EXPECT_FALSE(kept->trimmed);
  EXPECT_TRUE(steps.log_full());
  EXPECT_EQ(steps.Submit(BatchOf(log, submitted + 1)).result, SubmitResult::kLogFull);

  steps.OnCommitted(log.log->durable_lsn());
  kept = steps.HouseKeep(kStart);
  ASSERT_TRUE(kept.ok());
  EXPECT_TRUE(kept->trimmed);
  EXPECT_EQ(RunToEnd(steps).size(), 1u);
  EXPECT_TRUE(steps.HouseKeepingDue(kStart)) << "at once, now that it has room";
  ASSERT_TRUE(steps.HouseKeep(kStart).ok());
  EXPECT_FALSE(steps.log_full());
  EXPECT_EQ(steps.LastSequence(kSession), submitted);
}

TEST(GroupCommitTest, ALogNearItsQuotaRefusesBatches) {
  SimDisk disk;
  constexpr int64_t kQuota = 3 * 4096;
  TestLog log(disk, /*segment_bytes=*/4096, kQuota);
  GroupCommit steps({.full_ratio = 0.5, .quota_bytes = kQuota}, *log.log, *log.writer);
  uint64_t sequence = 0;
  while (static_cast<int64_t>(log.log->bytes()) < kQuota / 2) {
    steps.Submit(BatchOf(log, ++sequence));
    RunToEnd(steps);
  }
  EXPECT_FALSE(steps.log_full()) << "nobody has looked";
  ASSERT_TRUE(steps.HouseKeep(kStart).ok());
  EXPECT_TRUE(steps.log_full());
  EXPECT_EQ(steps.Submit(BatchOf(log, sequence + 1)).result, SubmitResult::kLogFull);
  EXPECT_EQ(steps.Submit(BatchOf(log, sequence)).result, SubmitResult::kDuplicate);
}

TEST(GroupCommitTest, HouseKeepingWithoutSpaceForACheckpointIsTriedAgain) {
  SimDisk disk;
  TestLog log(disk);
  GroupCommit steps({}, *log.log, *log.writer);
  for (uint64_t sequence = 1; log.log->oldest_segment_last_lsn() == 0; ++sequence) {
    steps.Submit(BatchOf(log, sequence));
    RunToEnd(steps);
  }
  steps.OnCommitted(log.log->durable_lsn());
  disk.SetCapacity(disk.used_bytes());
  absl::StatusOr<HouseKept> kept = steps.HouseKeep(kStart);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_TRUE(absl::IsResourceExhausted(kept->not_trimmed));
  EXPECT_FALSE(kept->trimmed);
  disk.SetCapacity(0);
  kept = steps.HouseKeep(kStart);
  ASSERT_TRUE(kept.ok());
  EXPECT_TRUE(kept->not_trimmed.ok());
  EXPECT_TRUE(kept->trimmed);
}

TEST(GroupCommitTest, HouseKeepingIsDueInIntervalsBetweenGroupsAndWhenTheClockIsSetBack) {
  SimDisk disk;
  TestLog log(disk);
  GroupCommit steps({.house_keeping_interval = absl::Seconds(1)}, *log.log, *log.writer);
  EXPECT_TRUE(steps.HouseKeepingDue(kStart)) << "it never was";
  ASSERT_TRUE(steps.HouseKeep(kStart).ok());
  EXPECT_FALSE(steps.HouseKeepingDue(kStart + absl::Milliseconds(999)));
  EXPECT_TRUE(steps.HouseKeepingDue(kStart + absl::Seconds(1)));
  EXPECT_TRUE(steps.HouseKeepingDue(kStart - absl::Minutes(1)));

  steps.Submit(BatchOf(log, 1));
  EXPECT_EQ(Next(steps).step, Step::kWritten);
  EXPECT_FALSE(steps.HouseKeepingDue(kStart + absl::Hours(1))) << "a group is on its way";
  EXPECT_EQ(Next(steps).step, Step::kSynced);
  EXPECT_FALSE(steps.HouseKeepingDue(kStart + absl::Hours(1)));
  EXPECT_EQ(Next(steps).step, Step::kTold);
  EXPECT_TRUE(steps.HouseKeepingDue(kStart + absl::Hours(1)));
}

TEST(GroupCommitTest, OnceClosedItTakesNothingAndWritesWhatItHas) {
  SimDisk disk;
  TestLog log(disk);
  GroupCommit steps({}, *log.log, *log.writer);
  steps.Submit(BatchOf(log, 1));
  steps.Close();
  const Submitted refused = steps.Submit(BatchOf(log, 2));
  EXPECT_EQ(refused.result, SubmitResult::kOverloaded);
  EXPECT_EQ(refused.next_sequence, 2u);
  EXPECT_EQ(steps.SubmitAll({}, {}, {}).result, SubmitResult::kOverloaded);
  EXPECT_EQ(RunToEnd(steps).size(), 1u);
}

}  // namespace
}  // namespace weir::collector
