// OTLP metrics, whatever carries them: gRPC's Export and HTTP's POST /v1/metrics
// read the bytes, this takes them from there.
//
// OTLP has no request id, so a request is known by its content (content_intake.h). It is
// given up before it is parsed when its messages would take more memory than all
// requests together may (parse_budget.h).
//
// Thread safety: thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"
#include "services/collector/content_intake.h"
#include "services/collector/delta_overlaps.h"
#include "services/collector/intake.h"
#include "services/collector/otlp_reader.h"
#include "services/collector/pending_answer.h"

namespace weir::collector {

namespace otlp = opentelemetry::proto::collector::metrics::v1;

class OtlpIntake {
 public:
  explicit OtlpIntake(const Intake& intake);

  // Each takes a request of these plain bytes.
  void Take(std::string_view bytes, PendingAnswer& answer);
  void TakeJson(std::string_view json, PendingAnswer& answer);

 private:
  // `bytes` are what the client sent, by which a repeat is known.
  void TakeParsed(std::string_view bytes, int64_t parsed_bytes,
                  absl::FunctionRef<absl::Status(OtlpReader::Request*)> parse,
                  PendingAnswer& answer);

  ContentIntake intake_;
  telemetry::Counter& overlapping_;
  telemetry::Counter& client_overflow_;
  DeltaOverlaps overlaps_;
  SeriesCache cache_;
};

}  // namespace weir::collector
