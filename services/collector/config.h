// Every setting of the collector.
//
// Thread safety: a value, thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/config/loader.h"
#include "services/collector/admission.h"
#include "services/collector/session_core.h"

namespace weir::collector {

struct Config {
  // Addresses for gRPC: IngestService and OTLP. Port 0 lets the kernel choose.
  std::vector<std::string> listen = {"127.0.0.1:4317"};
  // Addresses for OTLP over HTTP and Prometheus remote write; none for no HTTP.
  std::vector<std::string> http_listen = {"127.0.0.1:4318"};
  // Address for /metrics and /healthz; empty for none.
  std::string ops_listen = "127.0.0.1:7171";
  // Allows listening on addresses other machines can reach, in plain text.
  bool insecure = false;

  // Where the log is kept. One collector per directory.
  std::string wal_directory = "data/wal";
  // The most bytes the log may take. Batches are refused from nine tenths on.
  int64_t wal_quota_bytes = int64_t{8} << 30;
  // When a new segment is started; a segment is the unit of trimming.
  int64_t wal_segment_bytes = int64_t{64} << 20;

  // Where the aggregator is: "127.0.0.1:7102" or "unix:/path".
  std::string aggregator_address = "127.0.0.1:7102";
  // How series are divided; must be the store's. In [1, 1024].
  int slot_count = 16;

  // How long an idle session's retries are recognised.
  absl::Duration session_idle = absl::Hours(24);
  // How long an idempotency key of Push is.
  absl::Duration key_idle = absl::Hours(1);
  int64_t max_sessions = 1'000'000;
  // Series this process remembers; later ones go to overflow series.
  int64_t max_series = 1'000'000;
  // What may wait for the log.
  int64_t max_queued_bytes = int64_t{64} << 20;
  // How far ahead of our clock an event may be, and how far back.
  absl::Duration max_future = absl::Minutes(10);
  absl::Duration max_age = absl::Hours(400 * 24);

  // Whether engines' own metric names become canonical ones (docs/aliases.md), and a
  // file that adds to the shipped table or replaces it; empty for none.
  bool aliases_enabled = true;
  std::string aliases_file;

  // How long the elected replica of a Prometheus pair may be silent (docs/remote_write.md).
  absl::Duration remote_write_failover_after = absl::Seconds(30);

  std::string log_level = "info";

  // Binds every field to its key.
  void Bind(config::Loader& loader);
  Limits limits() const;
  SessionLimits session_limits() const;
};

}  // namespace weir::collector
