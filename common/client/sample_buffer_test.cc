#include "common/client/sample_buffer.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>
#include <vector>

namespace weir::client {
namespace {

BufferedSample Sample(uint64_t value, uint32_t series = 0) {
  return {.bits = value, .series = series, .integer = true};
}

TEST(SampleBufferTest, WhatGoesBeyondTheLimitIsDroppedAndCounted) {
  SampleBuffer buffer(3, 100);
  for (uint64_t value = 0; value < 5; ++value) buffer.Add(Sample(value));
  EXPECT_EQ(buffer.held(), 3);
  EXPECT_EQ(buffer.dropped(DropReason::kBufferFull), 2);
  std::vector<BufferedSample> samples;
  buffer.Drain(&samples);
  EXPECT_EQ(samples.size(), 3u);
  buffer.Add(Sample(5));
  EXPECT_EQ(buffer.dropped(DropReason::kBufferFull), 3) << "drained is not yet acknowledged";
  buffer.Release(1);
  buffer.Add(Sample(6));
  EXPECT_EQ(buffer.dropped(DropReason::kBufferFull), 3);
}

TEST(SampleBufferTest, OwnSamplesFitInAFullBuffer) {
  SampleBuffer buffer(1, 100);
  buffer.Add(Sample(0));
  buffer.AddOwn(Sample(1));
  EXPECT_EQ(buffer.held(), 2);
  std::vector<BufferedSample> samples;
  buffer.Drain(&samples);
  EXPECT_EQ(samples.size(), 2u);
}

TEST(SampleBufferTest, TheSenderIsWokenOncePerFullShard) {
  SampleBuffer buffer(100, 3);
  EXPECT_FALSE(buffer.Add(Sample(0)));
  EXPECT_FALSE(buffer.Add(Sample(1)));
  EXPECT_TRUE(buffer.Add(Sample(2)));
  EXPECT_FALSE(buffer.Add(Sample(3)));
}

TEST(SampleBufferTest, AfterCloseEverythingIsDropped) {
  SampleBuffer buffer(100, 100);
  buffer.Add(Sample(0));
  buffer.Close();
  buffer.Add(Sample(1));
  EXPECT_EQ(buffer.held(), 1);
  EXPECT_EQ(buffer.dropped(DropReason::kStopped), 1);
}

TEST(SampleBufferTest, ThreadsLoseNothingAndKeepTheirOrder) {
  constexpr int kThreads = 8;
  constexpr uint64_t kEach = 20'000;
  SampleBuffer buffer(kThreads * kEach, 1000);
  std::vector<std::thread> threads;
  for (uint32_t number = 0; number < kThreads; ++number) {
    threads.emplace_back([&buffer, number] {
      for (uint64_t value = 0; value < kEach; ++value) buffer.Add(Sample(value, number));
    });
  }
  std::map<uint32_t, uint64_t> next;
  std::vector<BufferedSample> samples;
  const auto take = [&] {
    samples.clear();
    buffer.Drain(&samples);
    for (const BufferedSample& sample : samples) ASSERT_EQ(sample.bits, next[sample.series]++);
  };
  for (int turn = 0; turn < 100; ++turn) take();
  for (std::thread& thread : threads) thread.join();
  take();
  for (uint32_t number = 0; number < kThreads; ++number) EXPECT_EQ(next[number], kEach);
  EXPECT_EQ(buffer.held(), static_cast<int64_t>(kThreads * kEach));
}

}  // namespace
}  // namespace weir::client
