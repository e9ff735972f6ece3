#include "common/telemetry/events.h"

#include <optional>
#include <utility>

namespace weir::telemetry {

Events::Events(Registry& registry, Clock& clock, std::string component)
    : registry_(registry), clock_(clock), component_(std::move(component)) {}

EventSource Events::Event(std::string_view counter_name, std::string_view help, Labels labels,
                          absl::Duration log_interval) {
  return {.counter = &registry_.AddCounter(counter_name, help, std::move(labels)),
          .limiter = std::make_unique<LogLimiter>(log_interval)};
}

void Events::Record(const EventSource& source, Level level, std::string_view message, Fields fields,
                    int64_t count) {
  source.counter->Increment(count);
  if (!LogEnabled(level)) return;
  const std::optional<int64_t> suppressed = source.limiter->Admit(clock_.Now());
  if (suppressed.has_value()) Log(level, component_, message, fields, *suppressed);
}

}  // namespace weir::telemetry
