#include "common/alias/alias_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir {
namespace {

constexpr std::string_view kUnits[] = {
    "bytes",   "bytes_per_second", "celsius",           "hertz", "joules", "ratio", "requests",
    "seconds", "tokens",           "tokens_per_second", "watts"};

constexpr size_t kMaxNameBytes = 256;  // as admission has it

absl::Status Invalid(const AliasMetric& metric, std::string_view what) {
  return absl::InvalidArgumentError(StrCat("alias metric '", metric.name, "': ", what));
}

bool ValidName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name.find('\0') == name.npos;
}

absl::Status Check(const AliasMetric& metric) {
  if (!ValidName(metric.name)) return Invalid(metric, "its name is empty or too long");
  if (std::find(std::begin(kUnits), std::end(kUnits), metric.unit) == std::end(kUnits)) {
    return Invalid(metric, StrCat("unit '", metric.unit, "' is not known"));
  }
  if (std::isnan(metric.least) || std::isnan(metric.most) || metric.least > metric.most) {
    return Invalid(metric, "its range is empty");
  }
  if (metric.kind != Kind::kGauge && (std::isfinite(metric.least) || std::isfinite(metric.most))) {
    return Invalid(metric, "only gauges have a range");
  }
  for (const AliasSource& source : metric.sources) {
    if (!ValidName(source.name)) return Invalid(metric, "a source's name is empty or too long");
    if (!std::isfinite(source.scale) || source.scale <= 0) {
      return Invalid(metric, StrCat("the scale of '", source.name, "' is not above 0"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Span<const std::string_view> AliasUnits() { return kUnits; }

absl::StatusOr<AliasTable> AliasTable::Create(std::vector<AliasMetric> metrics) {
  AliasTable table;
  table.metrics_ = std::move(metrics);
  // All names of metrics first: whether a source is one does not depend on order.
  for (const AliasMetric& metric : table.metrics_) {
    WEIR_RETURN_IF_ERROR(Check(metric));
    WEIR_ASSIGN_OR_RETURN(const uint8_t rule, table.RuleOf(metric, 1));
    const Entry entry = {.kind = metric.kind,
                         .alias = {.metric = metric.name, .unit = metric.unit, .rule = rule}};
    if (!table.entries_.try_emplace(metric.name, entry).second) {
      return Invalid(metric, "is there twice");
    }
  }
  for (const AliasMetric& metric : table.metrics_) WEIR_RETURN_IF_ERROR(table.Add(metric));
  for (const AliasMetric& metric : table.metrics_) {
    for (const std::string& repeat : metric.repeats) {
      if (table.entries_.contains(repeat)) {
        return Invalid(metric, StrCat("its repeat '", repeat, "' is a metric or a source as well"));
      }
    }
  }
  return table;
}

absl::Status AliasTable::Add(const AliasMetric& metric) {
  for (const AliasSource& source : metric.sources) {
    WEIR_ASSIGN_OR_RETURN(const uint8_t rule, RuleOf(metric, source.scale));
    const Entry entry = {.kind = metric.kind,
                         .alias = {.metric = metric.name,
                                   .unit = metric.unit,
                                   .rule = rule,
                                   .keep_source_name = source.overlap}};
    const auto [found, added] = entries_.try_emplace(source.name, entry);
    if (added) continue;
    return Invalid(metric, found->first == found->second.alias.metric
                               ? StrCat("its source '", source.name, "' is a metric itself")
                               : StrCat("its source '", source.name, "' is one of '",
                                        found->second.alias.metric, "' as well"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint8_t> AliasTable::RuleOf(const AliasMetric& metric, double scale) {
  ValueRule rule = {.least = metric.least, .most = metric.most};
  SetScale(scale, &rule);
  // One that changes nothing is the first, whatever the metric.
  if (rule == rules_[0]) return uint8_t{0};
  rule.metric = metric.name;
  const auto found = std::find(rules_.begin(), rules_.end(), rule);
  if (found != rules_.end()) return static_cast<uint8_t>(found - rules_.begin());
  if (rules_.size() == kMaxRules) {
    return Invalid(metric, StrCat("more than ", kMaxRules, " different scales and ranges"));
  }
  rules_.push_back(std::move(rule));
  return static_cast<uint8_t>(rules_.size() - 1);
}

const AliasTable::Alias* AliasTable::Find(std::string_view name, Kind kind) const {
  const auto found = entries_.find(AbslView(name));
  if (found == entries_.end() || found->second.kind != kind) return nullptr;
  return &found->second.alias;
}

}  // namespace weir
