// One line of JSON per notification, for a file that people or programs tail.
//
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "services/alerting/alert.h"
#include "services/alerting/notice.h"

namespace weir::alerting {

// The REST fields of the alert (alert.h), with `time` and `key` before all and
// tenant, rule, labels, incarnation and facts beside; `status` is that of the
// notice. Ends in a line feed and has no other. Repeats are the same line: `key`
// tells.
std::string RenderFileLine(const Alert& alert, const Notice& notice, std::string_view key,
                           absl::Time time);

}  // namespace weir::alerting
