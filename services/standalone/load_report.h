// What a load has seen so far, and how it is told.
//
// Thread safety: values, thread-compatible.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/time/time.h"
#include "common/sketch/sketch.h"
#include "services/standalone/load_options.h"

namespace weir::standalone {

// Counts since the start, of one connection or of all.
struct LoadCounts {
  int64_t acked_samples = 0;
  int64_t acked_batches = 0;
  int64_t rejected_samples = 0;  // of those acknowledged
  std::map<std::string, int64_t> rejected_by_reason;
  int64_t sent_batches = 0;  // with those sent again
  int64_t outstanding_batches = 0;
  int64_t outstanding_samples = 0;
  int64_t rewinds = 0;
  int64_t disconnects = 0;
  Sketch ack_latency;  // seconds, one value per batch
  absl::Time last_ack_time = absl::InfinitePast();

  void Merge(const LoadCounts& other);
};

struct LoadSummary {
  LoadCounts counts;
  absl::Duration elapsed;          // from the first batch due to the last acknowledgement
  absl::Duration client_cpu_time;  // of this process, kernel included
  bool complete = false;           // everything sent was acknowledged
  std::string error;               // why not, when it is known
};

// One line, such as
//   3s  12.4M samples acked  4.1M/s  ack p50 1.2ms p99 3.4ms  8 outstanding  0 rewinds
// `interval`: what happened during the last `interval_duration`.
std::string ProgressLine(absl::Duration elapsed, const LoadCounts& total,
                         const LoadCounts& interval, absl::Duration interval_duration);

// A few lines for people.
std::string SummaryText(const LoadOptions& options, const LoadSummary& summary);

// One JSON object, on one line.
std::string SummaryJson(const LoadOptions& options, const LoadSummary& summary);

}  // namespace weir::standalone
