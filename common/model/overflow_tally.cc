#include "common/model/overflow_tally.h"

#include "common/base/strings.h"

namespace weir {

std::optional<std::string_view> OverflowTally::Add(const SeriesId& id, std::string_view metric) {
  if (seen_.contains(id.high)) return std::nullopt;
  if (seen_.size() >= max_series_) {
    cut_ = true;
    return std::nullopt;
  }
  seen_.insert(id.high);
  auto found = metrics_.find(AbslView(metric));
  if (found == metrics_.end()) {
    const bool fits = metrics_.size() < max_metrics_;
    found = metrics_.try_emplace(std::string(fits ? metric : kOverflowLabel), 0).first;
  }
  ++found->second;
  return found->first;
}

int64_t OverflowTally::CountOf(std::string_view metric) const {
  const auto found = metrics_.find(AbslView(metric));
  return found == metrics_.end() ? 0 : found->second;
}

}  // namespace weir
