// Where recorded samples wait for the sender: bounded, and cheap to add to from
// many threads.
//
// Threads are spread over shards, each with a lock and a vector of its own, so
// that two seldom meet; what they share is one counter, the samples held. A
// sample is held from Add until Release, that is until it is acknowledged or
// given up: the limit covers what is on its way, too.
//
// Samples of one thread leave in the order in which they came.
//
// Thread safety: thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/mutex.h"
#include "common/client/recorder.h"

namespace weir::client {

struct BufferedSample {
  int64_t event_unix_nano = 0;
  uint64_t bits = 0;  // of the double or the int64_t
  uint32_t series = 0;
  bool integer = false;
};

class SampleBuffer {
 public:
  // Add says when a shard has reached `wake_samples`.
  // REQUIRES: both are at least 1.
  SampleBuffer(int64_t max_samples, int64_t wake_samples);

  // Takes a sample, or drops and counts it. Returns whether the sender should be
  // woken; once for each time that a shard fills up.
  bool Add(const BufferedSample& sample);

  // Takes one of the recorder's own, whatever is held.
  void AddOwn(const BufferedSample& sample);

  // Appends everything added so far, and not drained, to `*samples`.
  void Drain(std::vector<BufferedSample>* samples);

  // So many drained samples are acknowledged or given up.
  void Release(int64_t count) { held_.fetch_sub(count, std::memory_order_relaxed); }

  // Counts samples of which nothing was added, or that are given up.
  void CountDropped(DropReason reason, int64_t count = 1) {
    dropped_[static_cast<size_t>(reason)].fetch_add(count, std::memory_order_relaxed);
  }

  // Drops, as kStopped, whatever is added from now on: once this has returned, a
  // Drain takes the last.
  void Close();

  int64_t held() const { return held_.load(std::memory_order_relaxed); }
  int64_t dropped(DropReason reason) const {
    return dropped_[static_cast<size_t>(reason)].load(std::memory_order_relaxed);
  }

 private:
  static constexpr size_t kShardCount = 16;
  struct alignas(64) Shard {
    Mutex mu;
    std::vector<BufferedSample> samples ABSL_GUARDED_BY(mu);
    bool closed ABSL_GUARDED_BY(mu) = false;
  };

  Shard& OwnShard();

  const int64_t max_samples_;
  const size_t wake_samples_;
  std::array<Shard, kShardCount> shards_;
  alignas(64) std::atomic<int64_t> held_{0};
  std::array<std::atomic<int64_t>, kDropReasonCount> dropped_{};
};

}  // namespace weir::client
