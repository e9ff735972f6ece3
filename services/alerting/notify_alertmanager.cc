#include "services/alerting/notify_alertmanager.h"

#include <algorithm>

#include "services/alerting/json.h"

namespace weir::alerting {

std::string RenderAlertmanager(const std::vector<Notice>& notices,
                               const AlertmanagerTiming& timing) {
  const absl::Time assumed_end =
      timing.now + 4 * std::max(timing.evaluation_interval, timing.resend_interval);
  nlohmann::json body = nlohmann::json::array();
  for (const Notice& notice : notices) {
    nlohmann::json alert = {
        {"labels", notice.labels},
        {"annotations", notice.annotations},
        {"startsAt", FormatRfc3339(notice.starts_at)},
        {"endsAt", FormatRfc3339(notice.ends_at.value_or(assumed_end))},
    };
    if (!notice.generator_url.empty()) alert["generatorURL"] = notice.generator_url;
    body.push_back(std::move(alert));
  }
  return DumpJson(body);
}

}  // namespace weir::alerting
