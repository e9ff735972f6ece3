#include "tests/property/cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/random.h"
#include "common/testing/test_seed.h"

namespace weir::property {
namespace {

// What runs, for a process that a failed check ends in the middle.
uint64_t running_seed = 0;
int running_case = -1;

extern "C" void TellCase(int signal) {
  std::fprintf(stderr, "WEIR_TEST_SEED=%llu WEIR_TEST_CASE=%d\n",
               static_cast<unsigned long long>(running_seed), running_case);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

std::string RunCase(const Schedule& schedule, const OpenStore& open, Tally& tally) {
  const auto store = open({.slot_count = schedule.slot_count, .created_time = schedule.start});
  if (!store.ok()) return store.status().ToString();
  return Pipeline(schedule, **store, tally).Run();
}

// Leaves out steps, then points, as long as something is still wrong.
Schedule Shortened(Schedule schedule, int most_runs, const OpenStore& open) {
  int runs = 0;
  const auto fails = [&](const Schedule& candidate) {
    Tally tally;
    return ++runs <= most_runs && !RunCase(candidate, open, tally).empty();
  };
  // Half of the steps at a time, then a quarter, and so on down to single ones.
  for (size_t length = schedule.steps.size() / 2; length > 0;) {
    bool shorter = false;
    for (size_t i = schedule.steps.size(); i > 0 && runs < most_runs;) {
      i -= std::min(i, length);
      Schedule candidate = schedule;
      const auto first = candidate.steps.begin() + static_cast<std::ptrdiff_t>(i);
      candidate.steps.erase(
          first, first + static_cast<std::ptrdiff_t>(std::min(length, candidate.steps.size() - i)));
      if (!fails(candidate)) continue;
      schedule = std::move(candidate);
      shorter = true;
    }
    if (!shorter || length > 1) length /= 2;
  }
  for (size_t step = 0; step < schedule.steps.size(); ++step) {
    for (size_t i = schedule.steps[step].sent.size(); i > 0;) {
      --i;
      Schedule candidate = schedule;
      auto& sent = candidate.steps[step].sent;
      sent.erase(sent.begin() + static_cast<std::ptrdiff_t>(i));
      if (fails(candidate)) schedule = std::move(candidate);
    }
  }
  return schedule;
}

}  // namespace

Tally RunCases(Effort effort, const OpenStore& open) {
  const uint64_t seed = test::TestSeed();
  const char* const only = std::getenv("WEIR_TEST_CASE");
  int first = 0;
  int count = effort.cases;
  if (only != nullptr) {
    first = std::atoi(only);
    count = first + 1;
  }
  running_seed = seed;
  std::signal(SIGABRT, TellCase);
  std::signal(SIGSEGV, TellCase);
  Tally tally;
  for (running_case = first; running_case < count; ++running_case) {
    // Neighbouring seeds have no cases in common.
    const uint64_t case_seed = Random(Random(seed)() + static_cast<uint64_t>(running_case))();
    const Schedule schedule = DrawSchedule(case_seed);
    const std::string wrong = RunCase(schedule, open, tally);
    if (wrong.empty()) continue;
    const Schedule shorter = Shortened(schedule, effort.shortening_runs, open);
    Tally ignored;
    ADD_FAILURE() << wrong << "\nagain: WEIR_TEST_SEED=" << seed
                  << " WEIR_TEST_CASE=" << running_case << ", after " << running_case - first + 1
                  << " cases\nshortened: " << RunCase(shorter, open, ignored) << "\n"
                  << Describe(shorter);
    break;
  }
  std::signal(SIGABRT, SIG_DFL);
  std::signal(SIGSEGV, SIG_DFL);
  return tally;
}

void ExpectEverythingHappened(const Tally& tally) {
  const std::pair<const char*, int64_t> happened[] = {
      {"cases", tally.cases},
      {"points", tally.points},
      {"frames", tally.frames},
      {"flushes", tally.flushes},
      {"derivations", tally.derives},
      {"late rows", tally.late_rows},
      {"expired samples", tally.expired},
      {"crashes", tally.crashes},
      {"jobs fenced off", tally.fenced_off},
      {"in doubt and committed", tally.in_doubt_committed},
      {"increases", tally.increases},
      {"first points", tally.firsts},
      {"resets", tally.resets},
      {"baselines", tally.baselines},
      {"late points", tally.late_points},
      {"restored points", tally.restored_points},
      {"bins", tally.bins},
      {"retired", tally.retired_bins},
      {"quantiles", tally.quantiles},
  };
  std::string text;
  for (const auto& [name, count] : happened) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", name, " ", count);
    if (tally.cases >= 500) {
      EXPECT_GT(count, 0) << name << " never happened";
    }
  }
  std::printf("%s\n", text.c_str());
}

}  // namespace weir::property
