// What the kernel says about this process.
//
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weir::client {

struct ProcessUsage {
  double cpu_seconds = 0;  // user and system, of all threads since the start
  int64_t resident_bytes = 0;
};

// Returns nullopt where there is no /proc.
std::optional<ProcessUsage> ReadProcessUsage();

// The resident pages of /proc/self/statm: its second field.
std::optional<int64_t> ParseResidentPages(std::string_view statm);

// The clock ticks of /proc/self/stat, user and system: fields 14 and 15, counted
// after the command's name, which is in parentheses and may hold anything.
std::optional<int64_t> ParseCpuTicks(std::string_view stat);

}  // namespace weir::client
