// OTLP's way in: opentelemetry.proto.collector.metrics.v1.MetricsService.
//
// Labels of a series are the point's attributes, then the resource's where the
// point has none of that name, then `otel.scope.name` where the scope has a
// name. Values that are not text are written as JSON writes them.
//
// Taken are gauges, and sums with delta temporality; other points are rejected
// one by one with METRIC_UNSUPPORTED. OTLP has no request id, so a request that
// is sent again after a lost answer counts again.
//
// Thread safety: thread-safe.
#pragma once

#include "common/rpc/server.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.grpc.pb.h"
#include "services/collector/intake.h"

namespace weir::collector {

namespace otlp = opentelemetry::proto::collector::metrics::v1;

class OtlpMetricsService final
    : public otlp::MetricsService::WithRawCallbackMethod_Export<otlp::MetricsService::Service> {
 public:
  explicit OtlpMetricsService(Intake intake)
      : intake_(intake), accepted_(intake.events.AcceptedBy("otlp")) {}

  void Register(rpc::Server& server);

  grpc::ServerUnaryReactor* Export(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;

 private:
  const Intake intake_;
  telemetry::Counter& accepted_;
};

}  // namespace weir::collector
