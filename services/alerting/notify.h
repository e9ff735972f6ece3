// From a transition to the notifications that are committed with it.
//
// Thread safety: pure functions.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "services/alerting/alert.h"
#include "services/alerting/outbox.h"
#include "services/alerting/receiver.h"

namespace weir::alerting {

// Who is told of `transition`, and what: the additions to commit with it. `alert`
// is the alert after it. Errors: InvalidArgument for an e-mail address that is none.
absl::StatusOr<std::vector<Addition>> AdditionsFor(const Alert& alert, const Transition& transition,
                                                   const std::vector<Receiver>& receivers,
                                                   std::string_view external_url);

}  // namespace weir::alerting
