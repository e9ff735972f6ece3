// A webhook's body, in the shape of Alertmanager's version "4", and the headers
// that say who sent it.
//
// What reads Alertmanager's webhooks reads ours: one alert to a request, as a
// group of its own, so `truncatedAlerts` is always 0 and `groupLabels` are the
// alert's labels. An acknowledgement has no status there: it says "firing", and
// annotations acknowledged_by and acknowledged_comment.
//
// The signature covers the time and the exact bytes of the body:
//
//   X-Weir-Timestamp: 1763380800
//   X-Weir-Signature: v1=<hex of HMAC-SHA256(secret, "1763380800." + body)>
//   Idempotency-Key:  <32 hex digits, the same in every repeat>
//
// There is one "v1=" per secret, separated by commas, so that a secret can be
// replaced without a gap. A receiver takes the request when one of them is what
// it computes itself, compared in constant time, and the timestamp is within five
// minutes of its clock; it drops a key it has seen. A repeat has the same body and
// key and a new timestamp.
//
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "services/alerting/notice.h"

namespace weir::alerting {

// JSON, UTF-8, the same bytes for the same arguments.
std::string RenderWebhook(const Notice& notice, std::string_view receiver,
                          std::string_view external_url);

// Names and values of the headers a request carries, Content-Type among them;
// none has a line break. No signature without secrets.
std::vector<std::pair<std::string, std::string>> WebhookHeaders(
    std::string_view body, std::string_view key, const std::vector<std::string>& secrets,
    absl::Time now);

// 32 bytes (RFC 2104 with SHA-256).
std::string HmacSha256(std::string_view secret, std::string_view bytes);

}  // namespace weir::alerting
