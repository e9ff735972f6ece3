// Prometheus' remote write, 1.0 and 2.0: POST /api/v1/write, protobuf in a block of
// snappy. The content type says which:
//
//   application/x-protobuf                                          1.0
//   application/x-protobuf;proto=prometheus.WriteRequest            1.0
//   application/x-protobuf;proto=io.prometheus.write.v2.Request     2.0
//
// Answers, whose text is one line that Prometheus logs, and whose headers
// X-Prometheus-Remote-Write-...-Written say how much is written:
//
//   204  everything is taken, and safe
//   400  bad data, not to be sent again: all of it, or some samples, whose neighbours
//        are safe
//   413  more than 64 MiB, or too much in memory: send less at once
//   415  another content type or encoding
//   429, 503  for now; Retry-After says how long
//
// Thread safety: thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "services/collector/ack_router.h"
#include "services/collector/http_server.h"
#include "services/collector/remote_write_intake.h"

namespace weir::collector {

class RemoteWriteHttp final : public HttpHandler {
 public:
  // Takes plain bytes and answers, now or later; RemoteWriteIntake's Take.
  using Intake =
      std::function<void(RemoteWriteVersion version, std::string_view bytes, PendingWrite& answer)>;

  // `router` outlives it, and every call.
  RemoteWriteHttp(AckRouter& router, Intake intake) : router_(router), intake_(std::move(intake)) {}

  // HttpHandler
  absl::Status Check(const HttpHead& head) override;
  void Take(std::shared_ptr<HttpCall> call) override;
  HttpResponse Failure(const HttpHead& head, const absl::Status& status) override;

 private:
  AckRouter& router_;
  const Intake intake_;
};

}  // namespace weir::collector
