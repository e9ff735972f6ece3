// An alert and what happened to it: the nouns of the alerting service.
//
// An alert is identified by its tenant, its rule and its labels, and lives for
// ever; each time it fires is an episode, numbered by its incarnation.
//
// The REST record of an alert (id, agent_name, type, severity, metric,
// current_value, expected_value, threshold_value, deviation_percent, message,
// status, detected_at, acknowledged_at, resolved_at) is a view of one episode:
// detected_at is pending_since, status is StatusName, the rest is here by name.
//
// Units: times have microseconds, which is what both stores keep.
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/base/id128.h"
#include "common/model/series.h"

namespace weir::alerting {

// Stored and sent as numbers: never reuse one.
enum class AlertType : uint8_t {
  kBudgetOverrun = 1,
  kPerformanceDegradation = 2,
  kOutlier = 3,
  kAnomaly = 4,
  kSloBurn = 5,
  kNoData = 6,
};
// "budget_overrun", "performance_degradation", ...
std::string_view AlertTypeName(AlertType type);

// In rising order. The workbook's page is critical, its ticket a warning.
enum class Severity : uint8_t { kInfo = 1, kWarning = 2, kCritical = 3 };
// "info", "warning", "critical".
std::string_view SeverityName(Severity severity);

enum class AlertState : uint8_t {
  kInactive = 1,      // the condition does not hold, and never fired since it last began to
  kPending = 2,       // it holds, but not for long enough yet
  kFiring = 3,        //
  kAcknowledged = 4,  // firing, and somebody has said that they know
  kResolved = 5,      // the last episode is over
};
// "inactive", "pending", "firing", "acknowledged", "resolved".
std::string_view AlertStateName(AlertState state);
// The REST spelling, in which a firing alert is "active".
std::string_view StatusName(AlertState state);

inline bool Firing(AlertState state) {
  return state == AlertState::kFiring || state == AlertState::kAcknowledged;
}

// What is evaluated. One rule may have many alerts, one per label set.
struct Rule {
  std::string tenant;
  // Unique within the tenant and stable: "slos/chat-p95/page-1h".
  std::string id;
  // What people call it, Alertmanager's `alertname`: "SloBurn".
  std::string alert_name;
  AlertType type = AlertType::kSloBurn;
  Severity severity = Severity::kWarning;
  // How long the condition must hold before the alert fires; 0 fires at once.
  absl::Duration for_duration;
  // How long it must have been false before the alert resolves; 0 resolves at
  // once. Counted from the first evaluation that found it false.
  absl::Duration keep_firing_duration;
  std::string agent_name;  // whose alert it is; may be empty
  std::string metric;      // what is judged: "budget_utilization"
  // What notifications say beyond the values: runbook_url, dashboard, ...
  std::vector<Label> annotations;
};

// What an evaluation saw. Numbers are as shown; exact ones go into `facts`.
struct Evidence {
  std::optional<double> current_value;
  std::optional<double> expected_value;
  std::optional<double> threshold_value;
  std::string message;
  // Exact texts by name, of the evaluator's choosing: the rule's row, the
  // windows, their counts ("window_1h_good", "998").
  std::vector<Label> facts;
  friend bool operator==(const Evidence&, const Evidence&) = default;
};

// 100 * (current - expected) / |expected|; absent without both, or when
// `expected` is 0. 24.5 of an expected 30.0 is -18.33.
std::optional<double> DeviationPercent(const Evidence& evidence);

struct AlertTag {};
using AlertId = Id128<AlertTag>;

// The same for the same alert in every process and for ever: the SHA-256 of
// tenant, rule and labels, each with its length; 64 hexadecimal digits.
// The order of `labels` does not matter. REQUIRES: their names are unique.
std::string AlertFingerprint(std::string_view tenant, std::string_view rule_id,
                             const std::vector<Label>& labels);
// The fingerprint's first 128 bits.
AlertId IdOfAlert(std::string_view tenant, std::string_view rule_id,
                  const std::vector<Label>& labels);

struct Acknowledgement {
  absl::Time time;
  std::string by;
  std::string comment;
  friend bool operator==(const Acknowledgement&, const Acknowledgement&) = default;
};

enum class ResolveCause : uint8_t {
  kCleared = 1,      // the condition
  kUser = 2,         // somebody
  kRuleRemoved = 3,  // nobody evaluates it any more
};
// "cleared", "user", "rule_removed".
std::string_view ResolveCauseName(ResolveCause cause);

struct Resolution {
  absl::Time time;
  ResolveCause cause = ResolveCause::kCleared;
  std::string by;  // kUser only, like the comment
  std::string comment;
  friend bool operator==(const Resolution&, const Resolution&) = default;
};

// One alert, as its latest episode left it. A store keeps a row per (id,
// incarnation): the newest is the alert's state, the others are its history.
//
// Invariants:
//   pending:       pending_since
//   firing:        pending_since, fired_at
//   acknowledged:  pending_since, fired_at, acknowledgement
//   resolved:      pending_since, fired_at, resolution
//   and nothing else is set, but for an acknowledgement that came before the end.
//   clear_since is set while firing on borrowed time (keep_firing_duration).
//   suppressed only in resolved.
struct Alert {
  AlertId id;
  std::string fingerprint;
  std::string tenant;
  std::string rule_id;
  std::vector<Label> labels;  // sorted by name

  AlertState state = AlertState::kInactive;
  // The episode: 1 for the first. A pending episode that never fires leaves its
  // number to the next.
  int64_t incarnation = 0;
  // Grows by one with every change a user can see; not with mere evidence, or
  // nobody could answer an alert that is evaluated every second.
  int64_t version = 0;
  // The T of the last step. Steps up to it change nothing.
  absl::Time evaluated_time = absl::InfinitePast();

  // The rule when the episode began: what is firing does not change its face.
  std::string alert_name;
  AlertType type = AlertType::kSloBurn;
  Severity severity = Severity::kWarning;
  std::string agent_name;
  std::string metric;
  std::vector<Label> annotations;

  std::optional<absl::Time> pending_since;
  std::optional<absl::Time> fired_at;
  std::optional<absl::Time> clear_since;
  std::optional<Acknowledgement> acknowledgement;
  std::optional<Resolution> resolution;
  // Resolved by a user while the condition held: it must be false once before
  // the alert can come back.
  bool suppressed = false;
  // The last that spoke for the alert.
  Evidence evidence;

  friend bool operator==(const Alert&, const Alert&) = default;
};

// One arrow of the state machine, taken.
struct Transition {
  AlertId alert_id;
  int64_t incarnation = 0;
  int64_t version = 0;  // the alert's, after it: orders the transitions of an alert
  AlertState from = AlertState::kInactive;
  AlertState to = AlertState::kInactive;
  // T for a step, the time of the call for a user's edit. Data is judged some
  // seconds late, so an alert may clear at a T before it was acknowledged.
  absl::Time time;
  std::string by;  // the user, for edits
  std::string comment;
  Evidence evidence;  // what was seen at `time`
  friend bool operator==(const Transition&, const Transition&) = default;
};

}  // namespace weir::alerting
