// The collector: every long-lived object and its order of life.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/rpc/server.h"
#include "common/telemetry/ops_server.h"
#include "services/collector/config.h"
#include "services/collector/delivery_client.h"
#include "services/collector/http_server.h"
#include "services/collector/ingest_service.h"
#include "services/collector/otlp_http.h"
#include "services/collector/otlp_service.h"
#include "services/collector/parse_budget.h"
#include "services/collector/pipeline.h"
#include "services/collector/remote_write_http.h"
#include "services/collector/remote_write_intake.h"

namespace weir::collector {

class App final : public PipelineListener {
 public:
  // `registry` may be shared with other services of the process; it and `clock`
  // outlive the App.
  App(Config config, Clock& clock, telemetry::Registry& registry);
  ~App() override;

  // Recovers the log, then serves.
  absl::Status Start();

  // Refuses new batches, makes what was taken durable and acknowledges it, then
  // ends. What is not committed yet stays in the log. Idempotent.
  void Stop(absl::Time deadline);

  // The i-th address served, with the port bound.
  std::string address(size_t i = 0) const { return server_->address(i); }
  // Likewise over HTTP; none when it is off.
  std::vector<std::string> http_addresses() const;
  // OK while the log takes batches: what /healthz and grpc.health.v1 say. Whether
  // they are delivered does not matter here, since a collector whose aggregator is
  // away still acknowledges, and must keep its traffic; weir_delivery_streaming and
  // the lsns of the log tell. Thread-safe.
  absl::Status Health() const;
  int exit_status() const { return 0; }

 private:
  absl::Status StartHttp(const Intake& intake);
  void AddMetrics();

  // PipelineListener
  void Told(const std::vector<Waiter>& waiters) override;
  void Durable(const std::vector<uint64_t>& slot_last) override;
  void Trimmed(const std::vector<uint64_t>& trimmed_slot_last) override;
  void TrimFailed(const absl::Status& why) override;
  void GroupCommitted(int64_t samples, absl::Duration write, absl::Duration sync) override;

  const Config config_;
  Limits limits_;  // complete once started
  Clock& clock_;
  telemetry::Registry& registry_;
  Events events_;
  std::atomic<bool> stopping_{false};
  bool stopped_ = false;

  // In the order they are made; they end in reverse.
  AckRouter router_;
  ParseBudget parse_budget_;
  AliasTable aliases_;
  std::unique_ptr<SeriesTable> series_;
  std::unique_ptr<wal::Wal> log_;
  std::unique_ptr<LogWriter> writer_;
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<DeliveryClient> delivery_;
  std::unique_ptr<IngestService> ingest_;
  std::unique_ptr<OtlpIntake> otlp_intake_;
  std::unique_ptr<OtlpMetricsService> otlp_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<OtlpHttp> otlp_http_;
  std::unique_ptr<RemoteWriteIntake> remote_write_intake_;
  std::unique_ptr<RemoteWriteHttp> remote_write_http_;
  std::unique_ptr<HttpServer> http_server_;
  std::unique_ptr<telemetry::OpsServer> ops_;
};

}  // namespace weir::collector
