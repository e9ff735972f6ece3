#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/testing/test_seed.h"
#include "services/standalone/load_batches.h"
#include "services/standalone/load_options.h"
#include "services/standalone/load_report.h"
#include "services/standalone/load_session.h"

namespace weir::standalone {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

LoadOptions Parse(const std::vector<std::string>& arguments) {
  auto parsed = ParseLoadOptions(arguments);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? parsed->options : LoadOptions();
}

TEST(LoadOptionsTest, WithoutAnEndALoadTakesTenSeconds) {
  EXPECT_EQ(Parse({}).duration, absl::Seconds(10));
  EXPECT_EQ(Parse({"--samples=5"}).duration, absl::InfiniteDuration());
  EXPECT_EQ(Parse({"--samples=5", "--duration=3s"}).duration, absl::Seconds(3));
}

TEST(LoadOptionsTest, WeightsOfKindsAreShares) {
  const LoadOptions options = Parse({"--kinds", "gauge:1,distribution:3"});
  EXPECT_THAT(options.kinds, testing::ElementsAre(0.25, 0, 0, 0.75));
  EXPECT_THAT(Parse({"--kinds=counter"}).kinds, testing::ElementsAre(0, 1, 0, 0));
}

TEST(LoadOptionsTest, WhatIsWrongIsNamed) {
  for (const auto& [argument, word] :
       std::vector<std::pair<std::string, std::string>>{{"--kinds=histogram", "histogram"},
                                                        {"--kinds=gauge:-1", "gauge:-1"},
                                                        {"--kinds=gauge:0", "above 0"},
                                                        {"--lateness=soon", "soon"},
                                                        {"--lateness=-1s", "-1s"},
                                                        {"--series=0", "series"},
                                                        {"--connections=2000", "connections"},
                                                        {"--ack=never", "never"},
                                                        {"--target=http://a:4317", "host:port"},
                                                        {"unexpected", "unexpected"}}) {
    const auto parsed = ParseLoadOptions({argument});
    ASSERT_FALSE(parsed.ok()) << argument;
    EXPECT_THAT(std::string(parsed.status().message()), testing::HasSubstr(word));
  }
}

TEST(LoadOptionsTest, TheEnvironmentIsNeitherReadNorSpokenOf) {
  setenv("WEIR_BATCH_SIZE", "7", 1);
  EXPECT_EQ(Parse({}).batch_size, LoadOptions().batch_size);
  unsetenv("WEIR_BATCH_SIZE");
  const auto help = ParseLoadOptions({"--help"});
  ASSERT_TRUE(help.ok() && help->print_and_exit.has_value());
  EXPECT_THAT(*help->print_and_exit, testing::Not(testing::HasSubstr("WEIR_")));
}

TEST(LoadOptionsTest, LatenessIsFixedOrUniform) {
  EXPECT_FALSE(Parse({"--lateness=30s"}).lateness.uniform);
  EXPECT_TRUE(Parse({"--lateness=uniform:10m"}).lateness.uniform);
  EXPECT_EQ(Parse({"--lateness=uniform:10m"}).lateness.duration, absl::Minutes(10));
}

TEST(BatchMakerTest, ABatchMadeAgainIsTheSameBatch) {
  const LoadOptions options = Parse({"--series=50", "--lateness=uniform:5m"});
  const BatchMaker first(options, 0), second(options, 0);
  std::vector<int64_t> defined_first(50), defined_second(50);
  v1::StreamBatchesRequest made, again;
  for (int64_t sequence = 1; sequence <= 3; ++sequence) {
    first.Make(sequence, kStart, &defined_first, &made);
  }
  // Only one of the makers has made the batches before it.
  defined_second = defined_first;
  for (int64_t& sequence : defined_second) {
    if (sequence >= 3) sequence = 0;
  }
  second.Make(3, kStart, &defined_second, &again);
  EXPECT_EQ(made.batch().floats().SerializeAsString(), again.batch().floats().SerializeAsString());
  EXPECT_EQ(made.batch().integers().SerializeAsString(),
            again.batch().integers().SerializeAsString());
}

TEST(BatchMakerTest, SeriesAreDefinedOnceAndBeforeUse) {
  const LoadOptions options = Parse({"--series=500", "--connections=3", "--batch_size=100"});
  std::set<std::string> all;
  for (int connection = 0; connection < 3; ++connection) {
    const BatchMaker batches(options, connection);
    std::vector<int64_t> defined_at(batches.series_count());
    std::set<uint32_t> defined;
    for (int64_t sequence = 1; sequence <= 100; ++sequence) {
      v1::StreamBatchesRequest request;
      batches.Make(sequence, kStart, &defined_at, &request);
      for (const v1::SeriesDefinition& series : request.batch().series()) {
        EXPECT_TRUE(defined.insert(series.ref()).second);
        EXPECT_TRUE(all.insert(series.labels().at("replica")).second);
      }
      for (const uint32_t ref : request.batch().floats().refs()) EXPECT_TRUE(defined.count(ref));
      for (const uint32_t ref : request.batch().integers().refs()) EXPECT_TRUE(defined.count(ref));
      EXPECT_EQ(request.batch().floats().refs_size() + request.batch().integers().refs_size(), 100);
    }
  }
  EXPECT_EQ(all.size(), 500u);
}

TEST(BatchMakerTest, EventTimesLieBackAsFarAsAsked) {
  const LoadOptions options = Parse({"--lateness=uniform:10m", "--integers=0"});
  const BatchMaker batches(options, 0);
  std::vector<int64_t> defined_at(batches.series_count());
  v1::StreamBatchesRequest request;
  batches.Make(1, kStart, &defined_at, &request);
  int64_t time = request.batch().base_time_unix_nano(), oldest = INT64_MAX;
  for (const int64_t delta : request.batch().floats().time_deltas()) {
    time += delta;
    EXPECT_LE(time, absl::ToUnixNanos(kStart));
    EXPECT_GE(time, absl::ToUnixNanos(kStart - absl::Minutes(10) - absl::Milliseconds(1)));
    oldest = std::min(oldest, time);
  }
  EXPECT_LT(oldest, absl::ToUnixNanos(kStart - absl::Minutes(9)));
}

TEST(BatchMakerTest, CountersNeverFall) {
  const LoadOptions options = Parse({"--kinds=counter"});
  const BatchMaker batches(options, 0);
  std::vector<int64_t> defined_at(batches.series_count());
  v1::StreamBatchesRequest request;
  batches.Make(1, kStart, &defined_at, &request);
  for (const double value : request.batch().floats().values()) EXPECT_GE(value, 0);
  for (const int64_t value : request.batch().integers().values()) EXPECT_GE(value, 0);
}

TEST(BatchMakerTest, ConnectionsShareTheSamplesAskedFor) {
  const LoadOptions options = Parse({"--connections=3", "--samples=10000", "--batch_size=999"});
  int64_t total = 0;
  for (int connection = 0; connection < 3; ++connection) {
    const BatchMaker batches(options, connection);
    for (int64_t sequence = 1; batches.SampleCount(sequence) > 0; ++sequence) {
      total += batches.SampleCount(sequence);
    }
  }
  EXPECT_EQ(total, 10000);
}

LoadSessionOptions SessionOptions(int64_t pipeline, int64_t batches) {
  LoadSessionOptions options;
  options.id = std::string(16, 'i');
  options.pipeline = pipeline;
  options.start = kStart;
  options.sample_count = [batches](int64_t sequence) { return sequence <= batches ? 10 : 0; };
  return options;
}

absl::Status Open(LoadSession* session, int64_t last_sequence) {
  session->OnConnected();
  v1::SessionOpened opened;
  opened.set_last_sequence(last_sequence);
  return session->OnOpened(opened);
}

absl::Status Ack(LoadSession* session, int64_t sequence, int64_t* samples,
                 std::vector<absl::Time>* due = nullptr) {
  v1::BatchesAcked acked;
  acked.set_sequence(sequence);
  return session->OnAcked(acked, [&](const OutstandingBatch& batch) {
    *samples += batch.sample_count;
    if (due != nullptr) due->push_back(batch.due);
  });
}

TEST(LoadSessionTest, AClosedLoopKeepsItsPipelineFull) {
  LoadSession session(SessionOptions(2, 3));
  EXPECT_EQ(session.Next(kStart).sequence, 0) << "not open yet";
  ASSERT_TRUE(Open(&session, 0).ok());
  EXPECT_EQ(session.Next(kStart).sequence, 1);
  EXPECT_EQ(session.Next(kStart).sequence, 2);
  EXPECT_EQ(session.Next(kStart).sequence, 0);
  int64_t samples = 0;
  ASSERT_TRUE(Ack(&session, 2, &samples).ok());
  EXPECT_EQ(samples, 20);
  EXPECT_EQ(session.Next(kStart).sequence, 3);
  EXPECT_FALSE(session.done(kStart));
  ASSERT_TRUE(Ack(&session, 3, &samples).ok());
  EXPECT_TRUE(session.done(kStart));
}

TEST(LoadSessionTest, ABrokenConnectionSendsWhatWasNotAcknowledgedAgain) {
  LoadSession session(SessionOptions(3, 100));
  ASSERT_TRUE(Open(&session, 0).ok());
  for (int i = 0; i < 3; ++i) session.Next(kStart);
  int64_t samples = 0;
  ASSERT_TRUE(Ack(&session, 1, &samples).ok());
  session.TakeUndefinedFrom();
  session.OnBroken();
  EXPECT_EQ(session.OnConnected().last_acked_sequence(), 1);
  ASSERT_TRUE(Open(&session, 3).ok());
  EXPECT_EQ(session.TakeUndefinedFrom(), 1) << "every definition must be sent again";
  const LoadSession::Step step = session.Next(kStart + absl::Seconds(5));
  EXPECT_EQ(step.sequence, 2);
  EXPECT_FALSE(step.first);
  EXPECT_EQ(step.made, kStart) << "event times must not change";
  EXPECT_EQ(session.Next(kStart).sequence, 3);
  EXPECT_EQ(session.Next(kStart).sequence, 4);
}

TEST(LoadSessionTest, ARewindIsObeyedAfterItsDelay) {
  LoadSession session(SessionOptions(4, 100));
  ASSERT_TRUE(Open(&session, 0).ok());
  session.TakeUndefinedFrom();
  for (int i = 0; i < 4; ++i) session.Next(kStart);
  v1::Rewind rewind;
  rewind.set_next_sequence(3);
  rewind.mutable_retry_delay()->set_nanos(500'000'000);
  ASSERT_TRUE(session.OnRewind(rewind, kStart).ok());
  EXPECT_EQ(session.Next(kStart).sequence, 0);
  EXPECT_EQ(session.Next(kStart).wait_until, kStart + absl::Milliseconds(500));
  EXPECT_EQ(session.TakeUndefinedFrom(), 3);
  EXPECT_EQ(session.Next(kStart + absl::Milliseconds(500)).sequence, 3);
}

TEST(LoadSessionTest, AnswersThatFitNoBatchAreRefused) {
  LoadSession session(SessionOptions(4, 100));
  EXPECT_FALSE(Open(&session, 1).ok());
  ASSERT_TRUE(Open(&session, 0).ok());
  int64_t samples = 0;
  EXPECT_FALSE(Ack(&session, 1, &samples).ok());
  v1::Rewind rewind;
  rewind.set_next_sequence(2);
  EXPECT_FALSE(session.OnRewind(rewind, kStart).ok());
}

TEST(LoadSessionTest, AnOpenLoopCountsLatencyFromTheTimeDue) {
  LoadSessionOptions options = SessionOptions(100, 1000);
  options.interval = absl::Milliseconds(10);
  options.end = kStart + absl::Milliseconds(35);
  LoadSession session(options);
  ASSERT_TRUE(Open(&session, 0).ok());
  EXPECT_EQ(session.Next(kStart).sequence, 1);
  EXPECT_EQ(session.Next(kStart).wait_until, kStart + absl::Milliseconds(10));
  // A stall of a second: what was due meanwhile is still sent, and is late.
  const absl::Time late = kStart + absl::Seconds(1);
  EXPECT_EQ(session.Next(late).sequence, 2);
  EXPECT_EQ(session.Next(late).sequence, 3);
  EXPECT_EQ(session.Next(late).sequence, 4);
  EXPECT_EQ(session.Next(late).sequence, 0) << "due after the end";
  int64_t samples = 0;
  std::vector<absl::Time> due;
  ASSERT_TRUE(Ack(&session, 4, &samples, &due).ok());
  EXPECT_THAT(
      due, testing::ElementsAre(kStart, kStart + absl::Milliseconds(10),
                                kStart + absl::Milliseconds(20), kStart + absl::Milliseconds(30)));
  EXPECT_TRUE(session.done(late));
}

// A collector as the session sees it: takes batches in order, acknowledges some
// of what it has, refuses some, forgets connections.
TEST(LoadSessionTest, EveryBatchIsAcknowledgedOnceWhateverHappens) {
  const uint64_t first_seed = weir::test::TestSeed(1);
  for (uint64_t seed = first_seed; seed < first_seed + 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "WEIR_TEST_SEED=" << seed);
    constexpr int64_t kBatches = 100;
    Random random(seed);
    LoadSession session(SessionOptions(1 + random.Below(8), kBatches));
    int64_t taken = 0, told = 0, samples = 0;
    absl::Time now = kStart;
    ASSERT_TRUE(Open(&session, 0).ok());
    for (int steps = 0; !session.done(now); ++steps) {
      ASSERT_LT(steps, 100'000);
      now += absl::Milliseconds(10);
      const LoadSession::Step step = session.Next(now);
      if (step.sequence > 0) {
        ASSERT_LE(step.sequence, taken + 1);
        if (step.sequence == taken + 1 && !random.OneIn(10)) {
          ++taken;
        } else if (step.sequence == taken + 1) {
          v1::Rewind rewind;
          rewind.set_next_sequence(step.sequence);
          rewind.mutable_retry_delay()->set_nanos(20'000'000);
          ASSERT_TRUE(session.OnRewind(rewind, now).ok());
        }
      }
      if (random.OneIn(20)) {
        session.OnBroken();
        ASSERT_TRUE(Open(&session, taken).ok());
      } else if (random.OneIn(3) && taken > told) {
        told = random.Between(told + 1, taken);
        ASSERT_TRUE(Ack(&session, told, &samples).ok());
      }
    }
    EXPECT_EQ(samples, kBatches * 10);
  }
}

TEST(LoadReportTest, IncompleteLoadsSayWhatIsMissing) {
  LoadSummary summary;
  summary.counts.outstanding_samples = 7;
  summary.error = "a \"reason\"\n";
  EXPECT_THAT(SummaryText(LoadOptions(), summary), testing::HasSubstr("7 samples"));
  const std::string json = SummaryJson(LoadOptions(), summary);
  EXPECT_THAT(json, testing::HasSubstr(R"("complete":false)"));
  EXPECT_THAT(json, testing::HasSubstr(R"("error":"a \"reason\"\u000a")"));
}

}  // namespace
}  // namespace weir::standalone
