#include "common/client/process_usage.h"

#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace weir::client {
namespace {

std::string FirstLine(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

std::optional<int64_t> ParseResidentPages(std::string_view statm) {
  std::istringstream fields{std::string(statm)};
  int64_t total, resident;
  if (!(fields >> total >> resident)) return std::nullopt;
  return resident;
}

std::optional<int64_t> ParseCpuTicks(std::string_view stat) {
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  std::istringstream fields{std::string(stat.substr(name_end + 1))};
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  int64_t user, system;
  if (!(fields >> user >> system)) return std::nullopt;
  return user + system;
}

std::optional<ProcessUsage> ReadProcessUsage() {
  const auto pages = ParseResidentPages(FirstLine("/proc/self/statm"));
  const auto ticks = ParseCpuTicks(FirstLine("/proc/self/stat"));
  if (!pages.has_value() || !ticks.has_value()) return std::nullopt;
  return ProcessUsage{
      .cpu_seconds = static_cast<double>(*ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK)),
      .resident_bytes = *pages * ::sysconf(_SC_PAGESIZE)};
}

}  // namespace weir::client
