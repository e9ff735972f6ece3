// A clock that stands still until a test moves it.
//
// Thread safety: thread-safe.
#pragma once

#include <list>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"

namespace weir::test {

class FakeClock final : public Clock {
 public:
  // 2026-01-01 00:00:00 UTC: on a boundary of every bin width.
  static absl::Time Epoch() { return absl::FromUnixSeconds(1'767'225'600); }

  explicit FakeClock(absl::Time now = Epoch()) : now_(now) {}

  absl::Time Now() override {
    MutexLock lock(&mu_);
    return now_;
  }

  // Moves time, forwards or (as wall clocks do) backwards, and wakes every
  // waiter, which then compares its deadline with the new time.
  void Set(absl::Time now) {
    Move([&](absl::Time) { return now; });
  }
  void Advance(absl::Duration by) {
    Move([&](absl::Time now) { return now + by; });
  }

  bool WaitUntil(Mutex* mu, CondVar* changed, absl::Time deadline) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    std::list<Waiter>::iterator self;
    {
      MutexLock lock(&mu_);
      if (now_ >= deadline) return false;
      self = waiters_.insert(waiters_.end(), Waiter{.mu = mu, .changed = changed});
    }
    changed->Wait(mu);
    // Move() may be about to notify: the entry, and with it the caller's mutex
    // and condition variable, must outlive that. It wants `mu`, so let it go.
    mu->Unlock();
    bool before_deadline;
    {
      MutexLock lock(&mu_);
      while (self->notifiers > 0) notified_.Wait(&mu_);
      waiters_.erase(self);
      before_deadline = now_ < deadline;
    }
    mu->Lock();
    return before_deadline;
  }

  // Threads in WaitUntil now: a test waits for this before it moves time when
  // it must be sure that a thread has gone to sleep.
  int waiter_count() {
    MutexLock lock(&mu_);
    return static_cast<int>(waiters_.size());
  }

 private:
  struct Waiter {
    Mutex* mu;
    CondVar* changed;
    int notifiers = 0;
  };

  template <typename NewTime>
  void Move(NewTime new_time) {
    std::vector<Waiter*> waiters;
    {
      MutexLock lock(&mu_);
      now_ = new_time(now_);
      for (Waiter& waiter : waiters_) {
        ++waiter.notifiers;
        waiters.push_back(&waiter);
      }
    }
    // Under the waiter's own mutex, as it registers before it releases that one
    // and starts to wait: no wake-up falls between. mu_ is not held, as waiters
    // take it while they hold theirs.
    for (Waiter* waiter : waiters) {
      MutexLock lock(waiter->mu);
      waiter->changed->NotifyAll();
    }
    MutexLock lock(&mu_);
    for (Waiter* waiter : waiters) --waiter->notifiers;
    notified_.NotifyAll();
  }

  Mutex mu_;
  CondVar notified_;
  absl::Time now_ ABSL_GUARDED_BY(mu_);
  std::list<Waiter> waiters_ ABSL_GUARDED_BY(mu_);
};

}  // namespace weir::test
