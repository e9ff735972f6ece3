// OTLP over gRPC: opentelemetry.proto.collector.metrics.v1.MetricsService.
//
// Thread safety: thread-safe.
#pragma once

#include "common/rpc/server.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.grpc.pb.h"
#include "services/collector/otlp_intake.h"

namespace weir::collector {

class OtlpMetricsService final
    : public otlp::MetricsService::WithRawCallbackMethod_Export<otlp::MetricsService::Service> {
 public:
  // Both outlive it.
  OtlpMetricsService(AckRouter& router, OtlpIntake& intake) : router_(router), intake_(intake) {}

  void Register(rpc::Server& server);

  grpc::ServerUnaryReactor* Export(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;

 private:
  AckRouter& router_;
  OtlpIntake& intake_;
};

}  // namespace weir::collector
