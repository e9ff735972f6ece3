// A queue between threads that never grows past its limit: whoever finds it
// full is told so at once, and refuses work instead of hoarding it.
//
// Thread safety: thread-safe; many producers, any number of consumers.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/check.h"
#include "common/base/mutex.h"

namespace weir {

template <typename T>
class BoundedQueue {
 public:
  // REQUIRES: limit > 0. The unit is items.
  explicit BoundedQueue(size_t limit) : limit_(limit) { WEIR_CHECK(limit > 0); }

  // Appends `item`. Returns false, leaving `item` with the caller, when the
  // queue is full or closed.
  bool TryPush(T&& item) {
    {
      MutexLock lock(&mu_);
      if (closed_ || items_.size() >= limit_) return false;
      items_.push_back(std::move(item));
    }
    changed_.NotifyOne();
    return true;
  }

  // Waits for an item. Returns nullopt once the queue is closed and empty.
  std::optional<T> Pop() {
    MutexLock lock(&mu_);
    while (items_.empty() && !closed_) changed_.Wait(&mu_);
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    return item;
  }

  // Waits for at least one item and takes up to `max_count` of them: a consumer
  // with a fixed cost per turn (an fsync, a transaction) takes all there is.
  // Returns none once the queue is closed and empty.
  std::vector<T> PopAll(size_t max_count) {
    std::vector<T> taken;
    MutexLock lock(&mu_);
    while (items_.empty() && !closed_) changed_.Wait(&mu_);
    while (!items_.empty() && taken.size() < max_count) {
      taken.push_back(std::move(items_.front()));
      items_.pop_front();
    }
    return taken;
  }

  // Refuses pushes from now on; consumers drain what is there. Idempotent.
  void Close() {
    {
      MutexLock lock(&mu_);
      closed_ = true;
    }
    changed_.NotifyAll();
  }

  size_t size() const {
    MutexLock lock(&mu_);
    return items_.size();
  }

 private:
  // Constant after construction.
  const size_t limit_;

  mutable Mutex mu_;
  CondVar changed_;
  std::deque<T> items_ ABSL_GUARDED_BY(mu_);
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace weir
