#include "services/standalone/run.h"

#include <cstdio>

#include "absl/strings/str_replace.h"
#include "common/base/allocator.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/shutdown_signal.h"
#include "common/base/strings.h"
#include "common/config/loader.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/ops_server.h"
#include "services/aggregator/app.h"
#include "services/collector/app.h"

namespace weir::standalone {
namespace {

using telemetry::Level;
using telemetry::Log;

// The longest path a unix socket may have, with its final NUL.
constexpr size_t kMaxSocketPathBytes = 108;

struct Config {
  // Where everything is kept: the log, the store, the socket between the two.
  std::string data_dir = "data";
  std::vector<std::string> listen = {"127.0.0.1:4317"};
  std::vector<std::string> http_listen = {"127.0.0.1:4318"};
  std::vector<std::string> query_listen = {"127.0.0.1:7102"};
  std::string ops_listen = "127.0.0.1:7171";
  // Empty: SQLite in data_dir.
  std::string store_url;
  bool insecure = false;
  absl::Duration silent_after = absl::Seconds(60);
  // As the collector's.
  bool aliases_enabled = true;
  std::string aliases_file;
  absl::Duration remote_write_failover_after = collector::Config().remote_write_failover_after;
  std::string log_level = "info";

  void Bind(config::Loader& loader) {
    loader.Add("data_dir", &data_dir, {.help = "Where everything is kept."});
    loader.Add(
        "listen", &listen,
        {.help = "Addresses for samples: gRPC and OTLP; port 0 lets the kernel choose.", .min = 1});
    loader.Add(
        "http_listen", &http_listen,
        {.help = "Addresses for OTLP over HTTP and Prometheus remote write; empty for none."});
    loader.Add("query_listen", &query_listen, {.help = "Addresses for queries.", .min = 1});
    loader.Add("ops_listen", &ops_listen,
               {.help = "Address of /metrics and /healthz; empty for none."});
    loader.Add(
        "store.url", &store_url,
        {.help = "sqlite:PATH or postgresql://...; empty is SQLite in data_dir.", .secret = true});
    loader.Add("insecure", &insecure,
               {.help = "Allows listening where other machines can connect, in plain text."});
    loader.Add("silent_after", &silent_after,
               {.help = "A collector not heard for this long is listed as missing.", .min = 1});
    loader.Add("aliases.enabled", &aliases_enabled,
               {.help = "Renames engines' metrics to canonical ones, in their units."});
    loader.Add("aliases.file", &aliases_file, {.help = "Aliases beside those shipped, as YAML."});
    loader.Add(
        "remote_write.failover_after", &remote_write_failover_after,
        {.help = "How long the elected replica of a Prometheus pair may be silent.", .min = 1});
    loader.Add("log_level", &log_level,
               {.help = "The least severe lines logged.",
                .choices = {"debug", "info", "warning", "error"}});
  }
};

// What a newcomer types next, with the addresses bound.
void PrintNextSteps(const std::string& ingest, const std::vector<std::string>& http,
                    const std::string& query, int ops_port) {
  std::string text = R"(
weir is running. Send a sample:
  grpcurl -plaintext -d '{"samples": [{"name": "ttft_seconds", "kind": "KIND_DISTRIBUTION",
    "labels": {"model": "gpt-5"}, "value": 0.31}]}' INGEST weir.v1.IngestService/Push
and, a second later, read its window:
  grpcurl -plaintext -d '{"window": "5m", "name": "ttft_seconds", "quantiles": [0.5, 0.99]}' \
    QUERY weir.v1.QueryService/QueryWindow
OpenTelemetry SDKs send to http://INGEST (OTLP over gRPC)OTLP_HTTP.REMOTE_WRITE
More load: weir load --target INGEST
)";
  const std::string otlp = http.empty() ? "" : StrCat(" or http://", http.front(), " (HTTP)");
  const std::string remote_write = http.empty() ? ""
                                                : StrCat("\nPrometheus remote-writes to http://",
                                                         http.front(), "/api/v1/write.");
  absl::StrReplaceAll(
      {{"INGEST", ingest}, {"QUERY", query}, {"OTLP_HTTP", otlp}, {"REMOTE_WRITE", remote_write}},
      &text);
  if (ops_port != 0) {
    text += "Metrics of weir itself: http://127.0.0.1:" + std::to_string(ops_port) + "/metrics\n";
  }
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

}  // namespace

int Run(const std::vector<std::string>& arguments) {
  KeepFreedMemory();
  BlockShutdownSignals();
  Config config;
  config::Loader loader("weir run", "Collector and aggregator in one process.");
  config.Bind(loader);
  if (const auto exit = loader.LoadOrReport(arguments); exit.has_value()) return *exit;
  telemetry::SetLogLevel(*telemetry::LevelFromName(config.log_level));
  Clock& clock = Clock::System();
  telemetry::Registry registry;
  telemetry::AddProcessMetrics(registry, "weir");

  if (const absl::Status made = CreateDirectoriesDurably(PosixFileSystem(), config.data_dir);
      !made.ok()) {
    Log(Level::kError, "weir", "cannot start", {{"error", made}});
    return 1;
  }
  // Before anything else: a second process on the same directory would take the
  // first one's slots.
  const auto lock = PosixFileSystem().Lock(config.data_dir + "/LOCK");
  if (!lock.ok()) {
    Log(Level::kError, "weir", "cannot start", {{"error", lock.status()}});
    return 1;
  }
  aggregator::Config aggregator_config;
  aggregator_config.listen = config.query_listen;
  const std::string socket = config.data_dir + "/aggregator.sock";
  const bool over_socket = socket.size() < kMaxSocketPathBytes;
  if (over_socket) aggregator_config.listen.push_back("unix:" + socket);
  aggregator_config.ops_listen = "";
  aggregator_config.insecure = config.insecure;
  aggregator_config.silent_after = config.silent_after;
  aggregator_config.aliases_file = config.aliases_file;
  aggregator_config.store_url =
      config.store_url.empty() ? "sqlite:" + config.data_dir + "/aggregator.db" : config.store_url;
  aggregator::App aggregator(aggregator_config, clock, registry);
  if (const absl::Status started = aggregator.Start(); !started.ok()) {
    Log(Level::kError, "weir", "cannot start the aggregator", {{"error", started}});
    return 1;
  }

  collector::Config collector_config;
  collector_config.listen = config.listen;
  collector_config.http_listen = config.http_listen;
  collector_config.ops_listen = "";
  collector_config.insecure = config.insecure;
  collector_config.aliases_enabled = config.aliases_enabled;
  collector_config.aliases_file = config.aliases_file;
  collector_config.remote_write_failover_after = config.remote_write_failover_after;
  collector_config.wal_directory = config.data_dir + "/wal";
  collector_config.aggregator_address = over_socket ? "unix:" + socket : aggregator.address(0);
  collector::App collector(collector_config, clock, registry);
  if (const absl::Status started = collector.Start(); !started.ok()) {
    Log(Level::kError, "weir", "cannot start the collector", {{"error", started}});
    return 1;
  }
  std::unique_ptr<telemetry::OpsServer> ops;
  if (!config.ops_listen.empty()) {
    auto started = telemetry::OpsServer::Start(
        {.listen_address = config.ops_listen, .service = "weir"}, registry, [&] {
          const absl::Status health = collector.Health();
          return health.ok() ? aggregator.Health() : health;
        });
    if (!started.ok()) {
      Log(Level::kError, "weir", "cannot start", {{"error", started.status()}});
      return 1;
    }
    ops = *std::move(started);
    Log(Level::kInfo, "weir", "serving",
        {{"service", "ops"}, {"address", StrCat("127.0.0.1:", ops->port())}});
  }
  PrintNextSteps(collector.address(0), collector.http_addresses(), aggregator.address(0),
                 ops == nullptr ? 0 : ops->port());

  WaitForShutdownSignal();
  Log(Level::kInfo, "weir", "stopping");
  ops.reset();  // its metrics read what stops now
  collector.Stop(clock.Now() + absl::Seconds(5));
  aggregator.Stop(clock.Now() + absl::Seconds(10));
  Log(Level::kInfo, "weir", "stopped");
  return aggregator.exit_status();
}

}  // namespace weir::standalone
