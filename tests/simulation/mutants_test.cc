// A safeguard that may be removed without the simulation noticing is either not
// needed or not tested: each mutant removes one, and must die.
#include <algorithm>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/simulation/runner.h"

namespace weir::simulation {
namespace {

constexpr int64_t kMaxSeeds = 5000;

std::vector<Mutant> All() {
  std::vector<Mutant> mutants;
  for (int value = 1; value <= static_cast<int>(kLastMutant); ++value) {
    mutants.push_back(static_cast<Mutant>(value));
  }
  return mutants;
}

class MutantsTest : public testing::TestWithParam<Mutant> {};

TEST_P(MutantsTest, Dies) {
  RunnerOptions options;
  options.seeds = kMaxSeeds;
  options.jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  options.mutant = GetParam();
  options.stop_at_first_failure = true;
  const Summary summary = RunSeeds(options, nullptr);
  ASSERT_FALSE(summary.failures.empty()) << "it lives after " << summary.seeds << " seeds";
  const Failure& failure = summary.failures.front();
  RecordProperty("seed", std::to_string(failure.seed));
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(failure.seed),
              failure.outcome.why.c_str());
}

std::string NameOf(const testing::TestParamInfo<Mutant>& info) {
  return std::string(MutantName(info.param));
}

INSTANTIATE_TEST_SUITE_P(All, MutantsTest, testing::ValuesIn(All()), NameOf);

TEST(SimulationTest, WhatNeverHappenedIsNamedWhateverItIs) {
  const Counts none;
  std::string names = none.ToString();
  for (size_t at = names.find("=0"); at != names.npos; at = names.find("=0")) {
    names.replace(at, 2, at + 2 == names.size() ? "" : ",");
  }
  EXPECT_EQ(none.Missing(), names);
  Counts some;
  some.Add({.crashes = 1, .pauses = 2});
  EXPECT_EQ(some.Missing().find("crashes"), std::string::npos);
  EXPECT_EQ(some.Missing().find("pauses"), std::string::npos);
  EXPECT_NE(some.Missing().find("stalls"), std::string::npos);
}

TEST(SimulationTest, ASeedIsTheSameRunEveryTime) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome once = RunSeed(seed, Mutant::kNone, /*trace=*/false);
    const Outcome again = RunSeed(seed, Mutant::kNone, /*trace=*/false);
    EXPECT_EQ(once.counts.ToString(), again.counts.ToString()) << "seed " << seed;
    EXPECT_EQ(once.why, again.why) << "seed " << seed;
  }
}

}  // namespace
}  // namespace weir::simulation
