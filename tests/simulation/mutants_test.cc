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

std::vector<Mutant> Mortal() {
  std::vector<Mutant> mutants;
  for (int value = 1; value <= static_cast<int>(kLastMutant); ++value) {
    const auto mutant = static_cast<Mutant>(value);
    // A flush that retention has passed writes a row below a floor. Nobody loses
    // it: a floor never passes what is derived above it, so the same flush has
    // added the samples there. What the check keeps out is rows that a partition
    // dropped since would have held, which only a store with partitions minds.
    if (mutant != Mutant::kFloorUnchecked) mutants.push_back(mutant);
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

INSTANTIATE_TEST_SUITE_P(All, MutantsTest, testing::ValuesIn(Mortal()), NameOf);

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
