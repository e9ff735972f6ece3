// Runs cases until one fails, and shortens that one.
//
// Thread safety: thread-compatible.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "common/store/store.h"
#include "tests/property/pipeline.h"

namespace weir::property {

// A new and empty store; the one before is gone.
using OpenStore =
    std::function<absl::StatusOr<std::unique_ptr<store::Store>>(const store::StoreOptions&)>;

// A case on a slow store is shortened less.
struct Effort {
  int cases = 0;
  int shortening_runs = 0;
};

// Runs the cases of WEIR_TEST_SEED (or a new seed, which is printed), or the
// one that WEIR_TEST_CASE names. Ends at the first that fails with a failure of
// the test that tells the case, what is wrong, how to have it again, and the
// fewest steps found that still fail.
Tally RunCases(Effort effort, const OpenStore& open);

// A test failure for each thing that never happened, unless so few cases ran that
// chance explains it: their silence would prove nothing.
void ExpectEverythingHappened(const Tally& tally);

}  // namespace weir::property
