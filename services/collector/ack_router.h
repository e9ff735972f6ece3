// Finds who waits for an acknowledgement: streams and unary calls, by the
// connection number they were given.
//
// Thread safety: thread-safe. Sinks are called without a lock held.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/mutex.h"
#include "services/collector/session_core.h"

namespace weir::collector {

class AckSink {
 public:
  virtual ~AckSink() = default;
  // Everything of this connection up to `sequence` is safe.
  virtual void OnAcked(uint64_t sequence) = 0;
};

class AckRouter {
 public:
  // Returns the connection's number; never 0, never used again.
  uint64_t Register(std::shared_ptr<AckSink> sink) {
    MutexLock lock(&mu_);
    sinks_.emplace(++last_connection_, std::move(sink));
    return last_connection_;
  }

  // No call follows, except one that has begun.
  void Unregister(uint64_t connection) {
    MutexLock lock(&mu_);
    sinks_.erase(connection);
  }

  void Dispatch(const std::vector<Waiter>& waiters) {
    // The highest sequence of a connection speaks for all: batches become safe in
    // the order in which they came.
    absl::flat_hash_map<uint64_t, uint64_t> last;
    for (const Waiter& waiter : waiters) {
      uint64_t& sequence = last[waiter.connection];
      sequence = std::max(sequence, waiter.sequence);
    }
    std::vector<std::pair<std::shared_ptr<AckSink>, uint64_t>> told;
    told.reserve(last.size());
    {
      MutexLock lock(&mu_);
      for (const auto& [connection, sequence] : last) {
        const auto found = sinks_.find(connection);
        if (found != sinks_.end()) told.emplace_back(found->second, sequence);
      }
    }
    for (const auto& [sink, sequence] : told) sink->OnAcked(sequence);
  }

 private:
  Mutex mu_;
  uint64_t last_connection_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uint64_t, std::shared_ptr<AckSink>> sinks_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weir::collector
