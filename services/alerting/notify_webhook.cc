#include "services/alerting/notify_webhook.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "absl/strings/escaping.h"
#include "common/base/check.h"
#include "common/base/strings.h"
#include "services/alerting/json.h"

namespace weir::alerting {

std::string RenderWebhook(const Notice& notice, std::string_view receiver,
                          std::string_view external_url) {
  const char* const status = notice.resolved() ? "resolved" : "firing";
  const nlohmann::json alert = {
      {"status", status},
      {"labels", notice.labels},
      {"annotations", notice.annotations},
      {"startsAt", FormatRfc3339(notice.starts_at)},
      // What Alertmanager says of an end that is not known: Go's zero time.
      {"endsAt", notice.ends_at ? FormatRfc3339(*notice.ends_at) : "0001-01-01T00:00:00Z"},
      {"generatorURL", notice.generator_url},
      {"fingerprint", notice.fingerprint.substr(0, 16)},
  };
  const nlohmann::json body = {
      {"version", "4"},
      {"groupKey", StrCat("weir:", notice.alert_id.ToHex())},
      {"truncatedAlerts", 0},
      {"status", status},
      {"receiver", std::string(receiver)},
      {"groupLabels", notice.labels},
      {"commonLabels", notice.labels},
      {"commonAnnotations", notice.annotations},
      {"externalURL", std::string(external_url)},
      {"alerts", nlohmann::json::array({alert})},
  };
  return DumpJson(body);
}

std::string HmacSha256(std::string_view secret, std::string_view bytes) {
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned int size = 0;
  const unsigned char* const made =
      HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
           reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
           reinterpret_cast<unsigned char*>(digest.data()), &size);
  WEIR_CHECK(made != nullptr);
  digest.resize(size);
  return digest;
}

std::vector<std::pair<std::string, std::string>> WebhookHeaders(
    std::string_view body, std::string_view key, const std::vector<std::string>& secrets,
    absl::Time now) {
  std::vector<std::pair<std::string, std::string>> headers = {
      {"Content-Type", "application/json"},
      {"Idempotency-Key", std::string(key)},
  };
  if (secrets.empty()) return headers;
  const std::string timestamp = StrCat(absl::ToUnixSeconds(now));
  const std::string signed_bytes = StrCat(timestamp, ".", body);
  std::string signatures;
  for (const std::string& secret : secrets) {
    StrAppend(&signatures, signatures.empty() ? "" : ",",
              "v1=", absl::BytesToHexString(HmacSha256(secret, signed_bytes)));
  }
  headers.emplace_back("X-Weir-Timestamp", timestamp);
  headers.emplace_back("X-Weir-Signature", signatures);
  return headers;
}

}  // namespace weir::alerting
