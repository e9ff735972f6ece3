// One case of the property: everything that happens, drawn from one seed before
// anything runs, so that every store meets the same and any step can be left out.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/model/series.h"
#include "tests/property/model.h"

namespace weir::property {

// What becomes of a store job, and what the core is told of it.
enum class Outcome {
  kDone,
  kReplyLost,  // it ran, the core is told Unavailable
  kNotRun,     // the core is told Unavailable
};

// What becomes of the job under way when an aggregator dies.
enum class LastJob {
  kNever,   // it dies with its aggregator
  kBefore,  // it runs before the next one claims
  kAfter,   // it runs after that: it must be fenced off
};

struct Step {
  enum class What {
    kFrame,      // `sent` enters the log, and is delivered when a stream is open
    kWait,       // time passes
    kHeartbeat,  // the log says that it has sent everything
    kJob,        // the job under way ends with `outcome`
    kSettle,     // up to `count` jobs run and succeed, time passes while none is due
    kReconnect,  // the stream ends; a new one goes on where the core is
    kHangUp,     // the stream ends; none is opened until the next kReconnect or crash
    kCrash,      // another aggregator takes over
    kRestart,    // the same, after the first has drained
    kRetire,     // floors rise without the core's knowledge
    kCheck,      // every window is compared with the model
  };
  What what = What::kWait;
  int log = 0;
  bool new_segment = false;
  std::vector<Sent> sent;
  absl::Duration wait;
  Outcome outcome = Outcome::kDone;
  int count = 0;
  LastJob last_job = LastJob::kNever;
};

struct Schedule {
  uint64_t seed = 0;
  absl::Time start;
  int slot_count = 1;
  int log_count = 1;
  ModelOptions cumulative;
  absl::Duration derive_delay;
  absl::Duration derive_step;
  absl::Duration retention_interval;
  int64_t derive_rows_per_job = 0;
  int64_t retention_rows_per_step = 0;
  std::vector<Series> series;
  std::vector<Step> steps;
};

Schedule DrawSchedule(uint64_t seed);

// A line per step and per point. Times are those of the schedule: settling takes
// seconds more.
std::string Describe(const Schedule& schedule);

}  // namespace weir::property
