// What the aggregator counts and says of itself. Each event is a function.
//
// Thread safety: thread-safe.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/telemetry/events.h"
#include "common/telemetry/metrics.h"
#include "services/aggregator/jobs.h"

namespace weir::aggregator {

class Events : public telemetry::Events {
 public:
  Events(telemetry::Registry& registry, Clock& clock);

  void CollectorConnected(const std::string& collector, const std::string& wal_id);
  void StreamRefused(const absl::Status& why);
  // A store job has run, for better or worse.
  void JobDone(const Job& job, const JobResult& result);
  // So many more series were folded into overflow series, one of them `metric`'s.
  void SeriesOverflowed(const std::string& metric, int64_t count);
  void Fenced(const std::string& detail);

 private:
  telemetry::EventSource connections_;
  telemetry::EventSource refusals_;
  telemetry::EventSource store_failures_;
  telemetry::EventSource expired_;
  telemetry::EventSource overflows_;
  telemetry::EventSource fences_;
};

}  // namespace weir::aggregator
