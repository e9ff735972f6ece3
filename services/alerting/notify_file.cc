#include "services/alerting/notify_file.h"

#include "services/alerting/json.h"

namespace weir::alerting {
namespace {

nlohmann::ordered_json OrNull(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

nlohmann::ordered_json OrNull(const std::optional<absl::Time>& time) {
  return time ? nlohmann::ordered_json(FormatRfc3339(*time)) : nlohmann::ordered_json();
}

std::string Text(std::string_view text) { return CleanText(text, kMaxTextBytes); }

}  // namespace

std::string RenderFileLine(const Alert& alert, const Notice& notice, std::string_view key,
                           absl::Time time) {
  const AlertState state = notice.kind == NoticeKind::kResolved       ? AlertState::kResolved
                           : notice.kind == NoticeKind::kAcknowledged ? AlertState::kAcknowledged
                                                                      : AlertState::kFiring;
  std::optional<absl::Time> acknowledged_at;
  if (alert.acknowledgement && notice.kind != NoticeKind::kFiring) {
    acknowledged_at = alert.acknowledgement->time;
  }
  nlohmann::ordered_json facts = nlohmann::ordered_json::object();
  for (const Label& fact : alert.evidence.facts) facts[Text(fact.name)] = Text(fact.value);
  const nlohmann::ordered_json line = {
      {"time", FormatRfc3339(time)},
      {"key", std::string(key)},
      {"id", alert.id.ToHex()},
      {"incarnation", alert.incarnation},
      {"tenant", Text(alert.tenant)},
      {"rule", Text(alert.rule_id)},
      {"alert_name", Text(alert.alert_name)},
      {"agent_name", Text(alert.agent_name)},
      {"type", std::string(AlertTypeName(alert.type))},
      {"severity", std::string(SeverityName(alert.severity))},
      {"metric", Text(alert.metric)},
      {"current_value", OrNull(alert.evidence.current_value)},
      {"expected_value", OrNull(alert.evidence.expected_value)},
      {"threshold_value", OrNull(alert.evidence.threshold_value)},
      {"deviation_percent", OrNull(DeviationPercent(alert.evidence))},
      {"message", Text(alert.evidence.message)},
      {"status", std::string(StatusName(state))},
      {"detected_at", OrNull(alert.pending_since)},
      {"acknowledged_at", OrNull(acknowledged_at)},
      {"resolved_at", OrNull(notice.ends_at)},
      {"labels", notice.labels},
      {"facts", facts},
  };
  return DumpJson(line) + "\n";
}

}  // namespace weir::alerting
