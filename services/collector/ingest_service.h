// weir.v1.IngestService: samples from shells and from sessions.
//
// Thread safety: thread-safe.
#pragma once

#include <memory>

#include "common/rpc/server.h"
#include "services/collector/intake.h"
#include "weir/v1/ingest_service.grpc.pb.h"

namespace weir::collector {

class IngestService final
    : public v1::IngestService::WithRawMethod_StreamBatches<
          v1::IngestService::WithRawCallbackMethod_Push<v1::IngestService::Service>> {
 public:
  explicit IngestService(Intake intake)
      : intake_(intake), accepted_(intake.events.AcceptedBy("push")) {}

  // Adds this service, with its stream, to `server`.
  void Register(rpc::Server& server);

  grpc::ServerUnaryReactor* Push(grpc::CallbackServerContext* context,
                                 const grpc::ByteBuffer* request,
                                 grpc::ByteBuffer* response) override;

 private:
  const Intake intake_;
  telemetry::Counter& accepted_;
};

}  // namespace weir::collector
