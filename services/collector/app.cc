#include "services/collector/app.h"

#include <unistd.h>

#include "absl/random/random.h"
#include "common/alias/alias_file.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"
#include "common/telemetry/log.h"

namespace weir::collector {
namespace {

using telemetry::Level;
using telemetry::Log;

// Who we are in the aggregator's logs.
std::string NameOf(const Config& config) {
  char host[256] = "?";
  gethostname(host, sizeof host - 1);
  return StrCat(host, ":", config.wal_directory);
}

WalId RandomWalId() {
  absl::BitGen random;
  return {.high = absl::Uniform<uint64_t>(random), .low = absl::Uniform<uint64_t>(random)};
}

}  // namespace

App::App(Config config, Clock& clock, telemetry::Registry& registry)
    : config_(std::move(config)),
      limits_(config_.limits()),
      clock_(clock),
      registry_(registry),
      events_(registry, clock) {}

App::~App() { Stop(clock_.Now()); }

absl::Status App::Start() {
  FileSystem& files = PosixFileSystem();
  const absl::Time start = clock_.Now();
  WEIR_RETURN_IF_ERROR(CreateDirectoriesDurably(files, config_.wal_directory));
  if (config_.aliases_enabled) {
    WEIR_ASSIGN_OR_RETURN(aliases_, LoadAliases(config_.aliases_file));
  }
  limits_.value_rules = aliases_.value_rules();
  series_ = std::make_unique<SeriesTable>(
      config_.slot_count, config_.max_series,
      [this](const std::string& metric) { events_.SeriesOverflowed(metric); }, &aliases_);
  WEIR_ASSIGN_OR_RETURN(
      log_, wal::Wal::Open({.directory = config_.wal_directory,
                            .new_id = RandomWalId(),
                            .application_tag = StrCat("slots=", config_.slot_count),
                            .segment_bytes = static_cast<uint64_t>(config_.wal_segment_bytes),
                            .quota_bytes = static_cast<uint64_t>(config_.wal_quota_bytes)},
                           files));
  WEIR_ASSIGN_OR_RETURN(
      writer_, LogWriter::Open(*log_, *series_, config_.session_limits().lifetimes, Mutant::kNone));
  const wal::Recovery& recovery = log_->recovery();
  Log(Level::kInfo, "collector", "log open",
      {{"directory", config_.wal_directory},
       {"wal_id", log_->id().ToHex()},
       {"records", recovery.records},
       {"bytes", recovery.bytes},
       {"torn_bytes", recovery.torn_bytes},
       {"sessions", writer_->recovered().sessions.size()},
       {"took", clock_.Now() - start}});

  pipeline_ = std::make_unique<Pipeline>(GroupCommitOptions{.limits = config_.session_limits(),
                                                            .quota_bytes = config_.wal_quota_bytes},
                                         *log_, *writer_, clock_, *this);
  delivery_ = std::make_unique<DeliveryClient>(
      DeliveryOptions{.target = config_.aggregator_address,
                      .sender = {.slot_count = config_.slot_count, .collector = NameOf(config_)}},
      *log_, writer_->recovered().slot_last, writer_->trimmed_slot_last(), clock_, events_,
      [this](uint64_t lsn) { pipeline_->OnCommitted(lsn); });
  AddMetrics();

  const Intake intake = {.limits = limits_,
                         .series = *series_,
                         .pipeline = *pipeline_,
                         .router = router_,
                         .events = events_,
                         .clock = clock_,
                         .parse_budget = parse_budget_,
                         .stopping = stopping_};
  ingest_ = std::make_unique<IngestService>(intake);
  otlp_intake_ = std::make_unique<OtlpIntake>(intake);
  otlp_ = std::make_unique<OtlpMetricsService>(router_, *otlp_intake_);
  server_ = std::make_unique<rpc::Server>(rpc::ServerOptions{
      .listen_addresses = config_.listen, .insecure = config_.insecure, .health = [this] {
        return Health();
      }});
  ingest_->Register(*server_);
  otlp_->Register(*server_);

  pipeline_->Start();
  delivery_->Start();
  WEIR_RETURN_IF_ERROR(server_->Start());
  for (size_t i = 0; i < config_.listen.size(); ++i) {
    Log(Level::kInfo, "collector", "serving", {{"service", "collector"}, {"address", address(i)}});
  }
  WEIR_RETURN_IF_ERROR(StartHttp(intake));
  if (!config_.ops_listen.empty()) {
    WEIR_ASSIGN_OR_RETURN(
        ops_, telemetry::OpsServer::Start(
                  {.listen_address = config_.ops_listen, .service = "weir-collector"}, registry_,
                  [this] { return Health(); }));
    Log(Level::kInfo, "collector", "serving",
        {{"service", "ops"}, {"address", StrCat("127.0.0.1:", ops_->port())}});
  }
  return absl::OkStatus();
}

absl::Status App::StartHttp(const Intake& intake) {
  if (config_.http_listen.empty()) return absl::OkStatus();
  otlp_http_ = std::make_unique<OtlpHttp>(
      router_,
      [this](std::string_view bytes, PendingAnswer& answer) { otlp_intake_->Take(bytes, answer); },
      [this](std::string_view json, PendingAnswer& answer) {
        otlp_intake_->TakeJson(json, answer);
      });
  remote_write_intake_ = std::make_unique<RemoteWriteIntake>(
      intake, ReplicaElection::Options{.failover_after = config_.remote_write_failover_after});
  remote_write_http_ = std::make_unique<RemoteWriteHttp>(
      router_, [this](RemoteWriteVersion version, std::string_view bytes, PendingWrite& answer) {
        remote_write_intake_->Take(version, bytes, answer);
      });
  http_server_ = std::make_unique<HttpServer>(
      HttpServerOptions{.listen_addresses = config_.http_listen, .insecure = config_.insecure},
      clock_);
  http_server_->AddPost("/v1/metrics", *otlp_http_);
  http_server_->AddPost("/api/v1/write", *remote_write_http_);
  WEIR_RETURN_IF_ERROR(http_server_->Start());
  for (const std::string& address : http_addresses()) {
    Log(Level::kInfo, "collector", "serving", {{"service", "http"}, {"address", address}});
  }
  return absl::OkStatus();
}

std::vector<std::string> App::http_addresses() const {
  std::vector<std::string> addresses;
  for (size_t i = 0; http_server_ != nullptr && i < config_.http_listen.size(); ++i) {
    addresses.push_back(http_server_->address(i));
  }
  return addresses;
}

void App::Stop(absl::Time deadline) {
  if (stopped_) return;
  stopped_ = true;
  stopping_ = true;
  if (server_ != nullptr) server_->Drain();
  // What was taken is made durable and acknowledged while streams are open.
  if (pipeline_ != nullptr) pipeline_->Stop();
  if (http_server_ != nullptr) http_server_->Shutdown(deadline);
  if (server_ != nullptr) server_->Shutdown(deadline);
  if (delivery_ != nullptr) delivery_->Stop();
  if (ops_ != nullptr) ops_->Stop();
}

absl::Status App::Health() const {
  if (stopping_) return absl::UnavailableError("stopping");
  if (pipeline_->log_full()) {
    return absl::ResourceExhaustedError("the log is at its quota: batches are refused");
  }
  return absl::OkStatus();
}

void App::AddMetrics() {
  registry_.AddCallbackGauge("weir_wal_bytes", "Bytes of the log on disk.", {},
                             [this] { return static_cast<double>(log_->bytes()); });
  registry_.AddCallbackGauge("weir_wal_durable_lsn", "The last durable frame.", {},
                             [this] { return static_cast<double>(log_->durable_lsn()); });
  registry_.AddCallbackGauge("weir_wal_committed_lsn", "The last frame committed to the store.", {},
                             [this] { return static_cast<double>(delivery_->committed_lsn()); });
  registry_.AddCallbackGauge("weir_collector_queue_bytes", "Bytes that wait for the log.", {},
                             [this] { return static_cast<double>(pipeline_->queued_bytes()); });
  registry_.AddCallbackGauge("weir_collector_sessions", "Sessions and keys remembered.", {},
                             [this] { return static_cast<double>(pipeline_->session_count()); });
  registry_.AddCallbackGauge("weir_collector_series", "Series remembered.", {},
                             [this] { return static_cast<double>(series_->size()); });
  registry_.AddCallbackGauge("weir_delivery_streaming",
                             "Whether frames are being delivered: 1 or 0.", {},
                             [this] { return delivery_->streaming() ? 1.0 : 0.0; });
  registry_.AddCallbackCounter("weir_delivered_frames_total", "Frames sent to the aggregator.", {},
                               [this] { return static_cast<double>(delivery_->counts().frames); });
  registry_.AddCallbackCounter("weir_delivery_rewinds_total",
                               "Gaps the aggregator reported while streaming.", {},
                               [this] { return static_cast<double>(delivery_->counts().rewinds); });
  registry_.AddCallbackCounter(
      "weir_delivery_rollbacks_total", "Slots whose committed position fell back.", {},
      [this] { return static_cast<double>(delivery_->counts().rollbacks); });
  registry_.AddCallbackCounter("weir_delivery_stalls_total",
                               "Connections given up because nothing was committed.", {},
                               [this] { return static_cast<double>(delivery_->counts().stalls); });
}

void App::Told(const std::vector<Waiter>& waiters) { router_.Dispatch(waiters); }

void App::Durable(const std::vector<uint64_t>& slot_last) { delivery_->Durable(slot_last); }

void App::Trimmed(const std::vector<uint64_t>& trimmed_slot_last) {
  delivery_->Trimmed(trimmed_slot_last);
}

void App::TrimFailed(const absl::Status& why) { events_.TrimFailed(why); }

void App::GroupCommitted(int64_t samples, absl::Duration write, absl::Duration sync) {
  events_.GroupCommitted(samples, write, sync);
}

}  // namespace weir::collector
