// Every bin of every window is what a naive model says, for random series, clients
// and schedules (schedule.h), in memory.
//
//   WEIR_TEST_SEED=7 window_property_test                       the same cases again
//   WEIR_TEST_SEED=7 WEIR_TEST_CASE=123 window_property_test    one of them alone
#include <gtest/gtest.h>

#include "common/testing/memory_store.h"
#include "tests/property/cases.h"

namespace weir::property {
namespace {

TEST(WindowPropertyTest, EveryBinOfEveryWindowIsTheModels) {
  const Tally tally = RunCases(
      {.cases = WEIR_PROPERTY_CASES, .shortening_runs = 3000},
      [](const store::StoreOptions& options) { return test::MemoryStore::Create(options); });
  ExpectEverythingHappened(tally);
}

}  // namespace
}  // namespace weir::property
