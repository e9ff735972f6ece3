// Every setting of the aggregator.
//
// Thread safety: a value, thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/config/loader.h"
#include "services/aggregator/core.h"

namespace weir::aggregator {

struct Config {
  // Addresses for gRPC: QueryService and delivery. Port 0 lets the kernel choose.
  std::vector<std::string> listen = {"127.0.0.1:7102"};
  // Address for /metrics and /healthz; empty for none.
  std::string ops_listen = "127.0.0.1:7172";
  // Allows listening on addresses other machines can reach, in plain text.
  bool insecure = false;

  // "sqlite:PATH", or a PostgreSQL URI, "postgresql://user:password@host/database".
  std::string store_url = "sqlite:data/aggregator.db";
  // The PostgreSQL schema that holds the tables.
  std::string store_schema = "weir_aggregator";
  // How long to try to open the store when it is not there yet.
  absl::Duration store_open_timeout = absl::Seconds(60);
  // How series are divided; fixed when the store is created. In [1, 1024].
  int slot_count = 16;

  absl::Duration flush_interval = absl::Seconds(1);
  absl::Duration max_flush_interval = absl::Seconds(10);
  int64_t flush_memory_bytes = int64_t{256} << 20;
  int64_t window_bytes = int64_t{32} << 20;
  absl::Duration derive_delay = absl::Seconds(5);
  absl::Duration silent_after = absl::Seconds(60);
  int64_t max_series_per_tenant = 1'000'000;
  int64_t max_series_per_metric = 100'000;
  int query_threads = 2;
  // The table whose units ListSeries answers, as the collectors have it; empty for
  // the one that is shipped.
  std::string aliases_file;

  std::string log_level = "info";

  // Binds every field to its key.
  void Bind(config::Loader& loader);
  CoreOptions core_options() const;
};

}  // namespace weir::aggregator
