// One thread and the gRPC completion queue it serves: stream callbacks, posted
// functions and timers all run on it, one at a time. A state machine driven
// from one loop needs no locks.
//
// Thread safety: Post, PostAt and InLoop are thread-safe; the rest belongs to
// the owner.
#pragma once

#include <grpcpp/completion_queue.h>

#include <functional>
#include <memory>
#include <thread>
#include <unordered_set>
#include <vector>

#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace weir::rpc {

class EventLoop {
 public:
  // What a completion queue hands back. The object lives until Complete runs.
  class Tag {
   public:
    // Runs on the loop's thread, once per operation started with this tag.
    virtual void Complete(bool ok) = 0;

   protected:
    ~Tag() = default;
  };

  // Takes the queue of a ServerBuilder, or a new client queue.
  explicit EventLoop(std::unique_ptr<grpc::CompletionQueue> queue);
  // Stops.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Starts the thread. What was posted before runs then.
  void Start();

  // Runs what was posted before this call, drops timers that are not due, waits for operations in
  // flight, joins the thread. Idempotent. Later posts are refused.
  // REQUIRES: not on the loop's thread; no operation is started on queue()
  // from now on.
  void Stop();

  // Runs `function` on the loop's thread, after everything posted before.
  // Returns false, and drops it, when the loop has been stopped.
  bool Post(std::function<void()> function);

  // Runs `function` on the loop's thread once the wall clock reaches `when`;
  // at once when that is past. There is no cancelling: a timer that may have
  // become pointless checks so itself. Returns false when stopped.
  bool PostAt(absl::Time when, std::function<void()> function);

  // Whether the caller runs on the loop's thread.
  bool InLoop() const;

  grpc::CompletionQueue* queue() { return queue_.get(); }

 private:
  class Wakeup;
  class Timer;

  void Run();
  void RunPosted();

  // Constant after construction. `wakeup_` re-arms itself; see the .cc.
  const std::unique_ptr<grpc::CompletionQueue> queue_;
  const std::unique_ptr<Wakeup> wakeup_;

  // Owned by the owner's thread.
  std::thread thread_;
  bool stopped_ = false;

  Mutex mu_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mu_);
  std::unordered_set<Timer*> timers_ ABSL_GUARDED_BY(mu_);
  bool armed_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace weir::rpc
