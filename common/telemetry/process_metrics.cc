// What /proc says about this process. A figure that cannot be read is NaN: the
// metric is there, and visibly unknown.
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

#include "common/telemetry/metrics.h"

namespace weir::telemetry {
namespace {

double ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total_pages, resident_pages;
  if (!(file >> total_pages >> resident_pages)) return std::nan("");
  return static_cast<double>(resident_pages) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double CpuSeconds() {
  rusage usage;
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return std::nan("");
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double OpenFileDescriptors() {
  DIR* const directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return std::nan("");
  double count = -3;  // ".", ".." and the one just opened
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

// Boot time and, in ticks since then, the process's start: field 22 of its
// stat, counted after the command's name, which may hold spaces.
double StartTimeSeconds() {
  double boot_seconds = std::nan("");
  std::ifstream system("/proc/stat");
  for (std::string key; system >> key;) {
    if (key == "btime") {
      system >> boot_seconds;
      break;
    }
    std::string rest;
    std::getline(system, rest);
  }
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nan("");
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double start_ticks;
  if (!(fields >> start_ticks)) return std::nan("");
  return boot_seconds + start_ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

void AddProcessMetrics(Registry& registry, std::string_view service) {
  registry.AddCallbackGauge("process_resident_memory_bytes", "Resident memory.", {}, ResidentBytes);
  registry.AddCallbackCounter("process_cpu_seconds_total", "CPU time, user and system.", {},
                              CpuSeconds);
  registry.AddCallbackGauge("process_open_fds", "Open file descriptors.", {}, OpenFileDescriptors);
  registry.AddGauge("process_start_time_seconds", "When the process began, in Unix time.")
      .Set(StartTimeSeconds());
  registry
      .AddGauge("weir_build_info", "Always 1; what was built is in the labels.",
                {{"service", std::string(service)}, {"version", WEIR_VERSION}})
      .Set(1);
}

}  // namespace weir::telemetry
