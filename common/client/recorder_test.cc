// The recorder without a collector; tests/e2e/test_client_recorder.py has the real one.
#include "common/client/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "common/testing/status_matchers.h"

namespace weir::client {
namespace {

using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

RecorderOptions Nowhere() { return {.target = "unix:/nonexistent/collector.sock"}; }

absl::Time In(absl::Duration duration) { return Clock::System().Now() + duration; }

TEST(RecorderTest, OptionsAreCheckedAndNamed) {
  for (const auto& [field, options] : std::vector<std::pair<std::string, RecorderOptions>>{
           {"target", {.target = ""}},
           {"labels", {.labels = {{"a", "\xff"}}}},
           {"labels", {.labels = {{"a", "1"}, {"a", "2"}}}},
           {"max_buffered_samples", {.max_buffered_samples = 0}},
           {"max_batch_samples", {.max_batch_samples = 100'000}},
           {"max_batch_delay", {.max_batch_delay = absl::ZeroDuration()}},
           {"max_in_flight_batches", {.max_in_flight_batches = 0}},
           {"max_series", {.max_series = 2'000'000}},
           {"max_reconnect_delay", {.max_reconnect_delay = absl::Hours(1)}},
           {"process_usage_interval", {.process_usage_interval = -absl::Seconds(1)}}}) {
    EXPECT_THAT(Recorder::Create(options).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  }
}

TEST(RecorderTest, WithoutACollectorNothingBlocksAndEveryDropHasAReason) {
  RecorderOptions options = Nowhere();
  options.max_buffered_samples = 10;
  options.max_series = 12;
  WEIR_ASSERT_OK_AND_ASSIGN(const auto recorder, Recorder::Create(options));
  const Counter counter = recorder->counter("requests");
  for (int i = 0; i < 15; ++i) counter.Add();
  recorder->gauge("bad\xff").Set(1);
  for (int i = 0; i < 20; ++i) {
    recorder->distribution("latency", {{"request", std::to_string(i)}}).Record(1);
  }
  EXPECT_THAT(recorder->Flush(In(absl::Milliseconds(50))),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("not acknowledged")));
  EXPECT_THAT(recorder->Stop(In(absl::Milliseconds(50))),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  counter.Add();
  const RecorderStats stats = recorder->stats();
  EXPECT_EQ(stats.dropped_samples.at("series_invalid"), 1);
  EXPECT_EQ(stats.buffered_samples, 0);
  EXPECT_EQ(stats.acked_samples, 0);
  EXPECT_GE(stats.dropped_samples.at("buffer_full"), 5);
  EXPECT_GE(stats.dropped_samples.at("too_many_series"), 1);
  // The ten that were held, the one after Stop, and reports of the drops.
  EXPECT_GE(stats.dropped_samples.at("stopped"), 11);
  EXPECT_EQ(stats.recorded_samples, stats.uncounted_samples());
  EXPECT_FALSE(stats.last_disconnect.ok());
}

TEST(RecorderTest, StopIsIdempotentAndEndsFlushing) {
  WEIR_ASSERT_OK_AND_ASSIGN(const auto recorder, Recorder::Create(Nowhere()));
  const absl::Status first = recorder->Stop(absl::InfinitePast());
  EXPECT_EQ(recorder->Stop(absl::InfiniteFuture()), first);
  EXPECT_THAT(recorder->Flush(absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(RecorderTest, AnEmptyFlushNeedsNoCollector) {
  WEIR_ASSERT_OK_AND_ASSIGN(const auto recorder, Recorder::Create(Nowhere()));
  EXPECT_THAT(recorder->Flush(In(absl::Seconds(30))), IsOk());
}

TEST(RecorderTest, ThreadsMayRecordWhileItStops) {
  WEIR_ASSERT_OK_AND_ASSIGN(const auto recorder, Recorder::Create(Nowhere()));
  constexpr int kThreads = 4;
  constexpr int kEach = 20'000;
  std::vector<std::thread> threads;
  for (int number = 0; number < kThreads; ++number) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach / 2; ++i) {
        recorder->RecordError("timeout", "search");
        recorder->RecordQueueSize("requests", i);
      }
    });
  }
  recorder->Stop(In(absl::Milliseconds(5))).IgnoreError();
  for (std::thread& thread : threads) thread.join();
  const RecorderStats stats = recorder->stats();
  // And at most one report for each reason and tick.
  EXPECT_GE(stats.uncounted_samples(), kThreads * kEach);
  EXPECT_LE(stats.uncounted_samples(), kThreads * kEach + 100);
}

}  // namespace
}  // namespace weir::client
