// A PostgreSQL server of a test's own: a fresh cluster in a temporary folder,
// reached over a unix socket only, gone when the object is.
//
// The binaries are those of the distribution (/usr/lib/postgresql/*/bin, the
// newest, or $WEIR_POSTGRES_BIN). When the test runs as root the server runs as
// `postgres`, or `nobody`, since it refuses root.
//
// Thread safety: thread-compatible. Made and destroyed on a thread that outlives
// the server: the kernel ends the server when that thread ends.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace weir::test {

class PostgresServer {
 public:
  struct Options {
    // Off only for tests that never kill the server.
    bool fsync = true;
  };

  // Makes the cluster and starts the server; it accepts connections on return.
  //
  // Errors: FailedPrecondition when there are no binaries, with the package's
  // name; Internal with the server's own words when it does not start.
  static absl::StatusOr<std::unique_ptr<PostgresServer>> Start(Options options);
  static absl::StatusOr<std::unique_ptr<PostgresServer>> Start() { return Start(Options()); }
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  // For the database `postgres`, or one made by CreateDatabase.
  std::string conninfo(const std::string& database = "postgres") const;
  absl::Status CreateDatabase(const std::string& name);

  // Waits for the server to end (a fast shutdown: sessions are cut off).
  void Stop();
  // kill -9 of the server and its processes, as a crash of the machine's
  // software would.
  void Kill();
  // Starts it again after Stop or Kill; recovery has finished on return.
  absl::Status Restart();

  bool running() const { return pid_ > 0; }
  // 15 or 17.
  int major_version() const { return major_version_; }

 private:
  PostgresServer(Options options, std::string bin, std::string directory);
  absl::Status Initialize();
  absl::Status Launch();

  const Options options_;
  const std::string bin_;        // the folder of the executables
  const std::string directory_;  // holds data/, log and the socket
  int major_version_ = 0;
  pid_t pid_ = -1;
};

}  // namespace weir::test
