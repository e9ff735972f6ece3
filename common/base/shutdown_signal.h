// SIGTERM and SIGINT as something a main function waits for.
//
// Thread safety: BlockShutdownSignals belongs before any thread is started;
// RequestShutdown is thread-safe.
#pragma once

#include "absl/time/time.h"

namespace weir {

// Keeps the signals for WaitForShutdownSignal, in this thread and all started
// later. SIGPIPE is ignored: a peer that is gone is an error value.
void BlockShutdownSignals();

// Waits for one of them and returns it.
int WaitForShutdownSignal();

// Waits for one of them for at most `timeout`; returns whether one came. For
// what is long in starting and must still be stoppable.
bool WaitForShutdownSignalFor(absl::Duration timeout);

// As if SIGTERM had come: a part of the program cannot go on.
void RequestShutdown();

}  // namespace weir
