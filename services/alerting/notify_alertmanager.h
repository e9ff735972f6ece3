// The body of POST /api/v2/alerts of a Prometheus Alertmanager.
//
// Alertmanager identifies an alert by its labels, and takes it for resolved at
// `endsAt`. While it fires that is some time ahead, as Prometheus has it:
//
//   endsAt = now + 4 * max(evaluation interval, resend interval)
//
// so that three lost sends do not resolve what is firing. Four minutes where both
// are one minute or less.
//
// Thread safety: pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/alerting/notice.h"

namespace weir::alerting {

struct AlertmanagerTiming {
  absl::Time now;
  absl::Duration evaluation_interval;
  absl::Duration resend_interval;
};

// JSON, UTF-8, the same bytes for the same arguments. Sent as application/json.
std::string RenderAlertmanager(const std::vector<Notice>& notices,
                               const AlertmanagerTiming& timing);

}  // namespace weir::alerting
