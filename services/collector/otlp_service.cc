#include "services/collector/otlp_service.h"

#include <string>

#include "common/rpc/buffer.h"
#include "services/collector/unary_call.h"

namespace weir::collector {

void OtlpMetricsService::Register(rpc::Server& server) {
  server.AddService(this, std::string(otlp::MetricsService::service_full_name()));
}

grpc::ServerUnaryReactor* OtlpMetricsService::Export(grpc::CallbackServerContext*,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  const std::shared_ptr<UnaryCall> call = UnaryCall::Create(router_, response);
  std::string bytes;
  if (const absl::Status read = rpc::ReadPlain(*request, &bytes); !read.ok()) {
    call->Fail(read);
  } else {
    intake_.Take(bytes, *call);
  }
  return call.get();
}

}  // namespace weir::collector
