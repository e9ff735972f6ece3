#include "services/collector/session_core.h"

#include <gtest/gtest.h>

namespace weir::collector {
namespace {

const frame::SessionId kSession = {.high = 1, .low = 2};
const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

AdmittedBatch BatchOf(size_t samples) {
  AdmittedBatch batch;
  batch.samples.resize(samples);
  return batch;
}

Submission Numbered(uint64_t sequence, AckLevel level = AckLevel::kDurable) {
  return {.waiter = {.connection = 7, .sequence = sequence, .level = level},
          .session = frame::SessionMark{.id = kSession, .sequence = sequence},
          .batch = BatchOf(1)};
}

TEST(SessionCoreTest, ARepeatIsAcknowledgedAndNotCounted) {
  SessionCore core({}, Mutant::kNone);
  EXPECT_EQ(core.Submit(Numbered(1)).result, SubmitResult::kQueued);
  Group first = core.Take(1 << 20);
  EXPECT_EQ(first.batches.size(), 1u);
  EXPECT_EQ(core.OnDurable(std::move(first), 1, kNow).size(), 1u);

  EXPECT_EQ(core.Submit(Numbered(1)).result, SubmitResult::kDuplicate);
  Group second = core.Take(1 << 20);
  EXPECT_TRUE(second.batches.empty());
  EXPECT_TRUE(second.sessions.empty());
  const std::vector<Waiter> told = core.OnDurable(std::move(second), 1, kNow);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].sequence, 1u);
}

TEST(SessionCoreTest, ARepeatOfAQueuedBatchWaitsForIt) {
  SessionCore core({}, Mutant::kNone);
  core.Submit(Numbered(1));
  EXPECT_EQ(core.Submit(Numbered(1)).result, SubmitResult::kDuplicate);
  const Group group = core.Take(1 << 20);
  EXPECT_EQ(group.batches.size(), 1u);
  EXPECT_EQ(group.waiters.size(), 2u);
}

TEST(SessionCoreTest, AMissingBatchIsAskedFor) {
  SessionCore core({}, Mutant::kNone);
  core.Submit(Numbered(1));
  const Submitted submitted = core.Submit(Numbered(3));
  EXPECT_EQ(submitted.result, SubmitResult::kRewind);
  EXPECT_EQ(submitted.next_sequence, 2u);
}

TEST(SessionCoreTest, ABatchRejectedAsAWholeStillTakesItsNumber) {
  SessionCore core({}, Mutant::kNone);
  Submission empty = Numbered(1);
  empty.batch = {};
  EXPECT_EQ(core.Submit(std::move(empty)).result, SubmitResult::kQueued);
  const Group group = core.Take(1 << 20);
  ASSERT_EQ(group.sessions.size(), 1u);  // so that recovery knows it, too
  EXPECT_EQ(group.sessions[0].sequence, 1u);
  EXPECT_EQ(core.Submit(Numbered(2)).result, SubmitResult::kQueued);
}

TEST(SessionCoreTest, WhatRecoveryFoundIsRecognised) {
  SessionCore core({}, Mutant::kNone);
  core.Restore({{kSession, {.sequence = 5, .last_time = kNow}}});
  EXPECT_EQ(core.LastSequence(kSession), 5u);
  EXPECT_EQ(core.Submit(Numbered(5)).result, SubmitResult::kDuplicate);
  EXPECT_EQ(core.Submit(Numbered(6)).result, SubmitResult::kQueued);
}

TEST(SessionCoreTest, AFullQueueRefusesAndTheBatchComesAgain) {
  SessionCore core({.max_queued_bytes = 600}, Mutant::kNone);
  EXPECT_EQ(core.Submit(Numbered(1)).result, SubmitResult::kQueued);
  EXPECT_EQ(core.Submit(Numbered(2)).result, SubmitResult::kQueued);
  const Submitted refused = core.Submit(Numbered(3));
  EXPECT_EQ(refused.result, SubmitResult::kOverloaded);
  EXPECT_EQ(refused.next_sequence, 3u);
  EXPECT_EQ(core.Submit(Numbered(4)).result, SubmitResult::kRewind);
  core.Take(1 << 20);
  EXPECT_EQ(core.Submit(Numbered(3)).result, SubmitResult::kQueued);
}

TEST(SessionCoreTest, AnEmptyQueueTakesABatchOfAnySize) {
  SessionCore core({.max_queued_bytes = 100}, Mutant::kNone);
  EXPECT_EQ(core.Submit({.batch = BatchOf(200)}).result, SubmitResult::kQueued);
}

TEST(SessionCoreTest, AFullLogRefusesButStillKnowsRepeats) {
  SessionCore core({}, Mutant::kNone);
  core.Submit(Numbered(1));
  core.set_log_full(true);
  EXPECT_EQ(core.Submit(Numbered(1)).result, SubmitResult::kDuplicate);
  EXPECT_EQ(core.Submit(Numbered(2)).result, SubmitResult::kLogFull);
}

TEST(SessionCoreTest, BatchesOfOneRequestAreTakenTogetherOrNotAtAll) {
  SessionCore core({.max_queued_batches = 3}, Mutant::kNone);
  core.Submit(Numbered(1));
  core.Submit(Numbered(2));
  core.Submit(Numbered(3));
  const std::vector<AdmittedBatch> request = {BatchOf(1), BatchOf(1)};
  EXPECT_EQ(core.SubmitAll({}, std::nullopt, request).result, SubmitResult::kOverloaded);
  EXPECT_EQ(core.Take(1 << 20).waiters.size(), 3u);
  EXPECT_EQ(core.SubmitAll({}, std::nullopt, request).result, SubmitResult::kQueued);
  EXPECT_EQ(core.Take(1 << 20).waiters.size(), 2u);
}

TEST(SessionCoreTest, ARequestKnownByItsContentCountsOnce) {
  SessionCore core({}, Mutant::kNone);
  const frame::SessionId content = {.high = 9, .low = 9};
  const std::vector<AdmittedBatch> request = {BatchOf(1), BatchOf(2)};
  EXPECT_EQ(core.SubmitAll({.connection = 1}, content, request).result, SubmitResult::kQueued);
  EXPECT_EQ(core.SubmitAll({.connection = 2}, content, request).result, SubmitResult::kDuplicate);
  Group group = core.Take(1 << 20);
  EXPECT_EQ(group.batches.size(), 2u);
  ASSERT_EQ(group.sessions.size(), 1u);
  EXPECT_EQ(group.sessions[0].sequence, 2u);
  EXPECT_EQ(group.sessions[0].lifetime, frame::Lifetime::kContent);
  EXPECT_EQ(core.OnDurable(std::move(group), 1, kNow).back().connection, 2u);
  core.Expire(kNow + absl::Minutes(10));
  EXPECT_EQ(core.SubmitAll({.connection = 3}, content, request).result, SubmitResult::kDuplicate);
  core.OnDurable(core.Take(1 << 20), 1, kNow);
  core.Expire(kNow + absl::Minutes(10) + absl::Seconds(1));
  EXPECT_EQ(core.SubmitAll({.connection = 4}, content, request).result, SubmitResult::kQueued);
}

// A crash came between the frames of its batches: what was not durable counts.
TEST(SessionCoreTest, ARepeatedRequestCountsOnlyWhatTheLogLacks) {
  SessionCore core({}, Mutant::kNone);
  const frame::SessionId content = {.high = 9, .low = 9};
  core.Restore(
      {{content, {.sequence = 1, .lifetime = frame::Lifetime::kContent, .last_time = kNow}}});
  const std::vector<AdmittedBatch> request = {BatchOf(1), BatchOf(2)};
  EXPECT_EQ(core.SubmitAll({.connection = 1}, content, request).result, SubmitResult::kQueued);
  const Group group = core.Take(1 << 20);
  ASSERT_EQ(group.batches.size(), 1u);
  EXPECT_EQ(group.batches[0].sample_count(), 2);
}

TEST(SessionCoreTest, WithoutRoomToRememberARequestCountsAllTheSame) {
  SessionCore core({.max_sessions = 1}, Mutant::kNone);
  core.Submit(Numbered(1));
  const frame::SessionId content = {.high = 9, .low = 9};
  const std::vector<AdmittedBatch> request = {BatchOf(1)};
  EXPECT_EQ(core.SubmitAll({}, content, request).result, SubmitResult::kQueued);
  EXPECT_EQ(core.SubmitAll({}, content, request).result, SubmitResult::kQueued);
  EXPECT_EQ(core.Take(1 << 20).batches.size(), 3u);
}

TEST(SessionCoreTest, AGroupTakesAtMostItsBytesButAlwaysOneBatch) {
  SessionCore core({}, Mutant::kNone);
  core.Submit({.batch = BatchOf(160)});
  core.Submit({.batch = BatchOf(160)});
  EXPECT_EQ(core.Take(100).batches.size(), 1u);
  EXPECT_FALSE(core.idle());
  EXPECT_EQ(core.Take(100).batches.size(), 1u);
  EXPECT_TRUE(core.idle());
  EXPECT_EQ(core.queued_bytes(), 0);
}

TEST(SessionCoreTest, WhoWaitsForACommitIsToldAfterIt) {
  SessionCore core({}, Mutant::kNone);
  core.Submit(Numbered(1, AckLevel::kCommitted));
  EXPECT_TRUE(core.OnDurable(core.Take(1 << 20), 4, kNow).empty());
  EXPECT_TRUE(core.OnCommitted(3).empty());
  EXPECT_EQ(core.OnCommitted(4).size(), 1u);
  EXPECT_TRUE(core.OnCommitted(5).empty());
}

TEST(SessionCoreTest, OnlySessionsWithNothingUnderWayExpire) {
  SessionCore core({.lifetimes = {.session = absl::Hours(24)}}, Mutant::kNone);
  core.Submit(Numbered(1));
  core.Expire(kNow + absl::Hours(1000));
  EXPECT_EQ(core.session_count(), 1);  // not durable yet
  core.OnDurable(core.Take(1 << 20), 1, kNow);
  core.Expire(kNow + absl::Hours(24));
  EXPECT_EQ(core.session_count(), 1);
  core.Expire(kNow + absl::Hours(25));
  EXPECT_EQ(core.session_count(), 0);
  EXPECT_FALSE(core.LastSequence(kSession).has_value());
}

TEST(SessionCoreTest, ASessionBeyondTheLimitIsRefused) {
  SessionCore core({.max_sessions = 1}, Mutant::kNone);
  core.Submit(Numbered(1));
  Submission other = Numbered(1);
  other.session->id = {.high = 9, .low = 9};
  EXPECT_EQ(core.Submit(std::move(other)).result, SubmitResult::kTooManySessions);
  EXPECT_EQ(core.Submit(Numbered(2)).result, SubmitResult::kQueued);
}

}  // namespace
}  // namespace weir::collector
