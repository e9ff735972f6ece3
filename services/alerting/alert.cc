#include "services/alerting/alert.h"

#include <cmath>

#include "absl/strings/escaping.h"
#include "common/base/check.h"
#include "common/base/sha256.h"
#include "common/base/strings.h"

namespace weir::alerting {
namespace {

std::string Digest(std::string_view tenant, std::string_view rule_id, std::vector<Label> labels) {
  WEIR_CHECK(SortLabels(&labels));
  // Lengths keep ("ab", "c") apart from ("a", "bc").
  std::string bytes = "weir alert 1\n";
  const auto append = [&bytes](std::string_view text) {
    StrAppend(&bytes, text.size(), ":", text);
  };
  append(tenant);
  append(rule_id);
  for (const Label& label : labels) {
    append(label.name);
    append(label.value);
  }
  return Sha256(bytes);
}

}  // namespace

std::string_view AlertTypeName(AlertType type) {
  switch (type) {
    case AlertType::kBudgetOverrun:
      return "budget_overrun";
    case AlertType::kPerformanceDegradation:
      return "performance_degradation";
    case AlertType::kOutlier:
      return "outlier";
    case AlertType::kAnomaly:
      return "anomaly";
    case AlertType::kSloBurn:
      return "slo_burn";
    case AlertType::kNoData:
      return "no_data";
  }
  return "unknown";
}

std::string_view SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kCritical:
      return "critical";
  }
  return "unknown";
}

std::string_view AlertStateName(AlertState state) {
  switch (state) {
    case AlertState::kInactive:
      return "inactive";
    case AlertState::kPending:
      return "pending";
    case AlertState::kFiring:
      return "firing";
    case AlertState::kAcknowledged:
      return "acknowledged";
    case AlertState::kResolved:
      return "resolved";
  }
  return "unknown";
}

std::string_view StatusName(AlertState state) {
  return state == AlertState::kFiring ? "active" : AlertStateName(state);
}

std::string_view ResolveCauseName(ResolveCause cause) {
  switch (cause) {
    case ResolveCause::kCleared:
      return "cleared";
    case ResolveCause::kUser:
      return "user";
    case ResolveCause::kRuleRemoved:
      return "rule_removed";
  }
  return "unknown";
}

std::optional<double> DeviationPercent(const Evidence& evidence) {
  if (!evidence.current_value || !evidence.expected_value || *evidence.expected_value == 0) {
    return std::nullopt;
  }
  const double expected = *evidence.expected_value;
  return 100 * (*evidence.current_value - expected) / std::abs(expected);
}

std::string AlertFingerprint(std::string_view tenant, std::string_view rule_id,
                             const std::vector<Label>& labels) {
  return absl::BytesToHexString(Digest(tenant, rule_id, labels));
}

AlertId IdOfAlert(std::string_view tenant, std::string_view rule_id,
                  const std::vector<Label>& labels) {
  return AlertId::FromBytes(std::string_view(Digest(tenant, rule_id, labels)).substr(0, 16));
}

}  // namespace weir::alerting
