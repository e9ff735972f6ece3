// A fixed number of threads behind a bounded queue: where reactions to a
// network event hand the work that takes longer (a query, a commit).
//
// Thread safety: TrySubmit and queued_count are thread-safe; Stop belongs to
// the owner.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "common/base/bounded_queue.h"
#include "common/base/check.h"

namespace weir {

class WorkerPool {
 public:
  struct Options {
    int threads = 2;
    // Work that waits, beside what runs.
    size_t max_queued_count = 64;
  };

  // REQUIRES: options.threads > 0 and options.max_queued_count > 0.
  explicit WorkerPool(Options options) : queue_(options.max_queued_count) {
    WEIR_CHECK(options.threads > 0);
    threads_.reserve(options.threads);
    for (int i = 0; i < options.threads; ++i) {
      threads_.emplace_back([this] {
        while (auto work = queue_.Pop()) (*work)();
      });
    }
  }
  ~WorkerPool() { Stop(); }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Returns false, leaving `work` with the caller, when the queue is full or
  // the pool has stopped: the caller refuses the request.
  bool TrySubmit(std::function<void()>&& work) { return queue_.TryPush(std::move(work)); }

  size_t queued_count() const { return queue_.size(); }

  // Runs what is queued, then joins the threads. Idempotent.
  // REQUIRES: not on a thread of the pool.
  void Stop() {
    queue_.Close();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace weir
