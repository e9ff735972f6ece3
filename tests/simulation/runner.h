// Many seeds on several threads.
//
// Thread safety: RunSeeds is thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "common/base/mutant.h"
#include "tests/simulation/world.h"

namespace weir::simulation {

struct RunnerOptions {
  uint64_t first_seed = 1;
  int64_t seeds = 1;
  int jobs = 1;
  Mutant mutant = Mutant::kNone;
  bool trace = false;
  // Start no further seed once one has failed.
  bool stop_at_first_failure = false;
};

struct Failure {
  uint64_t seed = 0;
  Outcome outcome;
};

// The enumerators of Mutant count up to this one.
inline constexpr Mutant kLastMutant = Mutant::kFloorUnchecked;

struct Summary {
  int64_t seeds = 0;  // that were run
  int64_t lost = 0;
  int64_t doubled = 0;
  int64_t stuck = 0;
  int64_t broken = 0;
  Counts counts;
  std::vector<Failure> failures;  // by seed
};

// `progress` is called now and then, on the calling thread, with how many seeds
// are done and how many failed.
Summary RunSeeds(const RunnerOptions& options,
                 const std::function<void(int64_t done, int64_t failed)>& progress);

}  // namespace weir::simulation
