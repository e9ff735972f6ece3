#include "bench/measure.h"

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "common/base/check.h"

namespace weir::bench {

absl::Duration WallTime() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

absl::Duration CpuTime() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

double Quantile(std::vector<double> values, double q) {
  WEIR_CHECK(!values.empty());
  const auto rank = static_cast<int64_t>(std::ceil(q * static_cast<double>(values.size())));
  const auto nth = values.begin() + std::max<int64_t>(rank - 1, 0);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

void Print(std::string_view name, double value, std::string_view unit) {
  std::printf("{\"name\":\"%.*s\",\"value\":%.6g,\"unit\":\"%.*s\"}\n",
              static_cast<int>(name.size()), name.data(), value, static_cast<int>(unit.size()),
              unit.data());
  std::fflush(stdout);
}

std::string Flag(int argc, char** argv, std::string_view name, std::string_view otherwise) {
  const std::string prefix = "--" + std::string(name) + "=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.substr(0, prefix.size()) == prefix) {
      return std::string(argument.substr(prefix.size()));
    }
  }
  return std::string(otherwise);
}

int64_t IntFlag(int argc, char** argv, std::string_view name, int64_t otherwise) {
  const std::string text = Flag(argc, argv, name, std::to_string(otherwise));
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value)) {
    std::fprintf(stderr, "--%s: not a number: %s\n", std::string(name).c_str(), text.c_str());
    std::exit(2);
  }
  return value;
}

}  // namespace weir::bench
