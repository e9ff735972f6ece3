// Clocks and medians for the benchmarks.
//
// Thread safety: pure functions; values are thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace weir::bench {

// Monotonic time since some instant.
absl::Duration WallTime();

// CPU time of this process, kernel included.
absl::Duration CpuTime();

// REQUIRES: not empty.
double Median(std::vector<double> values);
// The value of rank ceil(q * n). REQUIRES: not empty.
double Quantile(std::vector<double> values, double q);

// Prints one JSON object on a line of its own: name, value, unit.
void Print(std::string_view name, double value, std::string_view unit);

// `--name=value` among the arguments, else `otherwise`.
std::string Flag(int argc, char** argv, std::string_view name, std::string_view otherwise);
// Errors end the program.
int64_t IntFlag(int argc, char** argv, std::string_view name, int64_t otherwise);

}  // namespace weir::bench
