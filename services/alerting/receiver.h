// Who is told of alerts, and how a receiver's answer is read.
//
// Thread safety: values, thread-compatible; functions are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/alerting/alert.h"

namespace weir::alerting {

enum class ReceiverKind : uint8_t { kAlertmanager = 1, kWebhook = 2, kEmail = 3, kFile = 4 };

// One place notifications go to. Every peer of an Alertmanager cluster is a
// receiver of its own: they gossip, and one that is down must not hold up another.
struct Receiver {
  // Unique and stable: part of the keys of notifications, so a receiver that is
  // renamed is a new one. Not empty.
  std::string name;
  ReceiverKind kind = ReceiverKind::kWebhook;
  // Alerts below it are not for this receiver. The same for a whole episode, so
  // nobody hears the end of what they were not told the beginning of.
  Severity min_severity = Severity::kInfo;
  // Also says that an alert was acknowledged. Alertmanager has no such state.
  bool tells_acknowledged = false;
  // Says nothing when an alert resolves. Not for Alertmanager, which would wait.
  bool skips_resolved = false;

  // 0: a transition is sent until it is received, then never again. Otherwise a
  // firing alert is sent again so long after it was last received, for as long
  // as it fires; Alertmanager must be told so. Prometheus takes 1 min.
  absl::Duration resend_interval;
  // With a resend_interval: for how long after it was first received the end of
  // an alert is sent again. Alertmanager wants 5 min.
  absl::Duration resolved_resend_duration;

  // Waits between attempts double from the one to the other; a quarter on
  // average is taken off as jitter. Where there is a resend_interval, no wait is
  // longer: a receiver that forgets what it is not told must be told in time.
  absl::Duration min_backoff = absl::Seconds(1);
  absl::Duration max_backoff = absl::Minutes(5);
  // The longest wait a receiver may ask for with Retry-After.
  absl::Duration max_retry_after = absl::Hours(1);
  // A notification that was never received and is older than this becomes a dead
  // letter at its next failure; see outbox.h for what never does.
  absl::Duration max_age = absl::Hours(24);
  // Notifications of one alert that wait for this receiver; beyond it the oldest
  // becomes a dead letter. In [2, 10000].
  int max_waiting_count = 100;

  // kEmail: plain addresses, without names.
  std::string email_from;
  std::vector<std::string> email_to;

  // Errors: InvalidArgument, naming the receiver and the setting.
  absl::Status Validate() const;
};

// What became of one attempt.
enum class Delivery : uint8_t {
  kReceived,
  kFailed,   // try again
  kRefused,  // trying again would be refused again
  // An Alertmanager refused a request of several alerts, and kept those it found
  // valid: send each again in a request of its own, which tells them apart.
  kRefusedInPart,
};

struct Outcome {
  Delivery delivery = Delivery::kReceived;
  // Not before this long has passed, as the receiver asked; unbounded here.
  absl::Duration retry_after;
  std::string error;  // for people; empty when received
};

// An HTTP answer. Redirects are not followed: what is configured is where alerts
// go, and a redirect could send them and their signature elsewhere.
//
//   2xx                 received
//   408, 425, 429, 5xx  failed, and Retry-After is read
//   400                 of an Alertmanager and more than one alert: refused in part
//   everything else     refused
struct HttpAnswer {
  int status = 0;
  std::string_view retry_after;  // the header's value: seconds, or a date
  std::string_view body;         // as much as was kept
  int alert_count = 1;           // alerts in the request
};
Outcome ReadHttpAnswer(const HttpAnswer& answer, ReceiverKind kind, absl::Time now);

// An SMTP reply, whose digits mean the reverse: 2yz received, 5yz refused,
// everything else failed.
Outcome ReadSmtpReply(int code, std::string_view text);

// No answer, or a file that could not be written: failed.
Outcome NoAnswer(std::string_view error);

// The value of a Retry-After header: whole seconds, or an HTTP date. Absent when
// it is neither; 0 when it is in the past.
std::optional<absl::Duration> ParseRetryAfter(std::string_view value, absl::Time now);

}  // namespace weir::alerting
