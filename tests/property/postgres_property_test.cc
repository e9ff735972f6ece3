// The cases of window_property_test.cc in PostgreSQL, each in a schema of its own.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/store/postgres/postgres_store.h"
#include "common/testing/postgres_server.h"
#include "tests/property/cases.h"

namespace weir::property {
namespace {

TEST(PostgresPropertyTest, EveryBinOfEveryWindowIsTheModels) {
  // It is not killed here, so nothing needs to be on its disk.
  const auto server = test::PostgresServer::Start({.fsync = false});
  ASSERT_TRUE(server.ok()) << server.status();
  int count = 0;
  const Tally tally = RunCases(
      {.cases = WEIR_PROPERTY_CASES, .shortening_runs = 20},
      [&](const store::StoreOptions& options) {
        return store::PostgresStore::Open(
            {.conninfo = (*server)->conninfo(), .schema = absl::StrCat("property_", ++count)},
            options);
      });
  ExpectEverythingHappened(tally);
}

}  // namespace
}  // namespace weir::property
