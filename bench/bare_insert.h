// What a database can do with the rows of a flush when nothing but inserting
// them is asked of it: a prepared statement in one transaction (SQLite), COPY on
// a bare connection (PostgreSQL). No compare-and-set, no watermark, no series, no
// routing. The flush is told as a share of this.
//
// The tables are those the store's own migrations make, and the transaction is
// as durable as the store's, so that only the work around the rows differs.
//
// Thread safety: thread-compatible.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/store/store.h"

namespace weir::bench {

class BareInsert {
 public:
  virtual ~BareInsert() = default;

  // Inserts the rows, all of tier 0, in one transaction.
  virtual absl::Status Insert(const std::vector<store::PartialRow>& rows,
                              int64_t commit_number) = 0;
};

// REQUIRES: the store's schema is in the file, or in the PostgreSQL schema named.
absl::StatusOr<std::unique_ptr<BareInsert>> OpenBareSqlite(const std::string& path);
absl::StatusOr<std::unique_ptr<BareInsert>> OpenBarePostgres(const std::string& conninfo,
                                                             const std::string& schema);

}  // namespace weir::bench
