#include "services/collector/pipeline.h"

#include <gtest/gtest.h>

#include <functional>

#include "common/base/mutex.h"
#include "common/base/random.h"
#include "common/testing/fake_clock.h"
#include "common/testing/test_seed.h"
#include "services/collector/collector_test.h"

namespace weir::collector {
namespace {

using test::TestLog;
using weir::test::FakeClock;
using weir::test::SimDisk;

constexpr frame::SessionId kSession = {.high = 3, .low = 4};

class Listener final : public PipelineListener {
 public:
  explicit Listener(std::function<void()> on_told = nullptr) : on_told_(std::move(on_told)) {}

  void Told(const std::vector<Waiter>& waiters) override {
    if (on_told_) on_told_();
    MutexLock lock(&mu_);
    for (const Waiter& waiter : waiters) told_.push_back(waiter.sequence);
    changed_.NotifyAll();
  }
  void Durable(const std::vector<uint64_t>&) override { Count(&durable_calls_); }
  void Trimmed(const std::vector<uint64_t>&) override { Count(&trimmed_calls_); }
  void TrimFailed(const absl::Status&) override {}
  void GroupCommitted(int64_t samples, absl::Duration, absl::Duration) override {
    MutexLock lock(&mu_);
    samples_ += samples;
  }

  std::vector<uint64_t> WaitForTold(size_t count) {
    MutexLock lock(&mu_);
    while (told_.size() < count) changed_.Wait(&mu_);
    return told_;
  }
  void WaitForTrim() {
    MutexLock lock(&mu_);
    while (trimmed_calls_ == 0) changed_.Wait(&mu_);
  }
  std::vector<uint64_t> told() {
    MutexLock lock(&mu_);
    return told_;
  }
  int durable_calls() {
    MutexLock lock(&mu_);
    return durable_calls_;
  }
  int64_t samples() {
    MutexLock lock(&mu_);
    return samples_;
  }

 private:
  void Count(int* calls) {
    MutexLock lock(&mu_);
    ++*calls;
    changed_.NotifyAll();
  }

  const std::function<void()> on_told_;
  Mutex mu_;
  CondVar changed_;
  std::vector<uint64_t> told_ ABSL_GUARDED_BY(mu_);
  int durable_calls_ ABSL_GUARDED_BY(mu_) = 0;
  int trimmed_calls_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t samples_ ABSL_GUARDED_BY(mu_) = 0;
};

Submission BatchOf(TestLog& log, uint64_t sequence) {
  return {.waiter = {.connection = 7, .sequence = sequence},
          .session = frame::SessionMark{.id = kSession, .sequence = sequence},
          .batch = log.Batch({"a", "b", "c"})};
}

// The machine dies in the instant in which the client hears, before anything
// else happens. Told before the sync, the batch would be gone, or part of it.
TEST(PipelineTest, WhatWasToldSurvivesAPowerLossInThatInstant) {
  Random random(weir::test::TestSeed());
  for (int round = 0; round < 50; ++round) {
    SimDisk disk;
    FakeClock clock;
    {
      TestLog log(disk);
      Listener listener([&] { disk.PowerLoss(random); });
      Pipeline pipeline({}, *log.log, *log.writer, clock, listener);
      pipeline.Submit(BatchOf(log, 1));
      pipeline.Submit(BatchOf(log, 2));
      pipeline.Start();
      listener.WaitForTold(2);
      pipeline.Stop();
    }
    TestLog log(disk);
    const auto& sessions = log.writer->recovered().sessions;
    ASSERT_TRUE(sessions.contains(kSession)) << "round " << round;
    EXPECT_EQ(sessions.at(kSession).sequence, 2u);
    EXPECT_EQ(log.log->recovery().torn_bytes, 0u);
  }
}

TEST(PipelineTest, EveryBatchIsToldInItsOrderAndTheSenderHears) {
  SimDisk disk;
  FakeClock clock;
  TestLog log(disk);
  Listener listener;
  Pipeline pipeline({}, *log.log, *log.writer, clock, listener);
  pipeline.Start();
  constexpr uint64_t kBatches = 500;
  for (uint64_t sequence = 1; sequence <= kBatches; ++sequence) {
    EXPECT_EQ(pipeline.Submit(BatchOf(log, sequence)).result, SubmitResult::kQueued);
  }
  const std::vector<uint64_t> told = listener.WaitForTold(kBatches);
  pipeline.Stop();
  ASSERT_EQ(told.size(), kBatches);
  for (uint64_t i = 0; i < kBatches; ++i) EXPECT_EQ(told[i], i + 1);
  EXPECT_EQ(pipeline.LastSequence(kSession), kBatches);
  EXPECT_GE(listener.durable_calls(), 1);
  EXPECT_EQ(listener.samples(), 3 * static_cast<int64_t>(kBatches));
}

TEST(PipelineTest, StopWritesAndTellsWhatIsQueuedAndTakesNothingMore) {
  SimDisk disk;
  FakeClock clock;
  TestLog log(disk);
  Listener listener;
  Pipeline pipeline({.max_group_bytes = 1}, *log.log, *log.writer, clock, listener);
  for (uint64_t sequence = 1; sequence <= 20; ++sequence) pipeline.Submit(BatchOf(log, sequence));
  pipeline.Start();
  pipeline.Stop();
  EXPECT_EQ(listener.told().size(), 20u);
  EXPECT_EQ(pipeline.Submit(BatchOf(log, 21)).result, SubmitResult::kOverloaded);
}

TEST(PipelineTest, WhatIsCommittedIsTrimmedWhenItsTimeComes) {
  SimDisk disk;
  FakeClock clock;
  TestLog log(disk);
  Listener listener;
  Pipeline pipeline({.max_group_bytes = 1}, *log.log, *log.writer, clock, listener);
  pipeline.Start();
  constexpr uint64_t kBatches = 200;
  for (uint64_t sequence = 1; sequence <= kBatches; ++sequence) {
    pipeline.Submit(BatchOf(log, sequence));
  }
  listener.WaitForTold(kBatches);
  pipeline.OnCommitted(log.log->durable_lsn());
  clock.Advance(absl::Seconds(1));
  listener.WaitForTrim();
  pipeline.Stop();
  EXPECT_GT(log.log->trim_lsn(), 0u);
}

// A log that never gets room must not keep its process from ending.
TEST(PipelineTest, StopGivesUpAGroupThatTheFullLogDoesNotTake) {
  SimDisk disk;
  FakeClock clock;
  TestLog log(disk, /*segment_bytes=*/4096, /*quota_bytes=*/8192);
  Listener listener;
  Pipeline pipeline({.max_group_bytes = 1}, *log.log, *log.writer, clock, listener);
  constexpr uint64_t kBatches = 500;
  for (uint64_t sequence = 1; sequence <= kBatches; ++sequence) {
    ASSERT_EQ(pipeline.Submit(BatchOf(log, sequence)).result, SubmitResult::kQueued);
  }
  pipeline.Start();
  pipeline.Stop();
  const size_t told = listener.told().size();
  EXPECT_GT(told, 0u);
  EXPECT_LT(told, kBatches) << "the quota was too large for the test";
  EXPECT_EQ(pipeline.LastSequence(kSession), told);
}

}  // namespace
}  // namespace weir::collector
