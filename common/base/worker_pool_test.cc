#include "common/base/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "common/base/bounded_queue.h"

namespace weir {
namespace {

TEST(BoundedQueueTest, AFullQueueRefusesAndLeavesTheItem) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(2)));
  auto third = std::make_unique<int>(3);
  EXPECT_FALSE(queue.TryPush(std::move(third)));
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(**queue.Pop(), 1);
  EXPECT_TRUE(queue.TryPush(std::move(third)));
  EXPECT_EQ(queue.size(), 2u);
}

TEST(BoundedQueueTest, AClosedQueueIsDrainedAndThenEmptyForGood) {
  BoundedQueue<int> queue(3);
  queue.TryPush(1);
  queue.TryPush(2);
  queue.Close();
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.PopAll(10), std::vector<int>{2});
  EXPECT_EQ(queue.Pop(), std::nullopt);
  EXPECT_TRUE(queue.PopAll(10).empty());
}

TEST(BoundedQueueTest, PopAllTakesNoMoreThanAsked) {
  BoundedQueue<int> queue(5);
  for (int i = 0; i < 5; ++i) queue.TryPush(int{i});
  EXPECT_EQ(queue.PopAll(2), (std::vector<int>{0, 1}));
  EXPECT_EQ(queue.PopAll(9), (std::vector<int>{2, 3, 4}));
}

TEST(BoundedQueueTest, CloseWakesEveryWaiter) {
  BoundedQueue<int> queue(1);
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] { EXPECT_EQ(queue.Pop(), std::nullopt); });
  }
  queue.Close();
  for (std::thread& waiter : waiters) waiter.join();
}

TEST(BoundedQueueTest, EveryItemOfManyProducersArrivesOnce) {
  BoundedQueue<int64_t> queue(16);
  constexpr int kProducers = 3;
  constexpr int64_t kItems = 5000;
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&] {
      for (int64_t i = 1; i <= kItems; ++i) {
        while (!queue.TryPush(int64_t{i})) std::this_thread::yield();
      }
    });
  }
  int64_t sum = 0;
  int64_t count = 0;
  while (count < kProducers * kItems) {
    for (const int64_t item : queue.PopAll(7)) {
      sum += item;
      ++count;
    }
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(sum, kProducers * kItems * (kItems + 1) / 2);
}

TEST(WorkerPoolTest, StopRunsWhatIsQueued) {
  std::atomic<int> done = 0;
  WorkerPool pool({.threads = 2, .max_queued_count = 100});
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(pool.TrySubmit([&] { ++done; }));
  pool.Stop();
  EXPECT_EQ(done, 100);
  EXPECT_FALSE(pool.TrySubmit([] {}));
  pool.Stop();
}

TEST(WorkerPoolTest, WorkBeyondTheQueueIsRefused) {
  std::promise<void> started;  // outlive the pool, whose destructor joins
  std::promise<void> release;
  WorkerPool pool({.threads = 1, .max_queued_count = 1});
  ASSERT_TRUE(pool.TrySubmit([&] {
    started.set_value();
    release.get_future().wait();
  }));
  started.get_future().wait();
  EXPECT_TRUE(pool.TrySubmit([] {}));
  EXPECT_FALSE(pool.TrySubmit([] {}));
  EXPECT_EQ(pool.queued_count(), 1u);
  release.set_value();
}

}  // namespace
}  // namespace weir
