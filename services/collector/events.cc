#include "services/collector/events.h"

#include <utility>

namespace weir::collector {

using telemetry::Level;

namespace {

constexpr absl::Duration kRejectionLogInterval = absl::Minutes(1);
// A message may quote a name that a client made up.
constexpr size_t kMaxLoggedBytes = 256;

}  // namespace

Events::Events(telemetry::Registry& registry, Clock& clock)
    : telemetry::Events(registry, clock, "collector"),
      clock_(clock),
      delivery_problems_(Event("weir_delivery_problems_total",
                               "Faults in delivery that an operator must look at.")),
      delivery_connections_(
          Event("weir_delivery_connections_total", "Delivery streams opened to an aggregator.")),
      delivery_closes_(Event("weir_delivery_closes_total", "Delivery streams that ended.")),
      trim_failures_(Event("weir_trim_failures_total",
                           "Times the log could not be trimmed for want of disk space.")),
      overflows_(Event("weir_collector_overflowed_series_total",
                       "Different series past max_series, summed up in overflow series.", {},
                       absl::Seconds(10))),
      takeovers_(Event("weir_replica_takeovers_total",
                       "Times another replica of a Prometheus pair was elected.", {},
                       absl::Seconds(10))),
      groups_(registry.AddCounter("weir_group_commits_total", "Groups of batches made durable.")),
      group_samples_(registry.AddHistogram("weir_group_samples", "Samples in one group commit.",
                                           telemetry::ExponentialBounds(1, 4, 12))),
      write_seconds_(registry.AddHistogram("weir_wal_write_seconds",
                                           "Time to build and write one group's frames.",
                                           telemetry::LatencyBounds())),
      sync_seconds_(registry.AddHistogram("weir_wal_fsync_seconds",
                                          "Time to make one group's frames durable.",
                                          telemetry::LatencyBounds())) {}

telemetry::Counter& Events::AcceptedBy(std::string_view protocol) {
  return registry().AddCounter("weir_accepted_samples_total", "Samples taken in.",
                               {{"protocol", std::string(protocol)}});
}

void Events::Rejected(std::string_view protocol, const Rejections& rejections) {
  for (const collector::Rejected& rejected : rejections.list()) {
    registry()
        .AddCounter("weir_rejected_samples_total", "Samples rejected, by reason.",
                    {{"protocol", std::string(protocol)},
                     {"reason", std::string(RejectName(rejected.reason))}})
        .Increment(rejected.count);
    int64_t count;
    {
      const absl::Time now = clock_.Now();
      MutexLock lock(&mu_);
      RejectionLog& log = rejection_logs_[rejected.reason];
      log.unlogged_count += rejected.count;
      // A clock that was set back must not silence it.
      if (now < log.next_line && log.next_line - now <= kRejectionLogInterval) continue;
      log.next_line = now + kRejectionLogInterval;
      count = std::exchange(log.unlogged_count, 0);
    }
    telemetry::Log(Level::kWarning, component(), "samples rejected",
                   {{"reason", RejectName(rejected.reason)},
                    {"protocol", protocol},
                    {"count", count},
                    {"first", std::string_view(rejected.message).substr(0, kMaxLoggedBytes)}});
  }
}

void Events::Refused(std::string_view protocol, SubmitResult result) {
  registry()
      .AddCounter(
          "weir_refused_batches_total", "Batches not taken, which their senders keep, by reason.",
          {{"protocol", std::string(protocol)}, {"reason", std::string(RefusalName(result))}})
      .Increment();
}

void Events::Duplicate(std::string_view protocol) {
  registry()
      .AddCounter("weir_duplicate_batches_total",
                  "Batches that were repeats: acknowledged and not counted again.",
                  {{"protocol", std::string(protocol)}})
      .Increment();
}

void Events::Deduplicated(std::string_view protocol, int64_t samples) {
  if (samples == 0) return;
  registry()
      .AddCounter("weir_deduplicated_samples_total",
                  "Samples taken and not kept, since another one says the same, by reason.",
                  {{"protocol", std::string(protocol)}, {"reason", "replica_not_elected"}})
      .Increment(samples);
}

void Events::ReplicaTakenOver(std::string_view cluster, std::string_view replica) {
  Record(takeovers_, Level::kWarning, "another replica of a Prometheus pair is listened to",
         {{"cluster", cluster.substr(0, kMaxLoggedBytes)},
          {"replica", replica.substr(0, kMaxLoggedBytes)}});
}

void Events::GroupCommitted(int64_t samples, absl::Duration write, absl::Duration sync) {
  groups_.Increment();
  group_samples_.Observe(static_cast<double>(samples));
  write_seconds_.Observe(write);
  sync_seconds_.Observe(sync);
}

void Events::SeriesOverflowed(const std::string& metric) {
  registry()
      .AddCounter("weir_overflowed_series_total",
                  "Different series past max_series by metric name, the first 100 of them.",
                  {{"metric", metric}})
      .Increment();
  Record(overflows_, Level::kWarning, "a series past max_series is summed up",
         {{"metric", metric}});
}

void Events::TrimFailed(const absl::Status& why) {
  Record(trim_failures_, Level::kError, "the log cannot be trimmed", {{"error", why}});
}

void Events::DeliveryProblem(const absl::Status& what) {
  Record(delivery_problems_, Level::kError, "delivery cannot go on", {{"error", what}});
}

void Events::DeliveryConnected(const std::string& target) {
  Record(delivery_connections_, Level::kInfo, "delivering", {{"aggregator", target}});
}

void Events::DeliveryClosed(const std::string& target, const absl::Status& why) {
  Record(delivery_closes_, Level::kWarning, "delivery stream ended, trying again",
         {{"aggregator", target}, {"reason", why}});
}

std::string_view RejectName(Reject reason) {
  switch (reason) {
    case Reject::kNameInvalid:
      return "name_invalid";
    case Reject::kLabelInvalid:
      return "label_invalid";
    case Reject::kTooManyLabels:
      return "too_many_labels";
    case Reject::kKindInvalid:
      return "kind_invalid";
    case Reject::kValueMissing:
      return "value_missing";
    case Reject::kValueNotFinite:
      return "value_not_finite";
    case Reject::kValueNegative:
      return "value_negative";
    case Reject::kTimeTooOld:
      return "time_too_old";
    case Reject::kTimeInFuture:
      return "time_in_future";
    case Reject::kSeriesUndefined:
      return "series_undefined";
    case Reject::kMetricUnsupported:
      return "metric_unsupported";
    case Reject::kColumnsUneven:
      return "columns_uneven";
    case Reject::kHistogramInvalid:
      return "histogram_invalid";
    case Reject::kSeriesLimit:
      return "series_limit";
    case Reject::kValueOutOfRange:
      return "value_out_of_range";
  }
  return "unknown";
}

std::string_view RefusalName(SubmitResult result) {
  switch (result) {
    case SubmitResult::kQueued:
      return "queued";
    case SubmitResult::kDuplicate:
      return "duplicate";
    case SubmitResult::kRewind:
      return "rewind";
    case SubmitResult::kOverloaded:
      return "overloaded";
    case SubmitResult::kLogFull:
      return "log_full";
    case SubmitResult::kTooManySessions:
      return "too_many_sessions";
  }
  return "unknown";
}

}  // namespace weir::collector
