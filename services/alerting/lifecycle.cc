#include "services/alerting/lifecycle.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/strings.h"

namespace weir::alerting {
namespace {

// What both stores keep of a time.
absl::Time ToMicros(absl::Time time) { return absl::FromUnixMicros(absl::ToUnixMicros(time)); }

// Takes `next` to `to` and says so.
Stepped Take(Alert next, AlertState to, absl::Time time, Evidence evidence) {
  Transition transition = {.alert_id = next.id,
                           .incarnation = next.incarnation,
                           .version = ++next.version,
                           .from = next.state,
                           .to = to,
                           .time = time,
                           .evidence = std::move(evidence)};
  next.state = to;
  return {std::move(next), std::move(transition)};
}

Stepped Begin(const Rule& rule, Alert next, const Evidence& evidence, absl::Time time) {
  if (next.incarnation == 0 || next.fired_at) ++next.incarnation;
  next.alert_name = rule.alert_name;
  next.type = rule.type;
  next.severity = rule.severity;
  next.agent_name = rule.agent_name;
  next.metric = rule.metric;
  next.annotations = rule.annotations;
  next.evidence = evidence;
  next.pending_since = time;
  next.fired_at.reset();
  next.acknowledgement.reset();
  next.resolution.reset();
  if (rule.for_duration > absl::ZeroDuration()) {
    return Take(std::move(next), AlertState::kPending, time, evidence);
  }
  next.fired_at = time;
  return Take(std::move(next), AlertState::kFiring, time, evidence);
}

Stepped Cancel(Alert next, const Evidence& evidence, absl::Time time) {
  next.pending_since.reset();
  return Take(std::move(next), AlertState::kInactive, time, evidence);
}

Stepped End(Alert next, Resolution resolution, const Evidence& evidence) {
  const absl::Time time = resolution.time;
  next.clear_since.reset();
  next.resolution = std::move(resolution);
  return Take(std::move(next), AlertState::kResolved, time, evidence);
}

Stepped StepTrue(const Rule& rule, Alert next, const Evidence& evidence, absl::Time time) {
  next.clear_since.reset();
  switch (next.state) {
    case AlertState::kResolved:
      if (next.suppressed) return {std::move(next), std::nullopt};
      [[fallthrough]];
    case AlertState::kInactive:
      return Begin(rule, std::move(next), evidence, time);
    case AlertState::kPending:
      next.evidence = evidence;
      if (time - *next.pending_since < rule.for_duration) return {std::move(next), std::nullopt};
      next.fired_at = time;
      return Take(std::move(next), AlertState::kFiring, time, evidence);
    case AlertState::kFiring:
    case AlertState::kAcknowledged:
      next.evidence = evidence;
      break;
  }
  return {std::move(next), std::nullopt};
}

Stepped StepFalse(const Rule& rule, Alert next, const Evidence& evidence, absl::Time time) {
  switch (next.state) {
    case AlertState::kInactive:
      break;
    case AlertState::kResolved:
      if (next.suppressed) {
        next.suppressed = false;
        ++next.version;
      }
      break;
    case AlertState::kPending:
      return Cancel(std::move(next), evidence, time);
    case AlertState::kFiring:
    case AlertState::kAcknowledged:
      if (!next.clear_since) next.clear_since = time;
      if (time - *next.clear_since < rule.keep_firing_duration) break;
      return End(std::move(next), {.time = time}, evidence);
  }
  return {std::move(next), std::nullopt};
}

// Whether `edit` is well-formed and meant for `alert` as it is.
absl::Status CheckForm(const Edit& edit) {
  if (edit.by.empty()) return absl::InvalidArgumentError("by: empty: say who you are");
  if (edit.by.size() > kMaxByBytes) {
    return absl::InvalidArgumentError(StrCat("by: more than ", kMaxByBytes, " bytes"));
  }
  if (edit.comment.size() > kMaxCommentBytes) {
    return absl::InvalidArgumentError(StrCat("comment: more than ", kMaxCommentBytes, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status CheckEpisode(const Alert& alert, const Edit& edit) {
  if (!edit.incarnation || *edit.incarnation == alert.incarnation) return absl::OkStatus();
  return absl::FailedPreconditionError(StrCat("episode ", *edit.incarnation,
                                              " is not the latest of the alert, which is ",
                                              alert.incarnation));
}

absl::Status CheckEtag(const Alert& alert, const Edit& edit) {
  if (edit.etag.empty() || edit.etag == EtagOf(alert)) return absl::OkStatus();
  return absl::AbortedError(
      StrCat("the alert has changed: its etag is ", EtagOf(alert), ", not ", edit.etag));
}

Stepped Unchanged(const Alert& alert) { return {alert, std::nullopt}; }

}  // namespace

Alert NewAlert(const Rule& rule, std::vector<Label> labels) {
  WEIR_CHECK(SortLabels(&labels));
  Alert alert;
  alert.id = IdOfAlert(rule.tenant, rule.id, labels);
  alert.fingerprint = AlertFingerprint(rule.tenant, rule.id, labels);
  alert.tenant = rule.tenant;
  alert.rule_id = rule.id;
  alert.labels = std::move(labels);
  return alert;
}

Stepped Step(const Rule& rule, const Alert& alert, const Condition& condition, absl::Time time) {
  WEIR_CHECK(rule.tenant == alert.tenant && rule.id == alert.rule_id);
  if (time <= alert.evaluated_time) return Unchanged(alert);
  Alert next = alert;
  next.evaluated_time = time;
  switch (condition.truth) {
    case Truth::kTrue:
      return StepTrue(rule, std::move(next), condition.evidence, time);
    case Truth::kFalse:
      return StepFalse(rule, std::move(next), condition.evidence, time);
    case Truth::kNoData:
      break;
  }
  return {std::move(next), std::nullopt};
}

std::string EtagOf(const Alert& alert) { return StrCat("v", alert.version); }

absl::StatusOr<Stepped> Acknowledge(const Alert& alert, const Edit& edit, absl::Time now) {
  WEIR_RETURN_IF_ERROR(CheckForm(edit));
  WEIR_RETURN_IF_ERROR(CheckEpisode(alert, edit));
  const bool done = alert.state == AlertState::kAcknowledged;
  if (done && alert.acknowledgement->by == edit.by &&
      alert.acknowledgement->comment == edit.comment) {
    return Unchanged(alert);
  }
  WEIR_RETURN_IF_ERROR(CheckEtag(alert, edit));
  if (done) return Unchanged(alert);
  if (alert.state != AlertState::kFiring) {
    return absl::FailedPreconditionError(StrCat(
        "only a firing alert can be acknowledged; this one is ", AlertStateName(alert.state)));
  }
  Alert next = alert;
  const absl::Time time = std::max(ToMicros(now), *alert.fired_at);
  next.acknowledgement = {.time = time, .by = edit.by, .comment = edit.comment};
  Stepped stepped = Take(std::move(next), AlertState::kAcknowledged, time, alert.evidence);
  stepped.transition->by = edit.by;
  stepped.transition->comment = edit.comment;
  return stepped;
}

absl::StatusOr<Stepped> Resolve(const Alert& alert, const Edit& edit, absl::Time now) {
  WEIR_RETURN_IF_ERROR(CheckForm(edit));
  WEIR_RETURN_IF_ERROR(CheckEpisode(alert, edit));
  const bool done = alert.state == AlertState::kResolved;
  if (done && alert.resolution->by == edit.by && alert.resolution->comment == edit.comment) {
    return Unchanged(alert);
  }
  WEIR_RETURN_IF_ERROR(CheckEtag(alert, edit));
  if (done) return Unchanged(alert);
  if (!Firing(alert.state)) {
    return absl::FailedPreconditionError(
        StrCat("only a firing alert can be resolved; this one is ", AlertStateName(alert.state)));
  }
  Alert next = alert;
  // On borrowed time the condition is false already.
  next.suppressed = !alert.clear_since;
  Stepped stepped = End(std::move(next),
                        {.time = std::max(ToMicros(now), *alert.fired_at),
                         .cause = ResolveCause::kUser,
                         .by = edit.by,
                         .comment = edit.comment},
                        alert.evidence);
  stepped.transition->by = edit.by;
  stepped.transition->comment = edit.comment;
  return stepped;
}

Stepped Withdraw(const Alert& alert, absl::Time time) {
  if (alert.state == AlertState::kPending) return Cancel(alert, alert.evidence, ToMicros(time));
  if (!Firing(alert.state)) {
    Alert next = alert;
    if (next.suppressed) ++next.version;
    next.suppressed = false;
    return {std::move(next), std::nullopt};
  }
  return End(
      alert,
      {.time = std::max(ToMicros(time), *alert.fired_at), .cause = ResolveCause::kRuleRemoved},
      alert.evidence);
}

}  // namespace weir::alerting
