// OTLP metrics, whatever carries them: gRPC's Export and HTTP's POST /v1/metrics
// read the bytes, this takes them from there.
//
// OTLP has no request id, and clients send again what they had no answer to. So a
// request is known by its content for ten minutes, in the log like a session: a
// repeat is answered and not counted.
//
// A request is given up before it is parsed when its messages would take more
// memory than all requests together may: a few bytes on the wire become a hundred
// in memory.
//
// Thread safety: thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb.h"
#include "services/collector/delta_overlaps.h"
#include "services/collector/intake.h"
#include "services/collector/pending_answer.h"

namespace weir::collector {

namespace otlp = opentelemetry::proto::collector::metrics::v1;

// What requests being parsed may take together.
class ParseBudget {
 public:
  explicit ParseBudget(int64_t bytes) : bytes_(bytes), left_(bytes) {}

  // Returns what was taken when it is destroyed.
  class Share {
   public:
    Share(ParseBudget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}
    ~Share() {
      if (budget_ != nullptr) budget_->left_ += bytes_;
    }
    Share(Share&& other) noexcept : budget_(other.budget_), bytes_(other.bytes_) {
      other.budget_ = nullptr;
    }
    Share& operator=(Share&&) = delete;

   private:
    ParseBudget* budget_;
    const int64_t bytes_;
  };

  // Errors: ResourceExhausted (MESSAGE_TOO_LARGE) for more than there ever is,
  // Unavailable (OVERLOADED) with a delay for more than there is now.
  absl::StatusOr<Share> Take(int64_t bytes);

 private:
  const int64_t bytes_;
  std::atomic<int64_t> left_;
};

class OtlpIntake {
 public:
  explicit OtlpIntake(const Intake& intake);

  // Each takes a request of these plain bytes.
  void Take(std::string_view bytes, PendingAnswer& answer);
  void TakeJson(std::string_view json, PendingAnswer& answer);

 private:
  using Request = otlp::ExportMetricsServiceRequest;
  void TakeParsed(std::string_view bytes, int64_t parsed_bytes,
                  absl::FunctionRef<absl::Status(Request*)> parse, PendingAnswer& answer);

  const Intake intake_;
  telemetry::Counter& accepted_;
  telemetry::Counter& overlapping_;
  telemetry::Counter& client_overflow_;
  DeltaOverlaps overlaps_;
  ParseBudget budget_;
};

}  // namespace weir::collector
