#include "common/base/clock.h"

#include <chrono>

#include "absl/time/clock.h"

namespace weir {
namespace {

class SystemClock final : public Clock {
 public:
  absl::Time Now() override { return absl::Now(); }

  bool WaitUntil(Mutex* mu, CondVar* changed, absl::Time deadline) override {
    // A step of the wall clock must not freeze a waiter, so the wait itself is
    // measured on the steady clock and is an hour at most.
    const absl::Duration wait = std::min(deadline - absl::Now(), absl::Hours(1));
    if (wait <= absl::ZeroDuration()) return false;
    std::unique_lock<std::mutex> lock(mu->native(), std::adopt_lock);
    changed->native().wait_for(lock, absl::ToChronoNanoseconds(wait));
    lock.release();
    return absl::Now() < deadline;
  }
};

}  // namespace

Clock& Clock::System() {
  static SystemClock* const clock = new SystemClock;
  return *clock;
}

}  // namespace weir
