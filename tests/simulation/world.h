// One seed: a world of clients, collectors, aggregators and a store, with a load
// and faults for a while; then everything is made well again, must drain within
// a bounded time, and is counted.
//
// Thread safety: RunSeed is thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/mutant.h"
#include "tests/simulation/environment.h"

namespace weir::simulation {

struct Outcome {
  int64_t lost = 0;
  int64_t doubled = 0;
  bool stuck = false;
  bool broken = false;  // a promise other than these
  std::string why;      // the first thing that was wrong
  Counts counts;

  bool failed() const { return lost != 0 || doubled != 0 || stuck || broken; }
};

// With `trace` it tells what happens on standard error.
Outcome RunSeed(uint64_t seed, Mutant mutant, bool trace);

}  // namespace weir::simulation
