#include "services/collector/config.h"

namespace weir::collector {

using config::Unit;

void Config::Bind(config::Loader& loader) {
  loader.Add(
      "listen", &listen,
      {.help = "Addresses for gRPC clients and OTLP; port 0 lets the kernel choose.", .min = 1});
  loader.Add("http_listen", &http_listen,
             {.help = "Addresses for OTLP over HTTP and Prometheus remote write; empty for none."});
  loader.Add("ops_listen", &ops_listen,
             {.help = "Address of /metrics and /healthz; empty for none."});
  loader.Add("insecure", &insecure,
             {.help = "Allows listening where other machines can connect, in plain text."});
  loader.Add("wal.directory", &wal_directory,
             {.help = "Where the log is kept; one collector per directory."});
  loader.Add("wal.quota_bytes", &wal_quota_bytes,
             {.help = "The most the log may take; batches are refused from nine tenths on.",
              .unit = Unit::kBytes,
              .min = 1 << 20});
  loader.Add("wal.segment_bytes", &wal_segment_bytes,
             {.help = "When a new segment is started; the unit of trimming.",
              .unit = Unit::kBytes,
              .min = 4 << 10,
              .max = 1 << 30});
  loader.Add("aggregator.address", &aggregator_address,
             {.help = "Where the aggregator is: host:port or unix:/path."});
  loader.Add(
      "slot_count", &slot_count,
      {.help = "How series are divided; fixed when the store is created.", .min = 1, .max = 1024});
  loader.Add("session_idle", &session_idle,
             {.help = "How long an idle session's retries are recognised.", .min = 60});
  loader.Add("key_idle", &key_idle,
             {.help = "How long an idempotency key of Push is recognised.", .min = 1});
  loader.Add(
      "max_sessions", &max_sessions,
      {.help = "Sessions and keys remembered; more are refused.", .min = 1, .max = 1'500'000});
  loader.Add("max_series", &max_series,
             {.help = "Series remembered; later ones are summed up in overflow series.",
              .min = 1,
              .max = 1 << 25});
  loader.Add("max_queued_bytes", &max_queued_bytes,
             {.help = "What may wait for the log before batches are refused.",
              .unit = Unit::kBytes,
              .min = 1 << 16});
  loader.Add("max_future", &max_future,
             {.help = "How far ahead of this clock an event time may be.", .min = 0});
  loader.Add("max_age", &max_age,
             {.help = "How old an event time may be; the longest retention is 400 days.",
              .min = 1,
              .max = 400.0 * 86400});
  loader.Add("aliases.enabled", &aliases_enabled,
             {.help = "Renames engines' metrics to canonical ones, in their units."});
  loader.Add("aliases.file", &aliases_file,
             {.help = "Aliases beside those shipped, as YAML; give the aggregator the same."});
  loader.Add(
      "remote_write.failover_after", &remote_write_failover_after,
      {.help = "How long the elected replica of a Prometheus pair may be silent.", .min = 1});
  loader.Add(
      "log_level", &log_level,
      {.help = "The least severe lines logged.", .choices = {"debug", "info", "warning", "error"}});
}

Limits Config::limits() const { return {.max_future = max_future, .max_age = max_age}; }

SessionLimits Config::session_limits() const {
  return {.lifetimes = {.session = session_idle, .key = key_idle},
          .max_sessions = max_sessions,
          .max_queued_bytes = max_queued_bytes};
}

}  // namespace weir::collector
