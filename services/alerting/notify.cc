#include "services/alerting/notify.h"

#include <optional>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "services/alerting/notice.h"
#include "services/alerting/notify_email.h"
#include "services/alerting/notify_file.h"
#include "services/alerting/notify_webhook.h"

namespace weir::alerting {
namespace {

bool Wants(const Receiver& receiver, const Alert& alert, NoticeKind kind) {
  if (alert.severity < receiver.min_severity) return false;
  if (kind == NoticeKind::kAcknowledged) return receiver.tells_acknowledged;
  return kind == NoticeKind::kFiring || !receiver.skips_resolved;
}

// What the row keeps: the same bytes for every send, whatever the alert does next.
absl::StatusOr<std::string> Payload(const Receiver& receiver, const Alert& alert,
                                    const Notice& notice, absl::Time time,
                                    std::string_view external_url) {
  const auto key_of = [&](NoticeKind kind) {
    return NotificationKey(alert.id, alert.incarnation, kind, receiver.name);
  };
  switch (receiver.kind) {
    case ReceiverKind::kAlertmanager:
      break;
    case ReceiverKind::kWebhook:
      return RenderWebhook(notice, receiver.name, external_url);
    case ReceiverKind::kFile:
      return RenderFileLine(alert, notice, key_of(notice.kind), time);
    case ReceiverKind::kEmail: {
      const bool first = notice.kind == NoticeKind::kFiring;
      return RenderEmail(notice, {.from = receiver.email_from,
                                  .to = receiver.email_to,
                                  .key = key_of(notice.kind),
                                  .in_reply_to_key = first ? "" : key_of(NoticeKind::kFiring),
                                  .date = time});
    }
  }
  return std::string();
}

}  // namespace

absl::StatusOr<std::vector<Addition>> AdditionsFor(const Alert& alert, const Transition& transition,
                                                   const std::vector<Receiver>& receivers,
                                                   std::string_view external_url) {
  std::vector<Addition> additions;
  const std::optional<NoticeKind> kind = NoticeKindOf(transition);
  if (!kind) return additions;
  const Notice notice = NoticeOf(alert, *kind, external_url);
  for (const Receiver& receiver : receivers) {
    if (!Wants(receiver, alert, *kind)) continue;
    WEIR_ASSIGN_OR_RETURN(std::string payload,
                          Payload(receiver, alert, notice, transition.time, external_url));
    additions.push_back({.alert_id = alert.id,
                         .incarnation = alert.incarnation,
                         .kind = *kind,
                         .receiver = receiver.name,
                         .payload = std::move(payload)});
  }
  return additions;
}

}  // namespace weir::alerting
