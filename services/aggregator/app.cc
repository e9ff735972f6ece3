#include "services/aggregator/app.h"

#include <algorithm>
#include <filesystem>

#include "common/alias/alias_file.h"
#include "common/base/file_system.h"
#include "common/base/shutdown_signal.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/store/postgres/postgres_store.h"
#include "common/store/sqlite/sqlite_store.h"
#include "common/telemetry/log.h"

namespace weir::aggregator {
namespace {

using telemetry::Level;
using telemetry::Log;

constexpr std::string_view kSqlitePrefix = "sqlite:";
// The tenant of requests without a credential, as the collector has it.
constexpr std::string_view kDefaultTenant = "default";

}  // namespace

App::App(Config config, Clock& clock, telemetry::Registry& registry)
    : config_(std::move(config)), clock_(clock), registry_(registry), events_(registry, clock) {}

App::~App() { Stop(clock_.Now()); }

absl::StatusOr<std::unique_ptr<store::Store>> App::OpenStore() {
  const store::StoreOptions options = {
      .slot_count = config_.slot_count, .tiers = tiers_, .created_time = clock_.Now()};
  const std::string& url = config_.store_url;
  if (url.rfind(kSqlitePrefix, 0) == 0) {
    const std::string path = url.substr(kSqlitePrefix.size());
    const std::string directory = std::filesystem::path(path).parent_path().string();
    if (!directory.empty()) {
      WEIR_RETURN_IF_ERROR(CreateDirectoriesDurably(PosixFileSystem(), directory));
    }
    return store::SqliteStore::Open(path, options);
  }
  if (url.rfind("postgresql:", 0) == 0 || url.rfind("postgres:", 0) == 0) {
    return store::PostgresStore::Open({.conninfo = url, .schema = config_.store_schema}, options);
  }
  return absl::InvalidArgumentError(
      "store.url: allowed are sqlite:PATH and postgresql://user:password@host:port/database");
}

absl::Status App::Start() {
  WEIR_ASSIGN_OR_RETURN(aliases_, LoadAliases(config_.aliases_file));
  const absl::Time give_up = clock_.Now() + config_.store_open_timeout;
  absl::Duration delay = absl::Milliseconds(100);
  while (true) {
    absl::StatusOr<std::unique_ptr<store::Store>> opened = OpenStore();
    if (opened.ok()) {
      store_ = *std::move(opened);
      break;
    }
    if (!absl::IsUnavailable(opened.status()) || clock_.Now() + delay > give_up) {
      return opened.status();
    }
    Log(Level::kWarning, "aggregator", "store is not there yet, trying again",
        {{"error", opened.status()}, {"delay", delay}});
    if (WaitForShutdownSignalFor(delay)) {
      return absl::CancelledError("asked to stop while waiting for the store");
    }
    delay = std::min(2 * delay, absl::Seconds(2));
  }

  delivery_ = std::make_unique<DeliveryService>(config_.core_options(), std::string(kDefaultTenant),
                                                *store_, clock_, events_, [this] {
                                                  fenced_ = true;
                                                  RequestShutdown();
                                                });
  QueryServiceOptions query = {.tenant = std::string(kDefaultTenant)};
  query.threads = config_.query_threads;
  query.limits.silent_after = config_.silent_after;
  query.aliases = &aliases_;
  query.usage = [this](const UsageQuery& asked) { return delivery_->Usage(asked); };
  query_ = std::make_unique<QueryService>(query, *store_, tiers_, clock_);
  AddMetrics();

  server_ = std::make_unique<rpc::Server>(rpc::ServerOptions{
      .listen_addresses = config_.listen, .insecure = config_.insecure, .health = [this] {
        return Health();
      }});
  delivery_->Register(*server_);
  server_->AddService(query_.get(), std::string(v1::QueryService::service_full_name()));
  WEIR_RETURN_IF_ERROR(server_->Start());
  serving_ = true;
  delivery_->Start();
  for (size_t i = 0; i < config_.listen.size(); ++i) {
    Log(Level::kInfo, "aggregator", "serving",
        {{"service", "aggregator"}, {"address", address(i)}});
  }
  if (!config_.ops_listen.empty()) {
    WEIR_ASSIGN_OR_RETURN(
        ops_, telemetry::OpsServer::Start(
                  {.listen_address = config_.ops_listen, .service = "weir-aggregator"}, registry_,
                  [this] { return Health(); }));
    Log(Level::kInfo, "aggregator", "serving",
        {{"service", "ops"}, {"address", StrCat("127.0.0.1:", ops_->port())}});
  }
  return absl::OkStatus();
}

void App::Stop(absl::Time deadline) {
  if (stopped_) return;
  stopped_ = true;
  stopping_ = true;
  if (server_ != nullptr) server_->Drain();
  if (serving_ && !delivery_->Drain(deadline)) {
    Log(Level::kWarning, "aggregator",
        "stopping with samples not committed; collectors still have them");
  }
  if (query_ != nullptr) query_->Stop();
  if (ops_ != nullptr) ops_->Stop();
  if (server_ != nullptr) server_->Shutdown(deadline);
  if (delivery_ != nullptr) delivery_->Stop();
}

absl::Status App::Health() const {
  if (stopping_) return absl::UnavailableError("stopping");
  if (fenced_) return absl::UnavailableError("another aggregator has taken the slots");
  if (!delivery_->claimed()) return absl::UnavailableError("the slots are not claimed yet");
  return absl::OkStatus();
}

void App::AddMetrics() {
  const auto counter = [&](std::string_view name, std::string_view help,
                           int64_t CoreCounts::*field) {
    registry_.AddCallbackCounter(
        name, help, {}, [this, field] { return static_cast<double>(delivery_->counts().*field); });
  };
  counter("weir_folded_samples_total", "Samples folded into bins.", &CoreCounts::samples);
  counter("weir_received_frames_total", "Frames received from collectors.", &CoreCounts::frames);
  counter("weir_repeated_ranges_total",
          "Parts of frames skipped because they were applied already.",
          &CoreCounts::repeated_ranges);
  counter("weir_delivery_gaps_total", "Parts of frames that did not follow what was applied.",
          &CoreCounts::gaps);
  counter("weir_flushes_total", "Transactions that committed bins.", &CoreCounts::flushes);
  counter("weir_flush_retries_total", "Store jobs run again.", &CoreCounts::flush_retries);
  counter("weir_indoubt_commits_total", "Commits in doubt that turned out to have happened.",
          &CoreCounts::conflicts_committed);
  counter("weir_flushed_rows_total", "Partial rows written.", &CoreCounts::rows);
  counter("weir_late_rows_total", "Of them, into tiers derived already.", &CoreCounts::late_rows);
  counter("weir_damaged_frames_total", "Frames that did not parse; their stream was ended.",
          &CoreCounts::damaged_ranges);
  counter("weir_cumulative_resets_total", "Running totals that fell and began anew.",
          &CoreCounts::cumulative_resets);
  counter("weir_cumulative_baselines_total",
          "Running totals remembered and not counted: the first of a start that is not known.",
          &CoreCounts::cumulative_baselines);
  counter("weir_cumulative_late_total",
          "Running totals not after the last one of their start: they add nothing.",
          &CoreCounts::cumulative_late);
  counter("weir_cumulative_overlaps_total",
          "Starts of running totals before the last point of another start: two clients share a "
          "series.",
          &CoreCounts::cumulative_overlaps);
  counter("weir_cumulative_overflowed_total",
          "Running totals of series past a limit: what they add cannot be told.",
          &CoreCounts::cumulative_overflowed);
  counter("weir_histogram_parts_late_total",
          "Parts of classic histograms whose scrape was put together already: they add nothing.",
          &CoreCounts::parts_late);
  counter("weir_histogram_parts_refused_total",
          "Parts of classic histograms that have too many: they add nothing.",
          &CoreCounts::parts_refused);
  counter("weir_histogram_scrapes_incomplete_total",
          "Scrapes of classic histograms without a count or a bucket up to +Inf.",
          &CoreCounts::incomplete_scrapes);
  counter("weir_derivations_total", "Steps of derivation of coarser tiers.", &CoreCounts::derives);
  registry_.AddCallbackGauge("weir_aggregator_series", "Series known.", {},
                             [this] { return static_cast<double>(delivery_->series_count()); });
}

}  // namespace weir::aggregator
