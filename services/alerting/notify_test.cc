#include "services/alerting/notify.h"

#include <limits>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/base/random.h"
#include "common/base/sha256.h"
#include "common/base/strings.h"
#include "common/testing/status_matchers.h"
#include "common/testing/test_seed.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "re2/re2.h"
#include "services/alerting/json.h"
#include "services/alerting/lifecycle.h"
#include "services/alerting/notice.h"
#include "services/alerting/notify_alertmanager.h"
#include "services/alerting/notify_email.h"
#include "services/alerting/notify_file.h"
#include "services/alerting/notify_webhook.h"

namespace weir::alerting {
namespace {

using nlohmann::json;
using test::IsOk;
using test::StatusIs;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

constexpr char kUrl[] = "https://weir.example";
const absl::Time kFired = absl::FromUnixSeconds(1'763'380'800);  // 2025-11-17T12:00:00Z

Rule TestRule() {
  Rule rule;
  rule.tenant = "acme";
  rule.id = "budgets/coder/warning";
  rule.alert_name = "BudgetOverrun";
  rule.type = AlertType::kBudgetOverrun;
  rule.severity = Severity::kWarning;
  rule.agent_name = "coder";
  rule.metric = "budget_utilization";
  rule.annotations = {{"runbook_url", "https://runbooks.example/budget"}};
  return rule;
}

Evidence TestEvidence() {
  return {.current_value = 24.5,
          .expected_value = 30,
          .threshold_value = 24,
          .message = "coder at 81.7% utilization ($24.50/$30.00)",
          .facts = {{"spend_usd", "24.500000000000"}}};
}

Stepped FiringAlert(Evidence evidence = TestEvidence(),
                    std::vector<Label> labels = {{"budget", "coder"}}, Rule rule = TestRule()) {
  return Step(rule, NewAlert(rule, std::move(labels)),
              {.truth = Truth::kTrue, .evidence = std::move(evidence)}, kFired);
}

Stepped ResolvedAlert() {
  const Alert alert = Acknowledge(FiringAlert().alert, {.by = "ada", .comment = "on it"},
                                  kFired + absl::Seconds(30))
                          ->alert;
  return Step(TestRule(), alert, {.truth = Truth::kFalse}, kFired + absl::Seconds(90));
}

Notice FiringNotice() { return NoticeOf(FiringAlert().alert, NoticeKind::kFiring, kUrl); }
Notice ResolvedNotice() { return NoticeOf(ResolvedAlert().alert, NoticeKind::kResolved, kUrl); }

// ---- Schemas ----

// What is wrong with `value` by `schema`, in the part of JSON Schema that the
// Alertmanager's description of its API uses; empty when nothing is.
std::string SchemaError(const json& schema, const json& value, const std::string& at = "$") {
  const std::string type = schema.value("type", "");
  const bool fits =
      (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
      (type == "string" && value.is_string()) || (type == "integer" && value.is_number_integer());
  if (!fits) return StrCat(at, " is not of type ", type);
  if (schema.contains("enum")) {
    bool found = false;
    for (const json& allowed : schema["enum"]) found = found || allowed == value;
    if (!found) return StrCat(at, " is not in the enum");
  }
  const std::string format = schema.value("format", "");
  if (format == "date-time") {
    static const RE2 kDateTime(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))");
    if (!RE2::FullMatch(value.get<std::string>(), kDateTime)) return at + " is no date-time";
  }
  if (format == "uri") {
    static const RE2 kUri(R"([a-z][a-z0-9+.-]*://[!-~]+)");
    if (!RE2::FullMatch(value.get<std::string>(), kUri)) return at + " is no uri";
  }
  if (type == "array") {
    for (size_t i = 0; i < value.size(); ++i) {
      const std::string error = SchemaError(schema["items"], value[i], StrCat(at, "[", i, "]"));
      if (!error.empty()) return error;
    }
  }
  if (type != "object") return "";
  for (const json& name : schema.value("required", json::array())) {
    if (!value.contains(name.get<std::string>())) return StrCat(at, " lacks ", name.dump());
  }
  const json properties = schema.value("properties", json::object());
  for (const auto& [name, member] : value.items()) {
    const json additional = schema.value("additionalProperties", json());
    if (!properties.contains(name) && additional.is_null()) return StrCat(at, " has ", name);
    const std::string error = SchemaError(properties.contains(name) ? properties[name] : additional,
                                          member, StrCat(at, ".", name));
    if (!error.empty()) return error;
  }
  return "";
}

const json& LabelSetSchema() {
  static const json schema = {{"type", "object"}, {"additionalProperties", {{"type", "string"}}}};
  return schema;
}

// postableAlerts of the Alertmanager's API, version 2.
json PostableAlertsSchema() {
  const json time = {{"type", "string"}, {"format", "date-time"}};
  const json alert = {{"type", "object"},
                      {"required", {"labels"}},
                      {"properties",
                       {{"labels", LabelSetSchema()},
                        {"annotations", LabelSetSchema()},
                        {"startsAt", time},
                        {"endsAt", time},
                        {"generatorURL", {{"type", "string"}, {"format", "uri"}}}}}};
  return {{"type", "array"}, {"items", alert}};
}

// A webhook message of version 4, as the Alertmanager's documentation lists it.
json WebhookSchema() {
  const json text = {{"type", "string"}};
  const json time = {{"type", "string"}, {"format", "date-time"}};
  const json status = {{"type", "string"}, {"enum", {"firing", "resolved"}}};
  const json alert = {
      {"type", "object"},
      {"required",
       {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}},
      {"properties",
       {{"status", status},
        {"labels", LabelSetSchema()},
        {"annotations", LabelSetSchema()},
        {"startsAt", time},
        {"endsAt", time},
        {"generatorURL", text},
        {"fingerprint", text}}}};
  return {{"type", "object"},
          {"required",
           {"version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels",
            "commonLabels", "commonAnnotations", "externalURL", "alerts"}},
          {"properties",
           {{"version", {{"type", "string"}, {"enum", {"4"}}}},
            {"groupKey", text},
            {"truncatedAlerts", {{"type", "integer"}}},
            {"status", status},
            {"receiver", text},
            {"groupLabels", LabelSetSchema()},
            {"commonLabels", LabelSetSchema()},
            {"commonAnnotations", LabelSetSchema()},
            {"externalURL", text},
            {"alerts", {{"type", "array"}, {"items", alert}}}}}};
}

TEST(Schemas, NoticeWhatIsWrong) {
  const json schema = PostableAlertsSchema();
  EXPECT_EQ(SchemaError(schema, json::parse(R"([{"labels":{"a":"b"}}])")), "");
  EXPECT_NE(SchemaError(schema, json::parse(R"([{}])")), "");
  EXPECT_NE(SchemaError(schema, json::parse(R"({})")), "");
  EXPECT_NE(SchemaError(schema, json::parse(R"([{"labels":{"a":1}}])")), "");
  EXPECT_NE(SchemaError(schema, json::parse(R"([{"labels":{},"endsAt":"soon"}])")), "");
  EXPECT_NE(SchemaError(schema, json::parse(R"([{"labels":{},"else":""}])")), "");
}

// ---- Notices ----

TEST(Notice, LabelsIdentifyAndAnnotationsExplain) {
  const Notice notice = FiringNotice();
  EXPECT_THAT(notice.labels,
              ElementsAre(Pair("alertname", "BudgetOverrun"), Pair("budget", "coder"),
                          Pair("rule", "budgets/coder/warning"), Pair("severity", "warning"),
                          Pair("tenant", "acme")));
  EXPECT_EQ(notice.summary, "[warning] BudgetOverrun: coder at 81.7% utilization ($24.50/$30.00)");
  EXPECT_THAT(notice.annotations, Contains(Pair("current_value", "24.5")));
  EXPECT_THAT(notice.annotations, Contains(Pair("spend_usd", "24.500000000000")));
  EXPECT_THAT(notice.annotations, Contains(Pair("runbook_url", HasSubstr("https://"))));
  EXPECT_EQ(notice.generator_url,
            StrCat("https://weir.example/alerts/", FiringAlert().alert.id.ToHex()));
  EXPECT_EQ(notice.ends_at, std::nullopt);
  const Notice resolved = ResolvedNotice();
  EXPECT_EQ(resolved.labels, notice.labels) << "or nobody knows that it is the same alert";
  EXPECT_EQ(resolved.ends_at, kFired + absl::Seconds(90));
  EXPECT_THAT(resolved.annotations, Contains(Pair("resolved_cause", "cleared")));
  EXPECT_THAT(resolved.annotations, Contains(Pair("acknowledged_by", "ada")));
}

TEST(Notice, AFiringNoticeThatIsLateStillSaysFiring) {
  const Notice notice = NoticeOf(ResolvedAlert().alert, NoticeKind::kFiring, kUrl);
  EXPECT_FALSE(notice.resolved());
  EXPECT_EQ(notice.ends_at, std::nullopt);
  EXPECT_THAT(notice.annotations, Not(Contains(Key("acknowledged_by"))));
}

TEST(Notice, LabelNamesFitPrometheusAndNeverHideOneAnother) {
  const Alert alert = FiringAlert({}, {{"gen_ai.request.model", "gpt"},
                                       {"gen_ai_request_model", "other"},
                                       {"9lives", "x"},
                                       {"severity", "mine"},
                                       {"empty", ""},
                                       {"\xC3\xA9", "e"}})
                          .alert;
  const Notice notice = NoticeOf(alert, NoticeKind::kFiring, "");
  EXPECT_EQ(notice.labels.at("gen_ai_request_model"), "gpt");
  EXPECT_EQ(notice.labels.at("gen_ai_request_model_"), "other");
  EXPECT_EQ(notice.labels.at("_9lives"), "x");
  EXPECT_EQ(notice.labels.at("severity"), "warning");
  EXPECT_EQ(notice.labels.at("exported_severity"), "mine");
  EXPECT_EQ(notice.labels.at("__"), "e");
  EXPECT_FALSE(notice.labels.contains("empty"));
  EXPECT_EQ(notice.generator_url, "");
}

TEST(CleanText, IsUtf8OfBoundedLength) {
  EXPECT_EQ(CleanText("caf\xC3\xA9", 100), "caf\xC3\xA9");
  EXPECT_EQ(CleanText("a\xFF"
                      "b\xC3",
                      100),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD");
  EXPECT_EQ(CleanText("\xED\xA0\x80", 100).size(), 9u) << "a surrogate is three wrong bytes";
  EXPECT_EQ(CleanText("\xC0\x80", 100).size(), 6u) << "an overlong form";
  EXPECT_EQ(CleanText("0123456789", 10), "0123456789");
  EXPECT_EQ(CleanText("0123456789a", 10), "0123456\xE2\x80\xA6");
  EXPECT_EQ(CleanText("01234\xC3\xA9\xC3\xA9\xC3\xA9", 10), "01234\xC3\xA9\xE2\x80\xA6");
}

TEST(FormatRfc3339, HasAFractionOnlyWhenThereIsOne) {
  EXPECT_EQ(FormatRfc3339(kFired), "2025-11-17T12:00:00Z");
  EXPECT_EQ(FormatRfc3339(kFired + absl::Microseconds(1500)), "2025-11-17T12:00:00.0015Z");
}

// ---- Alertmanager ----

TEST(NotifyAlertmanager, FiringEndsFourIntervalsAheadAndResolvedWhenItDid) {
  const std::string body = RenderAlertmanager({FiringNotice(), ResolvedNotice()},
                                              {.now = kFired + absl::Seconds(100),
                                               .evaluation_interval = absl::Seconds(10),
                                               .resend_interval = absl::Minutes(1)});
  const json parsed = json::parse(body);
  EXPECT_EQ(SchemaError(PostableAlertsSchema(), parsed), "");
  ASSERT_EQ(parsed.size(), 2u);
  EXPECT_EQ(parsed[0]["startsAt"], "2025-11-17T12:00:00Z");
  EXPECT_EQ(parsed[0]["endsAt"], "2025-11-17T12:05:40Z");
  EXPECT_EQ(parsed[1]["endsAt"], "2025-11-17T12:01:30Z");
  EXPECT_EQ(parsed[0]["labels"], parsed[1]["labels"]);
  EXPECT_EQ(parsed[0]["labels"]["alertname"], "BudgetOverrun");
}

TEST(NotifyAlertmanager, ALongEvaluationIntervalCounts) {
  const json parsed =
      json::parse(RenderAlertmanager({FiringNotice()}, {.now = kFired,
                                                        .evaluation_interval = absl::Minutes(5),
                                                        .resend_interval = absl::Minutes(1)}));
  EXPECT_EQ(parsed[0]["endsAt"], "2025-11-17T12:20:00Z");
}

TEST(NotifyAlertmanager, HostileTextIsStillTheSchemasJson) {
  Random random(test::TestSeed());
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (uint64_t i = random.Below(80); i > 0; --i) text.push_back(static_cast<char>(random()));
    Rule rule = TestRule();
    rule.alert_name = text;
    rule.annotations = {{text, text}};
    Evidence evidence;
    evidence.current_value = std::numeric_limits<double>::quiet_NaN();
    evidence.message = text;
    evidence.facts = {{text, text}};
    const Stepped stepped = FiringAlert(evidence, {{StrCat("n", text), text}}, rule);
    const Notice notice = NoticeOf(stepped.alert, NoticeKind::kFiring, kUrl);
    EXPECT_EQ(SchemaError(PostableAlertsSchema(), json::parse(RenderAlertmanager({notice}, {}))),
              "");
    EXPECT_EQ(SchemaError(WebhookSchema(), json::parse(RenderWebhook(notice, text, kUrl))), "");
    const std::string line = RenderFileLine(stepped.alert, notice, "k", kFired);
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    EXPECT_TRUE(json::parse(line)["current_value"].is_null());
    for (const auto& [name, value] : notice.labels) {
      EXPECT_TRUE(RE2::FullMatch(name, "[a-zA-Z_][a-zA-Z0-9_]*")) << absl::CEscape(name);
    }
  }
}

// ---- Webhook ----

TEST(NotifyWebhook, IsAlertmanagersVersionFour) {
  const json firing = json::parse(RenderWebhook(FiringNotice(), "hook", kUrl));
  EXPECT_EQ(SchemaError(WebhookSchema(), firing), "");
  EXPECT_EQ(firing["status"], "firing");
  EXPECT_EQ(firing["receiver"], "hook");
  EXPECT_EQ(firing["truncatedAlerts"], 0);
  EXPECT_EQ(firing["groupKey"], StrCat("weir:", FiringAlert().alert.id.ToHex()));
  EXPECT_EQ(firing["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
  EXPECT_EQ(firing["alerts"][0]["fingerprint"], FiringAlert().alert.fingerprint.substr(0, 16));
  EXPECT_EQ(firing["commonLabels"], firing["alerts"][0]["labels"]);
  const json resolved = json::parse(RenderWebhook(ResolvedNotice(), "hook", kUrl));
  EXPECT_EQ(SchemaError(WebhookSchema(), resolved), "");
  EXPECT_EQ(resolved["status"], "resolved");
  EXPECT_EQ(resolved["alerts"][0]["endsAt"], "2025-11-17T12:01:30Z");
  EXPECT_EQ(resolved["groupKey"], firing["groupKey"]);
  EXPECT_EQ(RenderWebhook(FiringNotice(), "hook", kUrl),
            RenderWebhook(FiringNotice(), "hook", kUrl));
}

TEST(HmacSha256, HasTheValuesOfRfc4231) {
  const auto hex = [](std::string_view secret, std::string_view bytes) {
    return absl::BytesToHexString(HmacSha256(secret, bytes));
  };
  EXPECT_EQ(hex(std::string(20, '\x0b'), "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

// RFC 2104 by its definition.
std::string Hmac(std::string key, std::string_view bytes) {
  if (key.size() > 64) key = Sha256(key);
  key.resize(64, '\0');
  std::string inner = key;
  std::string outer = key;
  for (char& c : inner) c = static_cast<char>(c ^ 0x36);
  for (char& c : outer) c = static_cast<char>(c ^ 0x5c);
  return Sha256(outer + Sha256(inner.append(bytes)));
}

TEST(NotifyWebhook, SignsTheTimeAndTheBodyWithEverySecret) {
  const std::string body = RenderWebhook(FiringNotice(), "hook", kUrl);
  const std::string old_secret(100, 's');
  const auto headers = WebhookHeaders(body, "abc123", {"new", old_secret}, kFired);
  const std::string input = StrCat("1763380800.", body);
  EXPECT_THAT(headers,
              ElementsAre(Pair("Content-Type", "application/json"),
                          Pair("Idempotency-Key", "abc123"), Pair("X-Weir-Timestamp", "1763380800"),
                          Pair("X-Weir-Signature",
                               StrCat("v1=", absl::BytesToHexString(Hmac("new", input)),
                                      ",v1=", absl::BytesToHexString(Hmac(old_secret, input))))));
  EXPECT_EQ(WebhookHeaders(body, "abc123", {}, kFired).size(), 2u);
}

// ---- E-mail ----

EmailEnvelope TestEnvelope() {
  return {.from = "weir@example.com",
          .to = {"oncall@example.com", "ops+x@example.org"},
          .key = "k1",
          .in_reply_to_key = "",
          .date = kFired};
}

// The header lines, unfolded.
std::vector<std::string> HeadersOf(const std::string& message) {
  std::string head = message.substr(0, message.find("\r\n\r\n"));
  RE2::GlobalReplace(&head, "\r\n ", " ");
  return absl::StrSplit(head, "\r\n");
}

TEST(NotifyEmail, IsAMessageThatMailReadersThread) {
  WEIR_ASSERT_OK_AND_ASSIGN(const std::string message, RenderEmail(FiringNotice(), TestEnvelope()));
  const std::vector<std::string> headers = HeadersOf(message);
  EXPECT_THAT(headers, Contains("Date: Mon, 17 Nov 2025 12:00:00 +0000"));
  EXPECT_THAT(headers, Contains("From: weir@example.com"));
  EXPECT_THAT(headers, Contains("To: oncall@example.com, ops+x@example.org"));
  EXPECT_THAT(headers, Contains("Message-ID: <k1@example.com>"));
  EXPECT_THAT(headers, Contains("Auto-Submitted: auto-generated"));
  EXPECT_THAT(headers, Not(Contains(HasSubstr("In-Reply-To"))));
  EXPECT_THAT(message, HasSubstr("\r\n\r\n[warning] BudgetOverrun: coder at 81.7%"));
  EmailEnvelope reply = TestEnvelope();
  reply.in_reply_to_key = "k0";
  WEIR_ASSERT_OK_AND_ASSIGN(const std::string second, RenderEmail(ResolvedNotice(), reply));
  EXPECT_THAT(HeadersOf(second), Contains("In-Reply-To: <k0@example.com>"));
  EXPECT_THAT(HeadersOf(second), Contains("References: <k0@example.com>"));
}

TEST(NotifyEmail, ASubjectOfAnyScriptIsEncodedWordsOfWholeCharacters) {
  Notice notice = FiringNotice();
  notice.summary.clear();
  for (int i = 0; i < 40; ++i) notice.summary += "\xE6\x97\xA5\xF0\x9F\x98\x80x";
  WEIR_ASSERT_OK_AND_ASSIGN(const std::string message, RenderEmail(notice, TestEnvelope()));
  std::string decoded;
  for (const std::string& header : HeadersOf(message)) {
    if (!absl::StartsWith(header, "Subject: ")) continue;
    for (const auto& word : absl::StrSplit(header.substr(9), ' ')) {
      std::string encoded;
      ASSERT_TRUE(
          RE2::FullMatch(std::string(word), R"(=\?UTF-8\?B\?([A-Za-z0-9+/=]*)\?=)", &encoded));
      EXPECT_LE(std::string(word).size(), 75u);
      std::string bytes;
      ASSERT_TRUE(absl::Base64Unescape(encoded, &bytes));
      EXPECT_EQ(CleanText(bytes, 1000), bytes) << "a character was split";
      decoded += bytes;
    }
  }
  EXPECT_EQ(decoded, notice.summary);
}

TEST(NotifyEmail, NoTextBecomesAHeaderOrALongLine) {
  Random random(test::TestSeed());
  WEIR_ASSERT_OK_AND_ASSIGN(const std::string plain, RenderEmail(FiringNotice(), TestEnvelope()));
  const size_t header_count = HeadersOf(plain).size();
  const std::vector<std::string> pieces = {"\r\n",  "\n",    "\r", "Bcc: a@b.c", "\r\n\r\n",
                                           ".",     "\n.\n", "=?", "\xC3\xA9",   "\xFF",
                                           "From ", " \n",   "=",  "\t",         "wide wide wide"};
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (uint64_t i = random.Below(30); i > 0; --i) text += pieces[random.Below(pieces.size())];
    Notice notice = FiringNotice();
    notice.summary = text;
    notice.annotations["description"] = CleanText(text, kMaxTextBytes);
    notice.labels["x"] = CleanText(text, kMaxTextBytes);
    WEIR_ASSERT_OK_AND_ASSIGN(const std::string message, RenderEmail(notice, TestEnvelope()));
    ASSERT_EQ(HeadersOf(message).size(), header_count) << absl::CEscape(text);
    for (const auto& line : absl::StrSplit(message, "\r\n")) {
      ASSERT_LE(line.size(), 76u);
      ASSERT_EQ(line.find_first_of("\r\n"), std::string::npos) << "a bare line break";
      for (const char c : line) ASSERT_TRUE(c == '\t' || (c >= ' ' && c <= '~'));
    }
  }
}

TEST(NotifyEmail, TheBodyIsQuotedPrintableOfTheText) {
  Notice notice = FiringNotice();
  notice.annotations["description"] =
      StrCat("100% = caf\xC3\xA9 \nend", std::string(100, 'x'), "\t");
  WEIR_ASSERT_OK_AND_ASSIGN(const std::string message, RenderEmail(notice, TestEnvelope()));
  std::string body = message.substr(message.find("\r\n\r\n") + 4);
  EXPECT_THAT(body, HasSubstr("100% =3D caf=C3=A9=20\r\nend"));
  EXPECT_THAT(body, HasSubstr("=09\r\n"));
  // Decoded, it is what was written.
  RE2::GlobalReplace(&body, "=\r\n", "");
  EXPECT_THAT(body, HasSubstr(StrCat("\r\nend", std::string(100, 'x'), "=09\r\n")));
}

TEST(NotifyEmail, AnAddressThatCouldMeanMoreIsRefused) {
  for (const char* address : {"a@b", "first.last+tag@example.com", "o'neil@example.com"}) {
    EXPECT_THAT(CheckEmailAddress(address), IsOk());
  }
  for (const std::string address :
       {"", "a", "@b", "a@", "a@b@c", "a b@c", "a@b,c@d", "<a@b>", "a@b\r\nBcc: c@d", "a@b;",
        "\"x\"@b", "a@b\xC3\xA9", "a(x)@b"}) {
    EXPECT_THAT(CheckEmailAddress(address),
                StatusIs(absl::StatusCode::kInvalidArgument, testing::_));
    EmailEnvelope envelope = TestEnvelope();
    envelope.to.push_back(address);
    EXPECT_FALSE(RenderEmail(FiringNotice(), envelope).ok());
  }
  EXPECT_FALSE(CheckEmailAddress(std::string(250, 'a') + "@b.cd").ok());
}

// ---- File ----

TEST(NotifyFile, ALineHasTheFieldsOfTheRestRecord) {
  const Alert alert = ResolvedAlert().alert;
  const std::string line =
      RenderFileLine(alert, ResolvedNotice(), "k1", kFired + absl::Seconds(90));
  const json parsed = json::parse(line);
  EXPECT_EQ(parsed["id"], alert.id.ToHex());
  EXPECT_EQ(parsed["agent_name"], "coder");
  EXPECT_EQ(parsed["type"], "budget_overrun");
  EXPECT_EQ(parsed["severity"], "warning");
  EXPECT_EQ(parsed["metric"], "budget_utilization");
  EXPECT_EQ(parsed["current_value"], 24.5);
  EXPECT_EQ(parsed["expected_value"], 30.0);
  EXPECT_EQ(parsed["threshold_value"], 24.0);
  EXPECT_NEAR(parsed["deviation_percent"].get<double>(), -18.33, 0.005);
  EXPECT_EQ(parsed["message"], TestEvidence().message);
  EXPECT_EQ(parsed["status"], "resolved");
  EXPECT_EQ(parsed["detected_at"], "2025-11-17T12:00:00Z");
  EXPECT_EQ(parsed["acknowledged_at"], "2025-11-17T12:00:30Z");
  EXPECT_EQ(parsed["resolved_at"], "2025-11-17T12:01:30Z");
  EXPECT_EQ(line.find("{\"time\":\"2025-11-17T12:01:30Z\",\"key\":\"k1\","), 0u);
  const json firing =
      json::parse(RenderFileLine(FiringAlert().alert, FiringNotice(), "k0", kFired));
  EXPECT_EQ(firing["status"], "active");
  EXPECT_TRUE(firing["acknowledged_at"].is_null());
  EXPECT_TRUE(firing["resolved_at"].is_null());
}

// ---- Who is told ----

std::vector<Receiver> AllReceivers() {
  Receiver alertmanager = {.name = "am", .kind = ReceiverKind::kAlertmanager};
  alertmanager.resend_interval = absl::Minutes(1);
  Receiver webhook = {.name = "hook", .kind = ReceiverKind::kWebhook};
  webhook.skips_resolved = true;
  Receiver mail = {.name = "mail", .kind = ReceiverKind::kEmail};
  mail.min_severity = Severity::kCritical;
  mail.email_from = "weir@example.com";
  mail.email_to = {"oncall@example.com"};
  Receiver file = {.name = "file", .kind = ReceiverKind::kFile};
  file.tells_acknowledged = true;
  return {alertmanager, webhook, mail, file};
}

std::vector<std::string> Told(const Stepped& stepped) {
  std::vector<std::string> told;
  const auto additions = AdditionsFor(stepped.alert, *stepped.transition, AllReceivers(), kUrl);
  EXPECT_THAT(additions, IsOk());
  for (const Addition& addition : *additions) told.push_back(addition.receiver);
  return told;
}

TEST(AdditionsFor, EveryReceiverHearsWhatItWants) {
  EXPECT_THAT(Told(FiringAlert()), ElementsAre("am", "hook", "file"));
  Rule critical = TestRule();
  critical.severity = Severity::kCritical;
  EXPECT_THAT(Told(FiringAlert(TestEvidence(), {}, critical)),
              ElementsAre("am", "hook", "mail", "file"));
  EXPECT_THAT(Told(*Acknowledge(FiringAlert().alert, {.by = "ada"}, kFired)), ElementsAre("file"));
  EXPECT_THAT(Told(ResolvedAlert()), ElementsAre("am", "file"));
  Rule slow = TestRule();
  slow.for_duration = absl::Minutes(1);
  EXPECT_THAT(Told(FiringAlert(TestEvidence(), {}, slow)), IsEmpty()) << "pending is nobody's";
}

TEST(AdditionsFor, PayloadsAreWhatIsSentAndCarryTheirKeys) {
  Rule critical = TestRule();
  critical.severity = Severity::kCritical;
  const Stepped stepped = FiringAlert(TestEvidence(), {}, critical);
  WEIR_ASSERT_OK_AND_ASSIGN(const std::vector<Addition> additions,
                            AdditionsFor(stepped.alert, *stepped.transition, AllReceivers(), kUrl));
  const auto key = [&](const char* receiver) {
    return NotificationKey(stepped.alert.id, 1, NoticeKind::kFiring, receiver);
  };
  EXPECT_EQ(additions[0].payload, "") << "its end moves with every send";
  EXPECT_EQ(json::parse(additions[1].payload)["receiver"], "hook");
  EXPECT_THAT(additions[2].payload, HasSubstr(StrCat("<", key("mail"), "@example.com>")));
  EXPECT_EQ(json::parse(additions[3].payload)["key"], key("file"));
}

}  // namespace
}  // namespace weir::alerting
