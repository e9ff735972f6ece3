#include "services/alerting/receiver.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "common/base/strings.h"

namespace weir::alerting {
namespace {

bool AsksToRetry(int status) {
  return status == 408 || status == 425 || status == 429 || (status >= 500 && status < 600);
}

// The first of what a receiver said, without line breaks and the like.
std::string Excerpt(std::string_view text) {
  constexpr size_t kMaxBytes = 200;
  std::string excerpt(text.substr(0, kMaxBytes));
  for (char& c : excerpt) {
    if (c < ' ' || c > '~') c = ' ';
  }
  while (!excerpt.empty() && excerpt.back() == ' ') excerpt.pop_back();
  return excerpt;
}

std::string Said(std::string_view protocol, int code, std::string_view text) {
  const std::string excerpt = Excerpt(text);
  return excerpt.empty() ? StrCat(protocol, " ", code) : StrCat(protocol, " ", code, ": ", excerpt);
}

}  // namespace

absl::Status Receiver::Validate() const {
  const auto invalid = [this](std::string_view why) {
    return absl::InvalidArgumentError(StrCat("receiver '", name, "': ", why));
  };
  if (name.empty()) return invalid("name: empty");
  if (resend_interval < absl::ZeroDuration()) return invalid("resend_interval: below 0");
  if (resend_interval > absl::ZeroDuration() && resend_interval < absl::Seconds(1)) {
    return invalid("resend_interval: below 1 s");
  }
  if (resolved_resend_duration < absl::ZeroDuration()) {
    return invalid("resolved_resend_duration: below 0");
  }
  if (min_backoff < absl::Milliseconds(10)) return invalid("min_backoff: below 10 ms");
  if (max_backoff < min_backoff) return invalid("max_backoff: below min_backoff");
  if (max_retry_after < absl::ZeroDuration()) return invalid("max_retry_after: below 0");
  if (max_age <= absl::ZeroDuration()) return invalid("max_age: not above 0");
  if (max_waiting_count < 2 || max_waiting_count > 10'000) {
    return invalid("max_waiting_count: not in [2, 10000]");
  }
  if (kind == ReceiverKind::kAlertmanager) {
    if (resend_interval == absl::ZeroDuration()) {
      return invalid("resend_interval: an Alertmanager forgets what it is not told again");
    }
    if (skips_resolved) return invalid("skips_resolved: not for an Alertmanager");
    if (tells_acknowledged) {
      return invalid("tells_acknowledged: an Alertmanager has no such state");
    }
  }
  if (kind == ReceiverKind::kEmail && (email_from.empty() || email_to.empty())) {
    return invalid("email_from and email_to: needed");
  }
  return absl::OkStatus();
}

std::optional<absl::Duration> ParseRetryAfter(std::string_view value, absl::Time now) {
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  if (value.empty()) return std::nullopt;
  if (std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    int64_t seconds = 0;
    // More digits than an int64 has: for ever, as far as anyone waits.
    if (!absl::SimpleAtoi(AbslView(value), &seconds)) return absl::InfiniteDuration();
    return absl::Seconds(seconds);
  }
  absl::Time time;
  std::string error;
  // ParseTime also knows "infinite-future", whatever the format.
  if (!absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", AbslView(value), &time, &error) ||
      time == absl::InfiniteFuture() || time == absl::InfinitePast()) {
    return std::nullopt;
  }
  return std::max(absl::ZeroDuration(), time - now);
}

Outcome ReadHttpAnswer(const HttpAnswer& answer, ReceiverKind kind, absl::Time now) {
  if (answer.status >= 200 && answer.status < 300) return {};
  Outcome outcome;
  outcome.error = Said("HTTP", answer.status, answer.body);
  if (AsksToRetry(answer.status)) {
    outcome.delivery = Delivery::kFailed;
    outcome.retry_after = ParseRetryAfter(answer.retry_after, now).value_or(absl::ZeroDuration());
  } else if (answer.status == 400 && kind == ReceiverKind::kAlertmanager &&
             answer.alert_count > 1) {
    outcome.delivery = Delivery::kRefusedInPart;
  } else {
    outcome.delivery = Delivery::kRefused;
  }
  return outcome;
}

Outcome ReadSmtpReply(int code, std::string_view text) {
  if (code >= 200 && code < 300) return {};
  Outcome outcome;
  outcome.delivery = code >= 500 && code < 600 ? Delivery::kRefused : Delivery::kFailed;
  outcome.error = Said("SMTP", code, text);
  return outcome;
}

Outcome NoAnswer(std::string_view error) {
  Outcome outcome;
  outcome.delivery = Delivery::kFailed;
  outcome.error = Excerpt(error);
  return outcome;
}

}  // namespace weir::alerting
