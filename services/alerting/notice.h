// What a notification says, apart from the format it is said in.
//
// Labels identify the alert for the receiver: the same for its whole life but for
// severity and alertname, which are the rule's when the episode begins. Names are
// made to fit Prometheus' ([a-zA-Z_][a-zA-Z0-9_]*), which older Alertmanagers
// insist on. Annotations are what people read.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "services/alerting/alert.h"
#include "services/alerting/outbox.h"

namespace weir::alerting {

// The most bytes of one text (a label's value, an annotation); what is longer is
// cut at a character and ends in "…".
inline constexpr size_t kMaxTextBytes = 4096;

struct Notice {
  NoticeKind kind = NoticeKind::kFiring;
  AlertId alert_id;
  std::string fingerprint;
  Severity severity = Severity::kWarning;
  std::string summary;  // one line: "[critical] SloBurn: ..."
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  absl::Time starts_at;
  std::optional<absl::Time> ends_at;  // when it was resolved
  std::string generator_url;          // empty when no URL is configured

  bool resolved() const { return kind == NoticeKind::kResolved; }
};

// What `kind` of notice says of `alert`. `external_url` is where people reach the
// dashboard, without a slash at its end; it may be empty.
//
// Labels: the alert's own, and alertname, severity, tenant and rule; one of its
// own that has such a name becomes exported_<name>. Those without a value are
// left out, as Alertmanager does.
// REQUIRES: the alert has fired; for kResolved, it is resolved.
Notice NoticeOf(const Alert& alert, NoticeKind kind, std::string_view external_url);

// RFC 3339 in UTC: "2025-11-17T12:00:00Z", with a fraction when there is one.
std::string FormatRfc3339(absl::Time time);

// `text` made valid UTF-8 (U+FFFD for what is not), of at most `max_bytes`.
std::string CleanText(std::string_view text, size_t max_bytes);

}  // namespace weir::alerting
