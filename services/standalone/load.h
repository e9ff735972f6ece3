// `weir load`: sends samples to a collector through StreamBatches sessions,
// through its restarts if need be, and says how long its answers took.
//
// Thread safety: call from one thread; SIGINT and SIGTERM end the load early
// while it runs, with its summary.
#pragma once

#include <string>
#include <vector>

#include "common/base/clock.h"

namespace weir::standalone {

// Runs the command; `arguments` are those after `load`. Progress goes to
// standard error, the summary to standard output. Returns the exit status: 0
// when everything sent was acknowledged, 1 when not, 2 for wrong arguments.
int RunLoad(const std::vector<std::string>& arguments, Clock& clock = Clock::System());

}  // namespace weir::standalone
