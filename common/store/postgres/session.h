// One connection to PostgreSQL and at most one transaction on it. Everything
// that throws is behind this class; what comes out are statuses, by SQLSTATE:
//
//   22* 23*            InvalidArgument     a row is refused for what it is
//   28* 3D* 3F* 42*    FailedPrecondition  role, database or schema
//   anything else, or a connection that is gone: Unavailable, and the connection
//   is dropped. What it was doing may have happened or not, or may still be
//   happening; the caller runs the same transaction again and its compare-and-set
//   decides. An unknown error is never read as "it did not happen".
//
// Thread safety: one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/store/migrate.h"
#include "common/store/postgres/pqxx_compat.h"

namespace weir::store {

struct PostgresOptions {
  // A libpq connection string or URI; connect_timeout, application_name and
  // tcp_user_timeout are added where it does not say otherwise.
  std::string conninfo;
  // The schema that holds every table of this store; made if it is missing.
  std::string schema = "weir_aggregator";
  // The most snapshots, and so connections besides the writer's, open at once;
  // one more is Unavailable. In [1, 1024].
  int max_snapshot_count = 16;
  // After these the server gives up on a statement, or on waiting for a lock.
  absl::Duration statement_timeout = absl::Seconds(30);
  absl::Duration lock_timeout = absl::Seconds(10);
};

// `name` as an SQL identifier, quotes included.
std::string QuoteIdentifier(const std::string& name);

class Session : public SchemaSession {
 public:
  explicit Session(const PostgresOptions& options) : options_(options) {}
  ~Session() override;

  // Begins a READ COMMITTED transaction; connects first where needed.
  absl::Status Begin() override { return BeginWith(""); }
  // REPEATABLE READ READ ONLY: sees one moment.
  absl::Status BeginSnapshot() { return BeginWith(" ISOLATION LEVEL REPEATABLE READ READ ONLY"); }
  absl::Status Commit() override;
  void Rollback() override;

  absl::Status Execute(const std::string& sql) override;
  absl::StatusOr<std::vector<std::vector<std::string>>> Query(const std::string& sql) override;
  absl::StatusOr<pqxx::result> Exec(const std::string& sql,
                                    const std::vector<std::string>& params = {});
  // Calls `write` with an open COPY into `table`.
  absl::Status Copy(const std::string& table, const std::vector<std::string>& columns,
                    absl::FunctionRef<void(CopyWriter*)> write);

  // As the server spells it, 150004; 0 before the first connection.
  int server_version() const { return server_version_; }
  bool connected() const { return connection_ != nullptr; }
  void Disconnect();

 private:
  absl::Status ConnectIfNeeded();
  absl::Status BeginWith(const std::string& mode);
  // Runs `body` and translates what it throws.
  absl::Status Guard(const std::string& what, absl::FunctionRef<void()> body);

  const PostgresOptions options_;
  std::unique_ptr<pqxx::connection> connection_;
  // What the server says beside its answers is not for our standard error.
  std::unique_ptr<pqxx::quiet_errorhandler> quiet_;
  std::unique_ptr<pqxx::nontransaction> tx_;  // while between Begin and its end
  std::string begin_settings_;
  int server_version_ = 0;
};

}  // namespace weir::store
