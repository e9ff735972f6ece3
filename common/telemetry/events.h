// "An event is a function that logs and counts": so no error is silent, and the
// log and the metrics never disagree. A service derives its own events and
// gives each one a function; nothing else in it logs.
//
//   class CollectorEvents : public telemetry::Events {
//    public:
//     CollectorEvents(telemetry::Registry& registry, Clock& clock)
//         : Events(registry, clock, "collector"),
//           refused_batches_(Event("weir_refused_batches_total", "Batches refused.",
//                                  {{"reason", "overloaded"}})) {}
//     void BatchRefused(int64_t bytes) {
//       Record(refused_batches_, Level::kWarning, "batch refused", {{"bytes", bytes}});
//     }
//    private:
//     EventSource refused_batches_;
//   };
//
// Thread safety: thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/base/clock.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace weir::telemetry {

// The counter of one event and the limit on its log lines.
struct EventSource {
  Counter* counter = nullptr;
  std::unique_ptr<LogLimiter> limiter;
};

class Events {
 protected:
  // `registry` and `clock` outlive this object.
  Events(Registry& registry, Clock& clock, std::string component);
  ~Events() = default;

  // `log_interval` is the least time between two lines of this event; zero
  // logs every one.
  EventSource Event(std::string_view counter_name, std::string_view help, Labels labels = {},
                    absl::Duration log_interval = absl::Seconds(1));

  // Counts `count` occurrences and logs one line, with `suppressed` when lines
  // were left out since the last one.
  void Record(const EventSource& source, Level level, std::string_view message, Fields fields = {},
              int64_t count = 1);

  Registry& registry() { return registry_; }
  const std::string& component() const { return component_; }

 private:
  Registry& registry_;
  Clock& clock_;
  const std::string component_;
};

}  // namespace weir::telemetry
