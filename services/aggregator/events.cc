#include "services/aggregator/events.h"

namespace weir::aggregator {

using telemetry::Level;

namespace {

std::string_view JobName(const Job& job) {
  constexpr std::string_view kNames[] = {"claim", "flush", "derive", "retention", "read_slots"};
  static_assert(std::size(kNames) == std::variant_size_v<Job>);
  return kNames[job.index()];
}

}  // namespace

Events::Events(telemetry::Registry& registry, Clock& clock)
    : telemetry::Events(registry, clock, "aggregator"),
      connections_(Event("weir_collector_connections_total", "Delivery streams opened to us.", {},
                         absl::ZeroDuration())),
      refusals_(Event("weir_refused_streams_total", "Delivery streams ended by us.")),
      store_failures_(Event("weir_store_failures_total",
                            "Store jobs that ended in an error or in doubt; they are run again.")),
      expired_(Event("weir_expired_samples_total",
                     "Samples older than every tier keeps: counted here and nowhere else.")),
      overflows_(Event("weir_aggregator_overflowed_series_total",
                       "Different series past a limit, summed up in overflow series.", {},
                       absl::Seconds(10))),
      fences_(Event("weir_fences_total", "Times another aggregator took our slots.", {},
                    absl::ZeroDuration())) {}

void Events::CollectorConnected(const std::string& collector, const std::string& wal_id) {
  Record(connections_, Level::kInfo, "collector connected",
         {{"collector", collector}, {"wal_id", wal_id}});
}

void Events::StreamRefused(const absl::Status& why) {
  Record(refusals_, Level::kWarning, "delivery stream ended", {{"reason", why}});
}

void Events::JobDone(const Job& job, const JobResult& result) {
  registry()
      .AddHistogram("weir_store_job_seconds", "Time one job took in the store.",
                    telemetry::LatencyBounds(), {{"job", std::string(JobName(job))}})
      .Observe(result.store_time);
  if (!result.status.ok() && !absl::IsAborted(result.status)) {
    Record(store_failures_, Level::kWarning, "store job will be run again",
           {{"job", JobName(job)}, {"error", result.status}});
  }
  if (result.status.ok() && result.expired_sample_count > 0) {
    Record(expired_, Level::kWarning, "samples older than every tier keeps",
           {{"samples", result.expired_sample_count}}, result.expired_sample_count);
  }
}

void Events::SeriesOverflowed(const std::string& metric, int64_t count) {
  Record(overflows_, Level::kWarning,
         "series past the limit are summed up; ListTopSeries tells which labels make them",
         {{"metric", metric}, {"series", count}}, count);
}

void Events::Fenced(const std::string& detail) {
  Record(fences_, Level::kError, "fenced: ending", {{"detail", detail}});
}

}  // namespace weir::aggregator
