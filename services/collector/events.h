// What the collector counts and says of itself. Each event is a function.
//
// Thread safety: thread-safe.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/telemetry/events.h"
#include "common/telemetry/metrics.h"
#include "services/collector/admission.h"
#include "services/collector/session_core.h"

namespace weir::collector {

class Events : public telemetry::Events {
 public:
  Events(telemetry::Registry& registry, Clock& clock);

  // `protocol`: "push", "stream", "otlp" or "remote_write". The counter of samples taken in, for
  // a caller to keep: it is raised per batch.
  telemetry::Counter& AcceptedBy(std::string_view protocol);
  // Counts, and logs one line a minute per reason: the first message, and how many
  // samples there were since the line before.
  void Rejected(std::string_view protocol, const Rejections& rejections);
  void Refused(std::string_view protocol, SubmitResult result);
  void Duplicate(std::string_view protocol);
  // Samples that were taken and are not kept, since another replica sends the same.
  void Deduplicated(std::string_view protocol, int64_t samples);
  // A replica is listened to in place of another, which was silent.
  void ReplicaTakenOver(std::string_view cluster, std::string_view replica);
  void GroupCommitted(int64_t samples, absl::Duration write, absl::Duration sync);
  // One more series past the limit is summed up in an overflow series. `metric`
  // is of a bounded set.
  void SeriesOverflowed(const std::string& metric);
  void TrimFailed(const absl::Status& why);
  void DeliveryProblem(const absl::Status& what);
  void DeliveryConnected(const std::string& target);
  void DeliveryClosed(const std::string& target, const absl::Status& why);

  telemetry::Registry& metrics() { return registry(); }

 private:
  // What is logged of one reason for rejections.
  struct RejectionLog {
    absl::Time next_line = absl::InfinitePast();
    int64_t unlogged_count = 0;
  };

  Clock& clock_;
  telemetry::EventSource delivery_problems_;
  telemetry::EventSource delivery_connections_;
  telemetry::EventSource delivery_closes_;
  telemetry::EventSource trim_failures_;
  telemetry::EventSource overflows_;
  telemetry::EventSource takeovers_;
  telemetry::Counter& groups_;
  telemetry::Histogram& group_samples_;
  telemetry::Histogram& write_seconds_;
  telemetry::Histogram& sync_seconds_;

  Mutex mu_;
  std::map<Reject, RejectionLog> rejection_logs_ ABSL_GUARDED_BY(mu_);
};

// "name_invalid", "time_too_old", ...: the label of our metrics.
std::string_view RejectName(Reject reason);
// "overloaded", "log_full", "rewind", "too_many_sessions".
std::string_view RefusalName(SubmitResult result);

}  // namespace weir::collector
