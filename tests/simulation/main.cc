// weir-simulation: the whole pipeline in virtual time, one world per seed.
//
//   weir-simulation --first_seed=1 --seeds=5000
//   weir-simulation --first_seed=42 --seeds=1 --verbose      one seed, told in full
//   weir-simulation --mutant=no_gap_check --seeds=5000       one safeguard removed
//
// Ends with 0 when every seed kept every promise and enough went wrong in them to
// prove something; with 1 otherwise; with 2 for a wrong command line.
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <thread>

#include "absl/strings/numbers.h"
#include "common/base/strings.h"
#include "tests/simulation/runner.h"

namespace weir::simulation {
namespace {

constexpr std::string_view kUsage =
    "usage: weir-simulation [--first_seed=N] [--seeds=N] [--mutant=NAME] [--list_mutants]\n"
    "                       [--jobs=N] [--verbose]\n";
// Fewer seeds than this may be too calm by chance.
constexpr int64_t kSeedsThatProve = 1000;
constexpr size_t kMaxShownFailures = 20;

struct Flags {
  RunnerOptions options;
  bool list_mutants = false;
};

bool ParseFlag(std::string_view argument, Flags* flags) {
  const size_t equals = argument.find('=');
  const std::string_view name = argument.substr(0, equals);
  const std::string_view value =
      equals == argument.npos ? std::string_view() : argument.substr(equals + 1);
  RunnerOptions& options = flags->options;
  if (name == "--first_seed") return absl::SimpleAtoi(AbslView(value), &options.first_seed);
  if (name == "--seeds") {
    return absl::SimpleAtoi(AbslView(value), &options.seeds) && options.seeds > 0;
  }
  if (name == "--jobs") {
    return absl::SimpleAtoi(AbslView(value), &options.jobs) && options.jobs > 0;
  }
  if (name == "--mutant") {
    const std::optional<Mutant> mutant = MutantFromName(value);
    options.mutant = mutant.value_or(Mutant::kNone);
    // One failure is all that is asked of a mutant.
    options.stop_at_first_failure = options.mutant != Mutant::kNone;
    return mutant.has_value();
  }
  if (argument == "--verbose") return options.trace = true;
  if (argument == "--list_mutants") return flags->list_mutants = true;
  return false;
}

void ListMutants() {
  for (int value = 1;; ++value) {
    const Mutant mutant = static_cast<Mutant>(value);
    std::printf("%s\n", std::string(MutantName(mutant)).c_str());
    if (mutant == kLastMutant) return;
  }
}

int Run(const RunnerOptions& options) {
  std::function<void(int64_t, int64_t)> progress;
  if (isatty(STDERR_FILENO) != 0 && !options.trace) {
    progress = [&](int64_t done, int64_t failed) {
      std::fprintf(stderr, "%lld of %lld seeds, %lld failed\n", static_cast<long long>(done),
                   static_cast<long long>(options.seeds), static_cast<long long>(failed));
    };
  }
  const Summary summary = RunSeeds(options, progress);
  const std::string mutant =
      options.mutant == Mutant::kNone ? "" : StrCat(" --mutant=", MutantName(options.mutant));
  for (size_t i = 0; i < summary.failures.size() && i < kMaxShownFailures; ++i) {
    const Failure& failure = summary.failures[i];
    std::printf("seed %llu: %s\n  weir-simulation --first_seed=%llu --seeds=1%s --verbose\n",
                static_cast<unsigned long long>(failure.seed), failure.outcome.why.c_str(),
                static_cast<unsigned long long>(failure.seed), mutant.c_str());
  }
  std::string missing;
  if (summary.seeds >= kSeedsThatProve) missing = summary.counts.Missing();
  if (!missing.empty()) std::printf("too calm to prove anything: without %s\n", missing.c_str());
  std::printf("seeds=%lld lost=%lld doubled=%lld stuck=%lld broken=%lld %s\n",
              static_cast<long long>(summary.seeds), static_cast<long long>(summary.lost),
              static_cast<long long>(summary.doubled), static_cast<long long>(summary.stuck),
              static_cast<long long>(summary.broken), summary.counts.ToString().c_str());
  return summary.failures.empty() && missing.empty() ? 0 : 1;
}

}  // namespace
}  // namespace weir::simulation

int main(int argc, char** argv) {
  using namespace weir::simulation;
  Flags flags;
  flags.options.jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  for (int i = 1; i < argc; ++i) {
    if (!ParseFlag(argv[i], &flags)) {
      std::fprintf(stderr, "weir-simulation: %s\n%s", argv[i], std::string(kUsage).c_str());
      return 2;
    }
  }
  if (flags.list_mutants) {
    ListMutants();
    return 0;
  }
  if (flags.options.trace) flags.options.jobs = 1;
  return Run(flags.options);
}
