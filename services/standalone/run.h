// `weir run`: collector and aggregator in one process on an embedded store.
//
// Thread safety: call from the main thread.
#pragma once

#include <string>
#include <vector>

namespace weir::standalone {

// Runs until SIGTERM or SIGINT; `arguments` are those after `run`. Returns the
// exit status: 0 after a clean stop, 1 when it could not start or go on, 2 for
// wrong arguments.
int Run(const std::vector<std::string>& arguments);

}  // namespace weir::standalone
