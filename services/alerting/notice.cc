#include "services/alerting/notice.h"

#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/strings.h"

namespace weir::alerting {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view kEllipsis = "\xE2\x80\xA6";

// The length of the UTF-8 character `text` begins with; 0 when it is none.
// Unicode's table 3-7: no overlong forms, no surrogates, nothing past U+10FFFF.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&text](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto follows = [&byte](size_t i) { return byte(i) >= 0x80 && byte(i) <= 0xBF; };
  const int first = byte(0);
  const int second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!follows(1) || !follows(2)) return 0;
    if (first == 0xE0 && second < 0xA0) return 0;
    if (first == 0xED && second > 0x9F) return 0;
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if (first == 0xF0 && second < 0x90) return 0;
    if (first == 0xF4 && second > 0x8F) return 0;
    return 4;
  }
  return 0;
}

std::string Text(std::string_view text) { return CleanText(text, kMaxTextBytes); }

bool Alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool Digit(char c) { return c >= '0' && c <= '9'; }

// `name` as Prometheus allows it: "gen_ai.request.model" is gen_ai_request_model.
std::string LabelName(std::string_view name) {
  std::string fitting;
  if (name.empty() || Digit(name.front())) fitting.push_back('_');
  for (const char c : name) fitting.push_back(Alpha(c) || Digit(c) ? c : '_');
  return fitting;
}

std::map<std::string, std::string> LabelsOf(const Alert& alert) {
  std::map<std::string, std::string> labels = {
      {"alertname", Text(alert.alert_name)},
      {"rule", Text(alert.rule_id)},
      {"severity", std::string(SeverityName(alert.severity))},
      {"tenant", Text(alert.tenant)},
  };
  // Two names may be made to fit alike: the one that sorts later steps aside.
  for (const Label& label : alert.labels) {
    if (label.value.empty()) continue;
    std::string name = LabelName(label.name);
    static const std::set<std::string_view> kOurs = {"alertname", "rule", "severity", "tenant"};
    if (kOurs.contains(name)) name = "exported_" + name;
    while (labels.contains(name)) name.push_back('_');
    labels.emplace(std::move(name), Text(label.value));
  }
  std::erase_if(labels, [](const auto& label) { return label.second.empty(); });
  return labels;
}

std::map<std::string, std::string> AnnotationsOf(const Alert& alert, NoticeKind kind,
                                                 const std::string& summary) {
  std::map<std::string, std::string> annotations;
  const auto set = [&annotations](const std::string& name, std::string value) {
    if (!value.empty()) annotations.insert_or_assign(name, std::move(value));
  };
  const auto set_number = [&set](const std::string& name, const std::optional<double>& value) {
    if (value) set(name, absl::StrFormat("%.10g", *value));
  };
  for (const Label& fact : alert.evidence.facts) set(LabelName(fact.name), Text(fact.value));
  for (const Label& annotation : alert.annotations) {
    set(LabelName(annotation.name), Text(annotation.value));
  }
  set("summary", summary);
  set("description", Text(alert.evidence.message));
  set("type", std::string(AlertTypeName(alert.type)));
  set("agent_name", Text(alert.agent_name));
  set("metric", Text(alert.metric));
  set_number("current_value", alert.evidence.current_value);
  set_number("expected_value", alert.evidence.expected_value);
  set_number("threshold_value", alert.evidence.threshold_value);
  set("alert_id", alert.id.ToHex());
  set("incarnation", StrCat(alert.incarnation));
  if (alert.acknowledgement && kind != NoticeKind::kFiring) {
    set("acknowledged_by", Text(alert.acknowledgement->by));
    set("acknowledged_comment", Text(alert.acknowledgement->comment));
  }
  if (kind == NoticeKind::kResolved) {
    set("resolved_cause", std::string(ResolveCauseName(alert.resolution->cause)));
    set("resolved_by", Text(alert.resolution->by));
    set("resolved_comment", Text(alert.resolution->comment));
  }
  return annotations;
}

// What a subject line holds: no line breaks, not too long.
std::string SummaryOf(const Alert& alert, NoticeKind kind) {
  std::string summary =
      StrCat("[", kind == NoticeKind::kFiring ? SeverityName(alert.severity) : NoticeKindName(kind),
             "] ", alert.alert_name);
  if (!alert.evidence.message.empty()) StrAppend(&summary, ": ", alert.evidence.message);
  for (char& c : summary) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7F') c = ' ';
  }
  return CleanText(summary, 200);
}

}  // namespace

std::string CleanText(std::string_view text, size_t max_bytes) {
  std::string clean;
  size_t cut = 0;  // up to where an ellipsis would still fit
  while (!text.empty()) {
    const size_t size = CharacterBytes(text);
    clean.append(size == 0 ? kReplacement : text.substr(0, size));
    text.remove_prefix(size == 0 ? 1 : size);
    if (clean.size() + kEllipsis.size() <= max_bytes) cut = clean.size();
    if (clean.size() > max_bytes) {
      clean.resize(cut);
      return clean.append(kEllipsis);
    }
  }
  return clean;
}

std::string FormatRfc3339(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%E*SZ", time, absl::UTCTimeZone());
}

Notice NoticeOf(const Alert& alert, NoticeKind kind, std::string_view external_url) {
  WEIR_CHECK(alert.fired_at.has_value());
  WEIR_CHECK(kind != NoticeKind::kResolved || alert.resolution.has_value());
  Notice notice;
  notice.kind = kind;
  notice.alert_id = alert.id;
  notice.fingerprint = alert.fingerprint;
  notice.severity = alert.severity;
  notice.summary = SummaryOf(alert, kind);
  notice.labels = LabelsOf(alert);
  notice.annotations = AnnotationsOf(alert, kind, notice.summary);
  notice.starts_at = *alert.fired_at;
  if (kind == NoticeKind::kResolved) notice.ends_at = alert.resolution->time;
  if (!external_url.empty()) {
    notice.generator_url = StrCat(external_url, "/alerts/", alert.id.ToHex());
  }
  return notice;
}

}  // namespace weir::alerting
