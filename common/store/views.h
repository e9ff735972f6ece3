// The views people query: made from the tier table, so a store with other
// windows has them too.
//
//   bins(window_size, start_time, end_time, tenant, metric_name, kind, labels,
//        count, sum, avg, min, max)
//   metric_aggregates(metric_name, window_size, timestamp, tags, min_value,
//                     max_value, avg_value, count, kind)
//
// Both follow the rule every query does: a tier up to its slot's derived_until,
// the finer tier after it, and nothing below a floor. They merge partials in
// SQL, so sums are double precision; exact ones are the query API's.
//
// Thread safety: pure functions.
#pragma once

#include <string>
#include <vector>

#include "common/model/tier.h"
#include "common/store/migrate.h"

namespace weir::store {

// Drops and creates the views; runs inside the caller's transaction.
std::vector<std::string> ViewStatements(Dialect dialect, const TierTable& tiers);

}  // namespace weir::store
