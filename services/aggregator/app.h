// The aggregator: every long-lived object and its order of life.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/alias/alias_table.h"
#include "common/base/clock.h"
#include "common/model/tier.h"
#include "common/rpc/server.h"
#include "common/store/store.h"
#include "common/telemetry/ops_server.h"
#include "services/aggregator/config.h"
#include "services/aggregator/delivery_service.h"
#include "services/aggregator/events.h"
#include "services/aggregator/query_service.h"

namespace weir::aggregator {

class App {
 public:
  // `registry` may be shared with other services of the process; it and `clock`
  // outlive the App.
  App(Config config, Clock& clock, telemetry::Registry& registry);
  ~App();

  // Opens the store, trying again while it is not there, then serves.
  // Errors: Cancelled when a shutdown signal came while it waited.
  absl::Status Start();

  // Commits what was received, then ends. Idempotent.
  void Stop(absl::Time deadline);

  // The i-th address served, with the port bound.
  std::string address(size_t i = 0) const { return server_->address(i); }
  // OK once the slots are claimed, until it stops or another aggregator has taken
  // them: what /healthz and grpc.health.v1 say. Thread-safe.
  absl::Status Health() const;
  // 1 when it ended because another aggregator took over.
  int exit_status() const { return fenced_ ? 1 : 0; }

 private:
  absl::StatusOr<std::unique_ptr<store::Store>> OpenStore();
  void AddMetrics();

  const Config config_;
  const TierTable tiers_ = TierTable::Default();
  Clock& clock_;
  telemetry::Registry& registry_;
  Events events_;
  std::atomic<bool> fenced_{false};
  std::atomic<bool> stopping_{false};
  bool serving_ = false;  // the server was started
  bool stopped_ = false;

  // In the order they are made; they end in reverse.
  AliasTable aliases_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<DeliveryService> delivery_;
  std::unique_ptr<QueryService> query_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<telemetry::OpsServer> ops_;
};

}  // namespace weir::aggregator
