// What every way in shares: the series table, the limits, the road to the log,
// and who waits for acks. Owned by App; outlives the services.
//
// Thread safety: the members are thread-safe.
#pragma once

#include <atomic>

#include "common/base/clock.h"
#include "services/collector/ack_router.h"
#include "services/collector/admission.h"
#include "services/collector/events.h"
#include "services/collector/parse_budget.h"
#include "services/collector/pipeline.h"
#include "services/collector/series_table.h"

namespace weir::collector {

struct Intake {
  const Limits& limits;
  SeriesTable& series;
  Pipeline& pipeline;
  AckRouter& router;
  Events& events;
  Clock& clock;
  ParseBudget& parse_budget;
  std::atomic<bool>& stopping;  // new work is refused with SHUTTING_DOWN
};

}  // namespace weir::collector
