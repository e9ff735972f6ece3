#include "common/client/sample_buffer.h"

#include "common/base/check.h"

namespace weir::client {

SampleBuffer::SampleBuffer(int64_t max_samples, int64_t wake_samples)
    : max_samples_(max_samples), wake_samples_(static_cast<size_t>(wake_samples)) {
  WEIR_CHECK(max_samples >= 1 && wake_samples >= 1);
}

SampleBuffer::Shard& SampleBuffer::OwnShard() {
  // Threads take numbers as they first record, which spreads any few of them
  // evenly; a hash of their ids would not.
  static std::atomic<size_t> next_number{0};
  thread_local const size_t number = next_number.fetch_add(1, std::memory_order_relaxed);
  return shards_[number % kShardCount];
}

bool SampleBuffer::Add(const BufferedSample& sample) {
  if (held_.fetch_add(1, std::memory_order_relaxed) >= max_samples_) [[unlikely]] {
    Release(1);
    CountDropped(DropReason::kBufferFull);
    return false;
  }
  Shard& shard = OwnShard();
  {
    MutexLock lock(&shard.mu);
    if (!shard.closed) [[likely]] {
      shard.samples.push_back(sample);
      return shard.samples.size() == wake_samples_;
    }
  }
  Release(1);
  CountDropped(DropReason::kStopped);
  return false;
}

void SampleBuffer::AddOwn(const BufferedSample& sample) {
  held_.fetch_add(1, std::memory_order_relaxed);
  Shard& shard = OwnShard();
  MutexLock lock(&shard.mu);
  shard.samples.push_back(sample);
}

void SampleBuffer::Drain(std::vector<BufferedSample>* samples) {
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    samples->insert(samples->end(), shard.samples.begin(), shard.samples.end());
    shard.samples.clear();
  }
}

void SampleBuffer::Close() {
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    shard.closed = true;
  }
}

}  // namespace weir::client
