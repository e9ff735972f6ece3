// The one place that knows what time it is.
//
// Everything else takes an absl::Time, or a Clock& where it must wait.
// Thread safety: a Clock is thread-safe.
#pragma once

#include "absl/time/time.h"
#include "common/base/mutex.h"

namespace weir {

class Clock {
 public:
  virtual ~Clock() = default;

  // Wall-clock time: what event, receive and seal times are stamped with.
  virtual absl::Time Now() = 0;

  // Waits until `changed` is notified or Now() reaches `deadline`; may wake
  // early for no reason. Returns false when the deadline has passed.
  // REQUIRES: `mu` is held; it is released while waiting.
  virtual bool WaitUntil(Mutex* mu, CondVar* changed, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) = 0;

  // The machine's clock. Lives for ever.
  static Clock& System();
};

}  // namespace weir
