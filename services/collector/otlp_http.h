// OTLP over HTTP: POST /v1/metrics with protobuf or JSON, plain or gzip.
//
// Answers have the request's content type: 200 with an ExportMetricsServiceResponse,
// or a google.rpc.Status with the details that gRPC's has, and
//
//   400  bad data: not to be sent again         413  more than 64 MiB, or too much
//   415  another content type or encoding            in memory: send less at once
//   429, 503  for now; Retry-After says how long
//
// Thread safety: thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/collector/ack_router.h"
#include "services/collector/http_server.h"
#include "services/collector/pending_answer.h"

namespace weir::collector {

class OtlpHttp final : public HttpHandler {
 public:
  // Takes plain bytes and answers, now or later; OtlpIntake's Take and TakeJson.
  using Intake = std::function<void(std::string_view bytes, PendingAnswer& answer)>;

  // `router` outlives it, and every call.
  OtlpHttp(AckRouter& router, Intake protobuf, Intake json)
      : router_(router), protobuf_(std::move(protobuf)), json_(std::move(json)) {}

  // HttpHandler
  absl::Status Check(const HttpHead& head) override;
  void Take(std::shared_ptr<HttpCall> call) override;
  HttpResponse Failure(const HttpHead& head, const absl::Status& status) override;

 private:
  AckRouter& router_;
  const Intake protobuf_;
  const Intake json_;
};

// What decoding a JSON text takes in memory, about: texts full of small things take
// many times their length.
// Errors: InvalidArgument (UNDECODABLE) when it is nested more than 100 deep.
absl::StatusOr<int64_t> JsonWeight(std::string_view json);

}  // namespace weir::collector
